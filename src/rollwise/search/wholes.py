"""A wave of whole rollouts, for a strategy that reads nothing between steps: each grows to its end by itself.

The search gets them afterwards round by round, as if they had grown step by step, so that its record is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rollwise.core import Failure, Judgement, Path, Step
from rollwise.errors import InputError
from rollwise.search.desk import Desk, broken, judgement
from rollwise.search.events import Span
from rollwise.search.machine import Growth, Search
from rollwise.search.round import Grower, to_its_end
from rollwise.search.stopper import Stopper

OnRollouts = Callable[[int], None]
"""Gets how many rollouts have ended so far."""
_UNFINISHED = Failure("the policy ended the rollout before its end")


@dataclass
class Rollout:
    """A rollout: its path as far as it grew, and for each step the growth or the loss, with the spans."""

    path: Path
    told: list[tuple[Growth | Failure, Mapping[str, Span]]] = field(default_factory=list)

    @property
    def lost(self) -> bool:
        """Whether it ended by a failure."""
        return bool(self.told) and isinstance(self.told[-1][0], Failure)


async def sample(search: Search, grower: Grower, stopper: Stopper, on_rollouts: OnRollouts | None = None) -> str | None:
    """Grow every rollout of a wave to its end and report all to the search.

    As soon as the vote is decided, the rollouts in flight are cancelled, and the result is why. If it is cancelled
    itself, it first reports the rollouts that have ended and have their scores.
    """
    waiting, reason = search.ask(), None
    at_once = grower.at_once_of(grower.reward)
    scoring = Desk("reward model", grower.reward.score, judgement, grower.clock, at_once)
    growing = [asyncio.create_task(_grown(path, search.limits.max_steps, grower, scoring)) for path in waiting]
    known: list[Rollout] = []
    try:
        pending = set(growing)
        while pending and reason is None:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            known += [task.result() for task in done]
            if on_rollouts:
                on_rollouts(len(search.finished) + len(search.failed) + len(known))
            if pending:
                reason = await asyncio.to_thread(_decided, search, known, stopper)
    except asyncio.CancelledError:
        _tell(search, waiting, [task.result() for task in growing if _succeeded(task)])
        raise
    finally:
        for task in growing:
            task.cancel()
        await asyncio.gather(*growing, return_exceptions=True)
        await scoring.close()
    await to_its_end(asyncio.to_thread(_tell, search, waiting, known))
    return reason


def _succeeded(task: asyncio.Task[Rollout]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _grown(path: Path, max_steps: int, grower: Grower, scoring: Desk[Judgement]) -> Rollout:
    """A rollout from the path that waits to grow its first step, scored step by step."""
    rollout, began = Rollout(path), grower.clock()
    steps = await _steps(path, grower)
    spans = {"generating": (began, grower.clock())}
    if isinstance(steps, Failure):
        rollout.told.append((steps, spans))
        return rollout
    for step in steps[:max_steps]:
        grown = path.grown(step)
        score = await scoring.of(grown)
        known = spans | {"scoring": scoring.spans[path.key]}
        if isinstance(score, Failure):
            rollout.told.append((score, known))
            break
        rollout.told.append((Growth(step, score.reward, concentration=score.concentration), known))
        rollout.path = grown.scored(score.reward)
        path = rollout.path.copy(0)
    return rollout


async def _steps(path: Path, grower: Grower) -> Sequence[Step] | Failure:
    """The steps of a rollout. Raises InputError if the policy does, because then every rollout would fail."""
    try:
        return await grower.policy.finish(path)
    except InputError:
        raise
    except Exception as error:  # a user's policy may raise anything
        return broken(error)


def _decided(search: Search, known: Sequence[Rollout], stopper: Stopper) -> str | None:
    """Why the search may end now, with the rollouts that have ended; None if it has to go on."""
    ended = [rollout.path for rollout in known if not rollout.lost]
    return stopper.reason_among(search, [*search.voters, *ended], search.remaining - len(known))


def _tell(search: Search, roots: Sequence[Path], known: Sequence[Rollout]) -> None:
    """Report rollouts to the search, round by round; the others are given up. Nothing happens if none is known."""
    told = {rollout.path.key[:1]: rollout.told for rollout in known}
    if not told:
        return
    search.leave([path.key for path in roots if path.key not in told])
    wave = {path.key[0] for path in roots}
    while (asked := search.ask()) and asked[0].key[0] in wave:
        for path in asked:
            rollout, depth = told[path.key[:1]], len(path.steps)
            search.tell(path.key, *(rollout[depth] if depth < len(rollout) else (_UNFINISHED, {})))
