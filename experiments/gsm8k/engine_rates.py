"""Tokens a second of the local engine against transformers' own `generate`, on the same model and prompts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from judging import problem_of, sampling

from rollwise.core import Failure, Step
from rollwise.core import Path as Solution
from rollwise.engines.local import LocalPolicy
from rollwise.training.fitting import device_name

QUESTION = (
    "Natalia sold {} clips in April, and then she sold half as many clips in May. How many did she sell altogether?"
)
TOKENS = 128
"""How many tokens each path is given."""


def engine_rates(folder: Path, rows: int, seconds: float) -> dict[str, Any]:
    """The device, and tokens a second of each engine with `rows` paths at once, each within half of the seconds.

    A path of either engine may end early; only tokens up to its end count.
    """
    policy = LocalPolicy.load(folder, rows=rows)
    policy.step_rule = policy.step_rule.__class__("tokens", tokens=TOKENS)
    policy.stop_rule = policy.stop_rule.__class__((), policy.end_tokens)
    problems = [
        problem_of({"id": str(count), "question": QUESTION.format(2 * count), "answer": "0"}) for count in range(4)
    ]
    ours = _repeated(seconds / 2, lambda seed: asyncio.run(_ours(policy, problems, rows, seed)))
    theirs = _repeated(seconds / 2, lambda seed: _theirs(policy, problems, rows, seed))
    return {"device": device_name(), "rows": rows, "local engine": ours, "transformers generate": theirs}


def _repeated(seconds: float, work: Any) -> dict[str, float]:
    work(0)  # the first call prepares kernels and memory
    started, tokens, calls = time.monotonic(), 0, 0
    while calls == 0 or time.monotonic() - started < seconds / 2:
        calls += 1
        tokens += work(calls)
    spent = time.monotonic() - started
    return {"tokens": tokens, "seconds": round(spent, 2), "tokens_per_second": round(tokens / spent, 1)}


async def _ours(policy: LocalPolicy, problems: list[Any], rows: int, seed: int) -> int:
    async def sample(problem: Any) -> int:
        session = policy.open(problem, sampling(0.8, seed))
        grown = await session.extend([Solution((index,)) for index in range(max(1, rows // len(problems)))])
        await session.close()
        assert not [each for each in grown if isinstance(each, Failure)]
        return sum(step.tokens for step in grown if isinstance(step, Step))

    return sum(await asyncio.gather(*map(sample, problems)))


def _theirs(policy: LocalPolicy, problems: list[Any], rows: int, seed: int) -> int:
    import torch

    torch.manual_seed(seed)
    prompts = [policy.prompt_tokens(problem) for problem in problems for _ in range(max(1, rows // len(problems)))]
    longest, padding = max(map(len, prompts)), policy.tokenizer.pad_token_id
    tokens = torch.tensor([[padding] * (longest - len(prompt)) + prompt for prompt in prompts])
    seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    device = policy.model.device
    policy.model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        made = policy.model.generate(
            tokens.to(device),
            attention_mask=seen.to(device),
            do_sample=True,
            temperature=0.8,
            top_k=0,
            max_new_tokens=TOKENS,
            eos_token_id=sorted(policy.end_tokens),
            pad_token_id=padding,
        )[:, longest:].cpu()
    ends = torch.isin(made, torch.tensor(sorted(policy.end_tokens)))
    lengths = torch.where(ends.any(1), ends.int().argmax(1) + 1, made.shape[1])
    return int(lengths.sum())
