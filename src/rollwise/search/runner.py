"""Where the parts meet: a frozen config builds them, and one coroutine a question drives its search."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from rollwise.allocation import Strategy
from rollwise.answers import BELIEVED, VOTES, answer_of, group, verified
from rollwise.calibration import Calibration, mismatches, read_belief, source_of
from rollwise.core import Believe, DirectionFinder, FloatArray, Path, Policy, Problem, RewardModel, Sampling, World
from rollwise.engines.http import is_url
from rollwise.errors import InputError, UnknownNameError
from rollwise.names import belief_file
from rollwise.registry import (
    find_directions,
    find_policy,
    find_reward,
    find_strategy,
    find_world,
    refuse_unknown_directions,
)
from rollwise.search.config import Config
from rollwise.search.events import Event, Failed, Round, rounds, unplaced_reasons
from rollwise.search.ledger import Ledger
from rollwise.search.machine import Limits, Search
from rollwise.search.round import Grower

Result = TypeVar("Result")
OnRound = Callable[[Round], None]


@dataclass(frozen=True)
class Ballot:
    """One answer that got votes: how many paths gave it, what they weigh together, whether it is right."""

    answer: str
    paths: int
    weight: float
    right: bool


@dataclass(frozen=True)
class Solution:
    """What a search found. `answer` is None where no path answered, or where `verified` found none to be right; then
    `attempt` is the best there was. `rights` tells of each finished path whether it is right, by the world's own check;
    where `judged` is false nobody knows, and they are false. `votes` says of each further vote that was asked for
    whether its winner is right. `notes` are what a person should know of the parts.
    """

    problem: Problem
    answer: str | None
    text: str | None
    attempt: str | None
    support: float
    right: bool
    vote: str
    ballots: tuple[Ballot, ...]
    finished: tuple[Path, ...]
    rights: tuple[bool, ...]
    failures: tuple[str, ...]
    ledger: Ledger
    events: tuple[Event, ...] = field(repr=False)
    judged: bool = True
    votes: Mapping[str, bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def covered(self) -> bool:
        """Whether any path is right."""
        return any(self.rights)

    def as_dict(self) -> dict[str, Any]:
        """The solution as plain values, without its events."""
        return {
            "question": self.problem.question,
            "answer": self.answer,
            "right": self.right if self.judged else None,
            "support": round(self.support, 6),
            "attempt": self.attempt,
            "text": self.text,
            "vote": self.vote,
            "covered": self.covered if self.judged else None,
            "finished": len(self.finished),
            "failed": len(self.failures),
            "failures": list(self.failures),
            "ballots": [vars(ballot) | ({} if self.judged else {"right": None}) for ballot in self.ballots],
            "ledger": self.ledger.as_dict(),
            **({"votes": dict(self.votes) if self.judged else dict.fromkeys(self.votes)} if self.votes else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }


class Runner:
    """The built parts of a config. Many questions may be solved at once; they share the models' batches.

    `notes` are what a person should know before a search: what a server lacks, what a choice leaves out, where the
    belief was fitted on something else than what the search uses.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.world: World = find_world(config.world)
        self.strategy: Strategy = find_strategy(config.strategy)
        self.allocate = self.strategy.bind(config.options)
        self.limits = Limits(
            config.budget, config.max_steps, config.max_tokens, config.constant_width, config.aggregate
        )
        calibration = _calibration(config)
        self.ended = None if calibration is None else calibration.ended
        self.vote = self._vote(config.vote)
        for name in config.votes:
            self._refuse_unreadable(name)
        self._refuse_unfit()
        self.policy: Policy = _part(config.policy, self._named_policy)
        self.reward: RewardModel = _part(config.reward, lambda name: find_reward(name, config.world, config.dtype))
        self.finder: DirectionFinder | None = None
        if "directions" in self.strategy.needs:
            self.finder = _part(config.directions, lambda name: find_directions(name, config.world, config.window))
        votes_by_belief = BELIEVED in (self.vote, *config.votes)
        self.believe, remarks = _believed(config, self.strategy, self.reward, calibration, votes_by_belief)
        self.notes = (*self._notes(), *remarks)

    def _named_policy(self, name: str) -> Policy:
        config = self.config
        return find_policy(
            name,
            config.world,
            config.dtype,
            step_rule=config.step_rule,
            instruction=config.instruction,
            concurrency=config.concurrency,
            tokenizer=config.tokenizer,
        )

    def _refuse_unfit(self) -> None:
        """Raise InputError for directions that do not exist or that this policy cannot show, before anything loads."""
        config, directions = self.config, self.config.directions
        usual = {name: Config.model_fields[name].default for name in ("step_rule", "concurrency", "tokenizer")}
        for name in (
            usual if not isinstance(config.policy, str) else ["concurrency"] if not is_url(config.policy) else []
        ):
            if getattr(config, name) != usual[name]:
                raise InputError(
                    f"{name}: this policy does not read it; leave it out, or give a server's URL as policy"
                )
        if config.window != "whole" and "directions" not in self.strategy.needs:
            raise InputError("window: this strategy reads no directions, so nothing is embedded; leave it out")
        if isinstance(directions, str):
            refuse_unknown_directions(directions)

    def _notes(self) -> tuple[str, ...]:
        """What a person should know of the parts before a search: what a server lacks, what a choice left out."""
        told = [str(one) for part in (self.policy, self.reward) for one in getattr(part, "remarks", ())]
        if self.config.reward == "confidence":
            server = getattr(self.policy, "server", None)
            if server is not None and server.logprobs is None:
                raise InputError(
                    f"{server.url} gives no log-probabilities, so the policy's confidence is not known: give a reward "
                    "model by --reward"
                )
            told.append(
                "the reward is the policy's own confidence, which tells sure from unsure and not right from wrong; a "
                "process reward model (--reward) would judge each step"
            )
        if self.finder is not None and self.config.directions == "hidden" and not _shows_hidden(self.policy):
            raise InputError(
                "this policy gives no hidden states: choose --directions text, minilm or the URL of a server that "
                "embeds"
            )
        if self.finder is not None and self.config.directions == "text":
            told.append(
                "directions are equal last steps, which read no meaning; --directions minilm, or the URL of a server "
                "that embeds, would"
            )
        return tuple(told)

    def _vote(self, name: str) -> str:
        if name == "auto":
            believed = "weighted_majority" if self.ended is None else BELIEVED
            return "verified" if self.world.checkable else believed
        if name == "verified" and not self.world.checkable:
            raise InputError(
                f"answers of the world {self.world.name} cannot be checked at test time: choose a vote from "
                f"{', '.join(VOTES)}"
            )
        if name != "verified":
            self._refuse_unreadable(name)
        return name

    def _refuse_unreadable(self, name: str) -> None:
        if name not in VOTES:
            raise UnknownNameError("vote", name, [*VOTES, "verified", "auto"])
        if name == BELIEVED and self.ended is None:
            raise InputError(
                f"{name}: no belief says what the rewards of finished solutions are worth: fit one by `rollwise "
                "calibrate` on prefixes of which some ended, give its file by --belief FILE, or take weighted_majority"
            )

    async def solve(self, problem: Problem, on_round: OnRound | None = None) -> Solution:
        """Search for an answer. Each round is handed to `on_round` when it has closed."""
        config = self.config
        started = time.perf_counter()
        limits = config.max_step_tokens, config.max_tokens
        certainty = bool(getattr(self.reward, "reads_certainty", True))
        sampling = Sampling(config.temperature, config.top_p, *limits, config.seed, certainty)
        policy = self.policy.open(problem, sampling)
        reward = self.reward.open(problem, config.seed)
        finder = self.finder.open(problem, policy) if self.finder else None
        try:
            if prepare := getattr(policy, "prepare", None):
                await prepare()
            roomy = replace(self.limits, max_tokens=min(self.limits.max_tokens, policy.room))
            search = Search(problem, self.allocate, roomy, config.seed, self.believe)
            grower = Grower(policy, reward, finder, config.overlap, lambda: time.perf_counter() - started)
            while not search.done:
                seen = len(search.events)
                await grower.round(search)
                if on_round:
                    on_round(rounds(search.events[seen:])[0])
        finally:
            await policy.close()
            await reward.close()
            if finder is not None and (close := getattr(finder, "close", None)):
                await close()
        ledger = Ledger(rounds=search.round, seconds=time.perf_counter() - started)
        parts = (("policy", self.policy, policy), ("reward", self.reward, reward), ("embedder", self.finder, finder))
        for role, model, session in parts:
            if model is not None and session is not None:
                ledger.usage[role], ledger.parameters[role] = session.usage, model.parameters
        return await asyncio.to_thread(self._conclude, search, ledger)

    def _conclude(self, search: Search, ledger: Ledger) -> Solution:
        problem, paths = search.problem, search.voters
        answers = [answer_of(path) for path in paths]
        rights = [answer is not None and self.world.is_right(problem, answer) for answer in answers]
        rewards = np.array([search.reward(path) for path in paths], dtype=np.float64)
        labels = group(answers, compare="text" if self.vote == "verified" and not self.config.votes else "mathematics")
        weights = self._weights(self.vote, rewards)
        if self.vote == "verified":
            verdict = verified(labels, weights, np.array(rights, dtype=np.int64))
        else:
            verdict = VOTES[self.vote](labels, weights)
        others = {name: VOTES[name](labels, self._weights(name, rewards)).voter for name in self.config.votes}
        winner, attempt = verdict.voter, verdict.attempt
        return Solution(
            problem=problem,
            answer=None if winner is None else answers[winner],
            text=None if winner is None else paths[winner].text,
            attempt=None if attempt is None else answers[attempt],
            support=verdict.support,
            right=winner is not None and rights[winner],
            vote=self.vote,
            ballots=_ballots(answers, rights, labels, weights),
            finished=tuple(paths),
            rights=tuple(rights),
            failures=tuple(event.reason for event in search.events if isinstance(event, Failed)),
            ledger=ledger,
            events=tuple(search.events),
            judged=self.world.checkable or problem.answer is not None,
            votes={name: voter is not None and rights[voter] for name, voter in others.items()},
            notes=(*self.notes, *_unplaced_note(search.events)),
        )

    def _weights(self, vote: str, rewards: FloatArray) -> FloatArray:
        """What each finished path weighs in a vote, by their rewards (k,)."""
        return self.ended.chances(rewards) if vote == BELIEVED and self.ended is not None else rewards


def _unplaced_note(events: Sequence[Event]) -> list[str]:
    """A sentence on the paths whose direction could not be told, where there are any."""
    reasons = unplaced_reasons(events)
    if not reasons:
        return []
    return [f"{len(reasons)} paths went on as directions of their own, since theirs could not be told: {reasons[0]}"]


def _shows_hidden(policy: Policy) -> bool:
    """Whether directions can be a policy's hidden states: unless it has an attribute `shows_hidden` that says no."""
    return bool(getattr(policy, "shows_hidden", True))


def _part(given: Any, find: Callable[[str], Any]) -> Any:
    return find(given) if isinstance(given, str) else given


def _calibration(config: Config) -> Calibration | None:
    """What the file of a config's belief holds; None where it is not a file."""
    if not isinstance(config.belief, str):
        return None
    file = belief_file(config.belief, config.world, config.policy, config.reward)
    return None if file is None else read_belief(file)


def _believed(
    config: Config, strategy: Strategy, reward: RewardModel, calibration: Calibration | None, votes_by_belief: bool
) -> tuple[Believe | None, tuple[str, ...]]:
    """The belief that a strategy reads, None where the reward model tells its own, and remarks on what strategy and
    votes read. Raises InputError where the strategy needs one and there is none.
    """
    needed = "belief" in strategy.needs
    if not isinstance(config.belief, str):
        return (config.belief if needed else None), ()
    if calibration is None:
        if needed and getattr(reward, "sureness", None) is None:
            raise InputError(
                f"strategy {strategy.name!r} needs a belief, which says what a reward is worth: fit one by `rollwise "
                "calibrate` on completed prefixes of this policy and give its file by --belief FILE"
            )
        return None, ()
    if not needed and not votes_by_belief:
        return None, ()
    used = source_of(config.world, config.temperature, config.policy, config.reward)
    return (calibration.belief if needed else None), tuple(mismatches(calibration, used, config.aggregate))


def _ballots(answers: Sequence[str | None], rights: Sequence[bool], labels: Any, weights: Any) -> tuple[Ballot, ...]:
    """The answers with votes, heaviest first."""
    ballots = []
    for label in range(int(max(labels, default=-1)) + 1):
        members = np.flatnonzero(labels == label)
        first = int(members[0])
        ballots.append(Ballot(answers[first] or "", len(members), float(weights[members].sum()), rights[first]))
    return tuple(sorted(ballots, key=lambda ballot: -ballot.weight))


async def solve_async(
    question: str | Problem,
    strategy: Any = "auto",
    budget: int = 64,
    *,
    on_round: OnRound | None = None,
    **fields: Any,
) -> Solution:
    """Spend `budget` rollouts on a question and return the Solution.

    `strategy` is a name, `file.py:function`, or a function (candidates, width) → counts; `policy`, `reward` and
    `directions` are names or objects of the protocols in `rollwise.core`; the other fields are those of
    `rollwise.Config`, which also says what "auto" is. Raises InputError for what cannot be used.
    """
    runner = Runner(Config.of(strategy=strategy, budget=budget, **fields))
    problem = runner.world.parse(question) if isinstance(question, str) else question
    return await runner.solve(problem, on_round)


def solve(question: str | Problem, strategy: Any = "auto", budget: int = 64, **fields: Any) -> Solution:
    """`solve_async` for code that is not asynchronous; works inside a running event loop too, as in a notebook."""
    return run_to_end(solve_async(question, strategy, budget, **fields))


def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end from synchronous code, on a thread of its own where a loop is already running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    box: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            box.append(asyncio.run(work))
        except BaseException as error:  # handed to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return box[0]
