"""Sampling: from logits and uniform random numbers to tokens."""

from __future__ import annotations

import torch

_CHUNK = 1 << 20  # logits that a processor works on at once, so that they stay in its cache


def sample(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    uniforms: torch.Tensor,
    top_p: torch.Tensor | None = None,
    greedy: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (rows,), and their log-probabilities at temperature 1, from logits (rows, vocabulary).

    Each token is the inverse of the row's cumulative distribution at the row's uniform number in [0, 1), in vocabulary
    order and double precision. A `temperature` (rows,) of 0 takes the likeliest token. Pass None as `top_p` (rows,)
    if no row has a value below 1, and False as `greedy` if no row has a temperature of 0: both save work.
    """
    size = len(logits) if logits.is_cuda else max(1, _CHUNK // logits.shape[1])
    drawn, logprobs = [], []
    for start in range(0, len(logits), size):
        part = slice(start, start + size)
        nucleus = None if top_p is None else top_p[part]
        tokens, values = _sample(logits[part], temperature[part], uniforms[part], nucleus, greedy)
        drawn.append(tokens)
        logprobs.append(values)
    return torch.cat(drawn), torch.cat(logprobs)


def _sample(
    logits: torch.Tensor, temperature: torch.Tensor, uniforms: torch.Tensor, top_p: torch.Tensor | None, greedy: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    shifted = logits.to(torch.float64, copy=True)
    shifted -= shifted.amax(-1, keepdim=True)
    heat = temperature[:, None]
    weights = (shifted / torch.where(heat > 0, heat, 1.0)).exp_()
    if top_p is not None:
        weights = _nucleus(weights / weights.sum(-1, keepdim=True), top_p[:, None])
    cumulative = weights.cumsum_(-1)
    drawn = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
    drawn.clamp_(max=logits.shape[1] - 1)
    if greedy:
        drawn = torch.where(heat > 0, drawn, shifted.argmax(-1, keepdim=True))
    logprobs = shifted.gather(1, drawn) - shifted.exp_().sum(-1, keepdim=True).log_()
    return drawn[:, 0], logprobs[:, 0]


def _nucleus(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The probabilities (rows, vocabulary), set to zero outside the smallest set of tokens that reaches `top_p`
    (rows, 1).
    """
    ordered, order = probabilities.sort(dim=-1, descending=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return probabilities.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), 0.0)
