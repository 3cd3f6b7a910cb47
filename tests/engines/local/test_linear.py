"""Layers with reordered weights compute what PyTorch's layers compute."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rollwise.engines.local.linear import PackedLinear, pack_linears

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


def packed(inputs: int = 512, outputs: int = 640, bias: bool = False) -> tuple[torch.nn.Linear, PackedLinear]:
    """A layer, and the same layer with reordered weights."""
    layer = torch.nn.Linear(inputs, outputs, bias=bias)
    same = copy.deepcopy(layer)
    same.__class__ = PackedLinear
    return layer, same


@pytest.mark.parametrize("shape", [(1,), (3,), (64,), (200,), (5, 1), (2, 7)])
@pytest.mark.parametrize("bias", [False, True])
def test_products_are_those_of_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    layer, same = packed(bias=bias)
    given = torch.randn(*shape, 512)
    with torch.inference_mode():
        torch.testing.assert_close(same(given), layer(given), rtol=1e-4, atol=1e-4)


def test_changed_weights_are_noticed() -> None:
    layer, same = packed()
    given = torch.randn(4, 512)
    with torch.no_grad():
        before = same(given)
        same.weight.mul_(2)
        torch.testing.assert_close(same(given), 2 * before, rtol=1e-4, atol=1e-4)
        same.weight.data = layer.weight.data
        torch.testing.assert_close(same(given), before, rtol=1e-4, atol=1e-4)
        same.weight = torch.nn.Parameter(torch.zeros_like(layer.weight))
        assert not same(given).any()


def test_another_precision_is_computed_by_pytorch() -> None:
    _, same = packed()
    given = torch.randn(4, 512)
    with torch.no_grad():
        expected = same(given)
        torch.testing.assert_close(same.bfloat16()(given.bfloat16()).float(), expected, rtol=0.05, atol=0.05)


def test_gradients_are_those_of_the_layer() -> None:
    layer, same = packed()
    given = torch.randn(4, 512)
    for each in (layer, same):
        each(given).square().sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(same.weight.grad, layer.weight.grad)


def test_weights_made_in_inference_mode_are_used_as_they_are() -> None:
    with torch.inference_mode():
        layer, same = packed()
        given = torch.randn(4, 512)
        torch.testing.assert_close(same(given), layer(given))


def test_copies_and_pickles_compute_the_same() -> None:
    _, same = packed()
    given = torch.randn(4, 512)
    with torch.inference_mode():
        expected = same(given)
    for other in (copy.deepcopy(same), pickle.loads(pickle.dumps(same))):
        with torch.inference_mode():
            torch.testing.assert_close(other(given), expected)


@pytest.fixture
def llama() -> LlamaForCausalLM:
    """A model with one large matrix, its head, and small ones."""
    config = LlamaConfig(
        vocab_size=4096, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=2
    )
    return LlamaForCausalLM(config).eval()


def test_only_large_matrices_are_packed_and_logits_stay(
    llama: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = torch.randint(0, 4096, (3, 9))
    with torch.inference_mode():
        expected = llama(tokens).logits
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
        pack_linears(llama)
        torch.testing.assert_close(llama(tokens).logits, expected, rtol=1e-4, atol=1e-5)
    assert [name for name, part in llama.named_modules() if isinstance(part, PackedLinear)] == ["lm_head"]


@pytest.mark.parametrize("why", ["instructions", "precision", "memory"])
def test_models_that_would_not_gain_stay(llama: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    capability = "AVX512" if why == "instructions" else "AVX2"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    if why == "memory":
        monkeypatch.setattr("rollwise.engines.local.linear._MOST_BYTES", 1000)
    pack_linears(llama.bfloat16() if why == "precision" else llama)
    assert not any(isinstance(part, PackedLinear) for part in llama.modules())
