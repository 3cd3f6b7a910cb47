"""Rows and kept prefixes: a row copies only missing tokens, rows grow and shrink, finished paths free their rows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_model
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rollwise.core import Path, Sampling, Step
from rollwise.engines.local import attention
from rollwise.engines.local.attention import token_attention
from rollwise.engines.local.batcher import Batcher
from rollwise.engines.local.cache import Arena, feed
from rollwise.engines.local.policy import LocalPolicy
from rollwise.engines.local.sampling import sample
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.tokenizer import build_tokenizer

torch.set_num_threads(1)

WORLD = Countdown()
TOKENIZER: Any = build_tokenizer(WORLD.literals)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("LlamaForCausalLM", TOKENIZER, max_position_embeddings=512, initializer_range=0.4).double()


def last_hidden(model: Any, tokens: Sequence[int]) -> Any:
    """The backbone's last hidden state after one forward pass over everything."""
    with torch.no_grad():
        return model.model(input_ids=torch.tensor([list(tokens)])).last_hidden_state[0, -1]


def tokens_of(generator: np.random.Generator, count: int) -> list[int]:
    return [int(token) for token in generator.integers(5, len(TOKENIZER), size=count)]


def test_rows_that_grow_and_shrink_compute_the_same(model: Any) -> None:
    generator, arena = np.random.default_rng(0), Arena(model.model, rows=3, length=16)
    texts = [tokens_of(generator, count) for count in (200, 3, 40)]
    lengths, nodes = [], []
    with torch.inference_mode():
        for text in texts:
            nodes += feed(arena, [None], [text])
            lengths.append(arena.states.shape[4])
        more = [tokens_of(generator, count) for count in (4, 90, 1)]
        grown = feed(arena, nodes, more)
    assert lengths[0] >= 200
    assert lengths[1] <= 64 <= lengths[0]
    for text, new, node in zip(texts, more, grown, strict=True):
        assert node.length == len(text) + len(new)
        np.testing.assert_allclose(node.hidden, last_hidden(model, text + new), atol=1e-10, rtol=0)


@pytest.mark.parametrize("longer", [True, False], ids=["rows grow", "rows shrink"])
def test_an_error_while_rows_move_leaves_them_empty(model: Any, monkeypatch: pytest.MonkeyPatch, longer: bool) -> None:
    generator, arena = np.random.default_rng(2), Arena(model.model, rows=3, length=16)
    clone, moved = torch.Tensor.clone, iter(range(100))

    def exhausted(states: torch.Tensor) -> torch.Tensor:
        if next(moved) == 2:
            raise MemoryError
        return clone(states)

    with torch.inference_mode():
        texts = [tokens_of(generator, count) for count in (12, 12, 12 if longer else 200)]
        nodes = feed(arena, [None] * 3, texts)
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "clone", exhausted)
            with pytest.raises(MemoryError):
                feed(arena, nodes[:1], [tokens_of(generator, 90 if longer else 2)])
        more = [tokens_of(generator, 4) for _ in range(3)]
        grown = feed(arena, nodes, more)
    for text, new, node in zip(texts, more, grown, strict=True):
        np.testing.assert_allclose(node.hidden, last_hidden(model, text + new), atol=1e-10, rtol=0)


def test_a_row_copies_only_what_it_does_not_hold(model: Any) -> None:
    generator, arena = np.random.default_rng(1), Arena(model.model, rows=4)
    with torch.inference_mode():
        (root,) = feed(arena, [None], [tokens_of(generator, 6)])
        (child,) = feed(arena, [root], [tokens_of(generator, 5)])
        arena.load(2, child)
        held = arena.states[:, :, 2, :, :11].clone()
        root.states.zero_()
        child.states.zero_()
        arena.load(2, child)
        assert torch.equal(arena.states[:, :, 2, :, :11], held)
        sibling = feed(arena, [root, root], [tokens_of(generator, 5)] * 2)[1]
        arena.load(2, sibling)
        assert torch.equal(arena.states[:, :, 2, :, :6], held[:, :, :, :6])
        assert torch.equal(arena.states[:, :, 2, :, 6:11], sibling.states)
        arena.load(3, child)
        assert not arena.states[:, :, 3, :, :11].any()


async def test_a_waiting_path_takes_a_free_row_and_nothing_is_read_twice(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[tuple[int, int]] = []
    forward = Arena.forward

    def counted(arena: Arena, tokens: torch.Tensor, starts: torch.Tensor, end: int) -> torch.Tensor:
        fed.append((tokens.shape[0], tokens.shape[1]))
        return forward(arena, tokens, starts, end)

    policy = LocalPolicy(model, TOKENIZER, WORLD.separator, rows=3)
    monkeypatch.setattr(Arena, "forward", counted)
    problem = WORLD.problem(3, 0)
    session = policy.open(problem, Sampling(1.0, max_step_tokens=9))
    active, generated, ended, longest = [Path((index,)) for index in range(10)], 0, 0, 0
    for _ in range(3):
        steps = [step for step in await session.extend(active) if isinstance(step, Step)]
        assert len(steps) == len(active)
        generated += sum(step.tokens for step in steps)
        longest = max(longest, *(step.tokens for step in steps))
        grown = [path.grown(step) for path, step in zip(active, steps, strict=True)]
        ended += sum(path.ended for path in grown)
        active = [path.copy(index) for path in grown if not path.ended for index in range(2)][:10]
        session.retain([path.key[:-1] for path in active])
    read, decoded = fed[0], fed[1:]
    assert read == (1, len(session.prompt))
    assert sum(rows for rows, _ in decoded) == generated - ended
    assert {count for _, count in decoded} == {1}
    assert sum(rows < 3 for rows, _ in decoded) <= 3 * longest + ended
    assert session.usage.prefilled == len(session.prompt)


def test_sampling_inverts_the_cumulative_distribution() -> None:
    generator = np.random.default_rng(0)
    logits, uniforms = generator.normal(size=(50, 40)) * 3, generator.uniform(size=50)
    heat = generator.choice([0.0, 0.5, 1.0, 1.7], size=50)
    drawn, logprobs = sample(torch.tensor(logits), torch.tensor(heat), torch.tensor(uniforms))
    for row, token, logprob, temperature, uniform in zip(logits, drawn, logprobs, heat, uniforms, strict=True):
        if temperature == 0:
            expected = int(row.argmax())
        else:
            weights = np.exp(row / temperature) / np.exp(row / temperature).sum()
            expected = next(index for index in range(40) if weights[: index + 1].sum() > uniform)
        assert int(token) == expected
        assert float(logprob) == pytest.approx(row[expected] - np.log(np.exp(row).sum()), abs=1e-12)


@pytest.mark.parametrize(("heads", "pairs"), [(4, 4), (6, 2), (4, 1)])
def test_attention_of_one_token_is_the_scaled_dot_product(model: Any, heads: int, pairs: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(5, heads, 1, 8, dtype=torch.float64)
    key, value = torch.randn(2, 5, pairs, 11, 8, dtype=torch.float64)
    mask = torch.zeros(5, 1, 1, 11, dtype=torch.float64)
    mask[:, :, :, 7:] = torch.finfo(mask.dtype).min
    module = model.model.layers[0].self_attn
    module = type("Module", (), {"num_key_value_groups": heads // pairs, "is_causal": True, "config": module.config})()
    for scaling in (None, 0.3):
        ours, _ = token_attention(module, query, key, value, mask, scaling=scaling)
        theirs, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling)
        assert ours.shape == (5, 1, heads, 8)
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("span", [1, 3, 8])
def test_rows_of_unequal_length_attend_in_spans(model: Any, monkeypatch: pytest.MonkeyPatch, span: int) -> None:
    monkeypatch.setattr(attention, "_SPAN", span)
    monkeypatch.setattr(attention, "_CALL", 1)
    torch.manual_seed(span)
    query = torch.randn(10, 6, 1, 8, dtype=torch.float64)
    key, value = torch.randn(2, 10, 2, 30, 8, dtype=torch.float64)
    lengths = torch.tensor([3, 1, 30, 9, 9, 9, 2, 28, 5, 4])
    mask = torch.zeros(10, 1, 1, 30, dtype=torch.float64)
    mask.masked_fill_(torch.arange(30) >= lengths[:, None, None, None], torch.finfo(mask.dtype).min)
    mask[4, ..., :5] = torch.finfo(mask.dtype).min  # padding on the left is left out too
    spans = attention._spans(mask, key)
    assert [(rows.start, end) for rows, end in spans] == [
        (start, int(lengths[start : start + span].max())) for start in range(0, 10, span)
    ]
    module = type("Module", (), {"num_key_value_groups": 3, "is_causal": True})()
    for given in (mask, mask == 0):
        ours, _ = token_attention(module, query, key, value, given)
        theirs, _ = sdpa_attention_forward(module, query, key, value, given)
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


async def test_waiting_requests_share_a_batch() -> None:
    gate, batches = threading.Event(), list[list[int]]()

    def work(requests: Sequence[int]) -> list[int]:
        batches.append(list(requests))
        gate.wait(10)
        if 13 in requests:
            raise ValueError("thirteen")
        return [request**2 for request in requests]

    batcher: Batcher[int, int] = Batcher(work, "test")
    first = asyncio.create_task(batcher.run(1))
    while not batches:
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(batcher.run(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0.01)
    others[1].cancel()
    await asyncio.sleep(0.01)
    gate.set()
    assert await first == 1
    assert [await others[0], await others[2]] == [4, 16]
    assert batches == [[1], [2, 4]]
    with pytest.raises(ValueError, match="thirteen"):
        await batcher.run(13)
    assert await batcher.run(5) == 25
