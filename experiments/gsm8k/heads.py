"""Trains the head of a process reward model on the states of a policy that stays as it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tuning import Report, save_change

from rollwise.calibration import load_prefixes, load_rollouts
from rollwise.core import FloatArray, IntArray
from rollwise.engines.local import Arena, common_length, feed, load_checkpoint
from rollwise.errors import InputError
from rollwise.rewards import LOG_CONCENTRATIONS
from rollwise.training.fitting import digest_of, save_half
from rollwise.training.reward import Example, beta_binomial_loss, encode, encode_prefixes, with_head

if TYPE_CHECKING:
    import torch

ROWS, TOGETHER = 32, 16
"""How many solutions are read at once, and how many questions are taken together."""
PENALTIES = tuple(10.0**power for power in range(-4, 2))
"""The penalties on the squared weights that are compared."""
FOLDS = 5


@dataclass(frozen=True)
class Labelled:
    """States at step ends (n, width), how many of how many completions were right after each (n,), and the question
    that each belongs to (n,).
    """

    states: FloatArray
    right: FloatArray
    completions: FloatArray
    question: IntArray

    def where(self, chosen: Any) -> Labelled:
        """The rows of a mask."""
        return Labelled(self.states[chosen], self.right[chosen], self.completions[chosen], self.question[chosen])


@dataclass(frozen=True)
class Head:
    """logit of the worth = weight (width,) · state + bias. How sure it is, as the log of a beta-binomial's
    concentration, is the same for all states; only states with several completions tell it.
    """

    weight: FloatArray
    bias: float
    log_concentration: float

    def worth(self, states: FloatArray) -> FloatArray:
        """The chance of a right answer after each state (n, width)."""
        chance: FloatArray = 1 / (1 + np.exp(-(states @ self.weight + self.bias)))
        return chance


def examples_of(tokenizer: Any, sampled: Path | None, completed: Path | None) -> list[list[Example]]:
    """The labelled solutions of each question: of plain samples, whose outcome labels all their steps, and of completed
    prefixes. Raises InputError if there are none.
    """
    found: dict[str, list[Example]] = {}
    for problem, rollouts in load_rollouts(sampled) if sampled else ():
        found.setdefault(problem.id, []).extend(
            encode(tokenizer, problem, each.steps, each.ended, [float(each.right)] * len(each.steps))
            for each in rollouts
        )
    for problem, prefixes in load_prefixes(completed) if completed else ():
        found.setdefault(problem.id, []).extend(encode_prefixes(tokenizer, problem, prefixes))
    groups = [examples for examples in found.values() if examples]
    if not groups:
        raise InputError("there is no labelled solution: run evaluate --part-of reward, or completions, first")
    return groups


def read_states(model: Any, groups: Sequence[Sequence[Example]], report: Callable[[int, int], None]) -> Labelled:
    """The states of all step ends whose label is known. What the solutions of a question share first is read once."""
    import torch

    arena = Arena(model.base_model, ROWS)
    states, right, completions, question = [], [], [], []
    with torch.inference_mode():
        for first in range(0, len(groups), TOGETHER):
            some = groups[first : first + TOGETHER]
            examples = [(number, example) for number, group in enumerate(some, first) for example in group]
            for (number, example), ends in zip(examples, _end_states(arena, some), strict=True):
                for state, label, count in zip(ends, example.labels, example.completions, strict=True):
                    if not np.isnan(label):
                        states.append(state)
                        right.append(label * count)
                        completions.append(float(count))
                        question.append(number)
            report(first + len(some), len(groups))
    counts = np.array(right), np.array(completions)
    return Labelled(np.stack(states).astype(np.float64), *counts, np.array(question, dtype=np.int64))


def _end_states(arena: Arena, groups: Sequence[Sequence[Example]]) -> list[list[FloatArray]]:
    """The state at each step end of each solution of some questions, one question after the other."""
    starts = [_shared(examples) for examples in groups]
    read = feed(arena, [None] * len(groups), starts)
    solutions = [(place, example) for place, examples in enumerate(groups) for example in examples]
    nodes = [read[place] for place, _ in solutions]
    states: list[list[FloatArray]] = [[] for _ in solutions]
    for depth in range(max(len(example.ends) for _, example in solutions)):
        rows = [row for row, (_, example) in enumerate(solutions) if depth < len(example.ends)]
        parts = [_part(solutions[row][1], depth, len(starts[solutions[row][0]])) for row in rows]
        for row, node in zip(rows, feed(arena, [nodes[row] for row in rows], parts), strict=True):
            nodes[row] = node
            states[row].append(node.hidden.float().cpu().numpy())
    return states


def _shared(examples: Sequence[Example]) -> tuple[int, ...]:
    """The tokens that all solutions of a question begin with, without the end of a step."""
    starts = [example.tokens[: example.ends[0]] for example in examples]
    return starts[0][: min(common_length(starts[0], each) for each in starts)]


def _part(example: Example, depth: int, shared: int) -> tuple[int, ...]:
    """The tokens of a step; of the first, those after the shared ones."""
    return example.tokens[shared if depth == 0 else example.ends[depth - 1] + 1 : example.ends[depth] + 1]


def loss_of(labelled: Labelled, weight: torch.Tensor, bias: torch.Tensor, sureness: torch.Tensor) -> torch.Tensor:
    """The loss of a head, which is that of all reward models."""
    import torch

    states, right, count = map(torch.from_numpy, (labelled.states, labelled.right, labelled.completions))
    return beta_binomial_loss(torch.sigmoid(states @ weight + bias), sureness, right, count)


def fit_head(labelled: Labelled, penalty: float) -> Head:
    """The head of least `loss_of` plus penalty · |weight|²/2, where states are scaled to mean 0 and variance 1."""
    import torch

    centre, scale = labelled.states.mean(0), labelled.states.std(0) + 1e-6
    scaled = Labelled((labelled.states - centre) / scale, labelled.right, labelled.completions, labelled.question)
    share = float(np.clip(labelled.right.sum() / labelled.completions.sum(), 1e-3, 1 - 1e-3))
    weight = torch.zeros(labelled.states.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(np.log(share / (1 - share)), dtype=torch.float64, requires_grad=True)
    sureness = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias, sureness], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        value = loss_of(scaled, weight, bias, sureness) + penalty * weight.square().sum() / 2
        value.backward()
        return value

    search.step(closure)
    found = weight.detach().numpy() / scale
    return Head(found, float(bias.detach() - found @ centre), float(sureness.detach().clamp(*LOG_CONCENTRATIONS)))


def choose_penalty(labelled: Labelled, penalties: Sequence[float] = PENALTIES) -> tuple[float, dict[str, float]]:
    """The penalty whose heads lose least on questions that they were not fitted to, and the loss of each penalty."""
    losses = {penalty: sum(_losses(labelled, penalty)) / FOLDS for penalty in penalties}
    return min(losses, key=lambda penalty: losses[penalty]), {f"{each:g}": round(losses[each], 5) for each in losses}


def _losses(labelled: Labelled, penalty: float) -> Iterator[float]:
    import torch

    for fold in range(FOLDS):
        held_out = labelled.question % FOLDS == fold
        head = fit_head(labelled.where(~held_out), penalty)
        values = (torch.from_numpy(np.asarray(each)) for each in (head.weight, head.bias, head.log_concentration))
        yield float(loss_of(labelled.where(held_out), *values))


def headed(trunk: Path, head: Head) -> Any:
    """The policy in the folder `trunk` with a head."""
    import torch

    model = with_head(trunk, 0)
    with torch.no_grad():
        model.score.weight.zero_()
        model.score.weight[1] = torch.from_numpy(head.weight)
        model.score.bias.copy_(torch.tensor([0.0, head.bias, head.log_concentration]))
    return model


def tune_head(
    trunk: Path, sampled: Path | None, completed: Path | None, folder: Path, report: Report
) -> dict[str, Any]:
    """Fit a head to the policy in the folder `trunk` and write the reward model to `folder`/reward. Returns facts.

    Raises InputError if there are fewer questions than FOLDS, no label, or no prefix with several completions.
    """
    started = time.monotonic()
    policy, tokenizer = load_checkpoint(trunk, "AutoModelForCausalLM", "float32")
    groups = examples_of(tokenizer, sampled, completed)
    if len(groups) < FOLDS:
        raise InputError(f"{len(groups)} questions are too few to choose a penalty; {FOLDS} is the least")
    if max(count for examples in groups for each in examples for count in each.completions) < 2:
        raise InputError("no prefix was completed several times, which tells how sure a worth is: run completions")
    labelled = read_states(policy, groups, lambda done, total: report(done, total, "states"))
    penalty, losses = choose_penalty(labelled)
    head = fit_head(labelled, penalty)
    model = headed(trunk, head)
    change = {f"score.{name}": value for name, value in model.score.state_dict().items()}
    save_half(model, tokenizer, folder / "reward")
    save_change(change, folder / "reward" / "adapter")
    files = [file for file in (sampled, completed) if file]
    return {
        "method": "head",
        "questions": len(groups),
        "solutions": sum(map(len, groups)),
        "labels": len(labelled.right),
        "completions": int(labelled.completions.sum()),
        "share right": round(float(labelled.right.sum() / labelled.completions.sum()), 4),
        "penalty": penalty,
        "held-out loss": losses,
        "log concentration": head.log_concentration,
        "source": digest_of(trunk / "model.safetensors", *files)[:16],
        "seconds": round(time.monotonic() - started),
    }
