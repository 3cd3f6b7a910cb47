"""Tokens drawn in parts are those drawn at once."""

from __future__ import annotations

import pytest
import torch

from rollwise.engines.local import sampling


@pytest.mark.parametrize("nucleus", [False, True])
@pytest.mark.parametrize("size", [1, 700, 3000])
def test_rows_are_independent(monkeypatch: pytest.MonkeyPatch, nucleus: bool, size: int) -> None:
    """numpy draws each row by itself; parts of one row, of several and of all rows give the same."""
    numbers = torch.Generator().manual_seed(3)
    logits = torch.randn(10, 300, generator=numbers) * 3
    temperature = torch.linspace(0, 2, 10, dtype=torch.float64)
    uniforms = torch.rand(10, dtype=torch.float64, generator=numbers)
    top_p = torch.full((10,), 0.7, dtype=torch.float64) if nucleus else None
    monkeypatch.setattr(sampling, "_CHUNK", size)
    tokens, logprobs = sampling.sample(logits, temperature, uniforms, top_p)
    for row in range(10):
        values = logits[row].double().numpy()
        heat = float(temperature[row])
        weights = torch.softmax(logits[row].double() / (heat or 1.0), -1).numpy()
        if nucleus:
            order = (-weights).argsort(kind="stable")
            outside = weights[order].cumsum() - weights[order] >= 0.7
            weights[order[outside]] = 0
        expected = int((weights.cumsum() <= float(uniforms[row]) * weights.sum()).sum()) if heat else values.argmax()
        assert int(tokens[row]) == expected
        log_sum = float(torch.logsumexp(logits[row].double(), -1))
        assert float(logprobs[row]) == pytest.approx(values[expected] - log_sum)
