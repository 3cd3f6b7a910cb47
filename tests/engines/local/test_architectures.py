"""Policies of other architectures in this process: greedy steps give transformers' own greedy text; forks are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_model

from rollwise.core import Path, Sampling, Step, Stop
from rollwise.engines.local.policy import LocalPolicy
from rollwise.worlds.countdown import Countdown
from rollwise.worlds.tokenizer import build_tokenizer

torch.set_num_threads(1)

WORLD = Countdown()
TOKENIZER: Any = build_tokenizer(WORLD.literals)
PROBLEM = WORLD.problem(3, 0)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "llama, tied": ("LlamaForCausalLM", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 16}),
    "mistral, window of its context": ("MistralForCausalLM", {"sliding_window": 160}),
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda name: name)
def policy(request: pytest.FixtureRequest) -> LocalPolicy:
    kind, options = KINDS[request.param]
    model = tiny_model(kind, TOKENIZER, seed=3, **options).double()
    return LocalPolicy(model, TOKENIZER, WORLD.separator, rows=4)


def generated(policy: LocalPolicy, count: int) -> list[int]:
    """The tokens that transformers' `generate` adds greedily, including the end-of-text token."""
    prompt = torch.tensor([policy.prompt_tokens(PROBLEM)])
    with torch.no_grad():
        whole = policy.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count
        )
    return [int(token) for token in whole[0, prompt.shape[1] :]]


async def test_greedy_steps_are_the_text_that_generate_gives(policy: LocalPolicy) -> None:
    session = policy.open(PROBLEM, Sampling(0.0, max_step_tokens=7, max_tokens=24))
    path = Path((0,))
    while path.tokens < 24 and not path.ended:
        (step,) = await session.extend([path])
        assert isinstance(step, Step)
        path = path.grown(step)
        session.retain([path.key])
        path = path if path.ended else path.copy(0)
    expected = generated(policy, 24)
    ids = [token for step in path.steps for token in step.ids]
    assert ids + [TOKENIZER.eos_token_id] * path.ended == expected
    assert path.text == TOKENIZER.decode(ids)
    await session.close()


async def test_forked_caches_equal_a_forward_pass_over_the_whole_text(policy: LocalPolicy) -> None:
    """The hidden state after each grown path, forked twice, equals that of one forward pass over its whole text."""
    session = policy.open(PROBLEM, Sampling(1.0, max_step_tokens=5, max_tokens=20, seed=1))
    paths = [Path((index,)) for index in range(3)]
    for _ in range(3):
        steps = await session.extend(paths)
        paths = [path.grown(step) for path, step in zip(paths, steps, strict=True) if isinstance(step, Step)]
        paths = [path for path in paths if path.steps[-1].stop is not Stop.END]
        for path in paths:
            ids = [*session.prompt, *(token for step in path.steps for token in step.ids)]
            with torch.no_grad():
                hidden = policy.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
            np.testing.assert_allclose(session.hidden(path.key), hidden.numpy(), atol=1e-10, rtol=0)
        session.retain([path.key for path in paths])
        paths = [path.copy(index) for path in paths for index in range(2)][:6]
    assert len(paths) > 1
    await session.close()
