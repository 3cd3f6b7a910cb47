"""Where the parts meet: a frozen config builds them, and one coroutine a question drives its search."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rollwise.allocation import Strategy
from rollwise.answers import answer_of, group
from rollwise.belief_files import belief_file, mismatches, read_belief, source_of
from rollwise.core import (
    Believe,
    DirectionFinder,
    DirectionSession,
    Evidence,
    Failure,
    Judgement,
    Path,
    PathKey,
    Policy,
    PolicySession,
    Problem,
    RewardModel,
    RewardSession,
    Sampling,
    Step,
    World,
)
from rollwise.engines.http.servers import is_url
from rollwise.errors import InputError, UnknownNameError
from rollwise.ledger import Ledger
from rollwise.registry import (
    default_directions,
    find_directions,
    find_policy,
    find_reward,
    find_strategy,
    find_world,
    refuse_unknown_directions,
)
from rollwise.search import Event, Failed, Growth, Limits, Round, Search, rounds
from rollwise.voting import VOTES, verified

Result = TypeVar("Result")
Model = TypeVar("Model", bound=BaseModel)
OnRound = Callable[[Round], None]


def validated(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """A model of the fields given. Raises InputError with the first thing that is wrong."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = f"; there are: {', '.join(model.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise InputError(f"{name}: {first['msg'].removeprefix('Value error, ')}{known}") from None


def _named_or_made(given: Any) -> Any:
    if (given and isinstance(given, str)) or (not isinstance(given, str) and callable(getattr(given, "open", None))):
        return given
    raise ValueError(f"give a name, or an object that can be opened, not {given!r:.60}")


Part = Annotated[Any, AfterValidator(_named_or_made)]
"""A part of a search: its name, or the part itself."""


def _file_or_function(given: Any) -> Any:
    if (given and isinstance(given, str)) or callable(given):
        return given
    raise ValueError(f"give a file made by rollwise calibrate, or a function of rewards and depths, not {given!r:.60}")


class Config(BaseModel):
    """Everything that decides a search. Unknown keys are refused; as JSON, infinity is the text "Infinity".

    `belief` is a file that `rollwise calibrate` made, or a function as in `rollwise.core.Believe`; "auto" is the one
    that a world has for its own policy and reward, else, as with "model", what the reward model itself says of how sure
    it is. Only strategies that need a belief read it.
    Where the policy is a server's URL, the world is "text" unless another is named, the reward the policy's own
    confidence, and directions are minilm's where that is installed, else equal steps. `step_rule` is where a step ends
    (separator, separator(TEXT), sentence, tokens(64)), `instruction` where a problem's instruction stands (system,
    user, none), `window` what is embedded (whole, step, tail(64)); `concurrency` bounds the requests at one server;
    `tokenizer` is the folder of a tokenizer with a chat template, for servers that have none to tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, ser_json_inf_nan="strings")

    world: str = "countdown"
    strategy: Any = "dora"
    options: dict[str, Any] = Field(default_factory=dict)
    budget: int = Field(64, ge=1)
    seed: int = Field(0, ge=0)
    temperature: float = Field(0.8, ge=0, allow_inf_nan=False)
    top_p: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    max_step_tokens: int = Field(256, ge=1)
    max_tokens: int = Field(2048, ge=1)
    max_steps: int = Field(40, ge=1)
    constant_width: bool = False
    aggregate: str = "last"
    vote: str = "auto"
    policy: Part = "trained"
    reward: Part = "trained"
    directions: Part = "hidden"
    belief: Annotated[Any, AfterValidator(_file_or_function)] = "auto"
    dtype: Literal["float64", "float32", "bfloat16", "float16"] | None = None
    step_rule: str | None = None
    instruction: Literal["system", "user", "none"] = "system"
    window: str = "whole"
    concurrency: int = Field(64, ge=1)
    tokenizer: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_its_policy(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        served = is_url(given.get("policy"))
        defaults = {"world": "text", "directions": default_directions()} if served else {}
        if served or given.get("world") == "text":
            defaults["reward"] = "confidence"
        return defaults | given

    @classmethod
    def of(cls, **fields: Any) -> Config:
        """A config of the fields given. Raises InputError with the first thing that is wrong."""
        return validated(cls, fields)


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
    where `judged` is false nobody knows, and they are false. `notes` are what a person should know of the parts.
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
        self.vote = self._vote(config.vote)
        self._refuse_unfit()
        self.policy: Policy = _part(config.policy, self._named_policy)
        self.reward: RewardModel = _part(config.reward, lambda name: find_reward(name, config.world, config.dtype))
        self.finder: DirectionFinder | None = None
        if "directions" in self.strategy.needs:
            self.finder = _part(config.directions, lambda name: find_directions(name, config.world, config.window))
        self.believe, remarks = _believed(config, self.strategy, self.reward)
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
        told = [str(one) for one in getattr(self.policy, "remarks", ())]
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
        known = [*VOTES, "verified"]
        if name == "auto":
            return "verified" if self.world.checkable else "weighted_majority"
        if name == "verified" and not self.world.checkable:
            raise InputError(
                f"answers of the world {self.world.name} cannot be checked at test time: choose a vote from "
                f"{', '.join(VOTES)}"
            )
        if name not in known:
            raise UnknownNameError("vote", name, [*known, "auto"])
        return name

    async def solve(self, problem: Problem, on_round: OnRound | None = None) -> Solution:
        """Search for an answer. Each round is handed to `on_round` when it has closed."""
        config = self.config
        started = time.perf_counter()
        sampling = Sampling(config.temperature, config.top_p, config.max_step_tokens, config.max_tokens, config.seed)
        policy = self.policy.open(problem, sampling)
        reward = self.reward.open(problem, config.seed)
        finder = self.finder.open(problem, policy) if self.finder else None
        try:
            if prepare := getattr(policy, "prepare", None):
                await prepare()
            limits = replace(self.limits, max_tokens=min(self.limits.max_tokens, policy.room))
            search = Search(problem, self.allocate, limits, config.seed, self.believe)
            while not search.done:
                seen = len(search.events)
                await _grow(search, policy, reward, finder)
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
        weights = np.array([search.reward(path) for path in paths], dtype=np.float64)
        labels = group(answers, compare="text" if self.vote == "verified" else "mathematics")
        if self.vote == "verified":
            verdict = verified(labels, weights, np.array(rights, dtype=np.int64))
        else:
            verdict = VOTES[self.vote](labels, weights)
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
            notes=self.notes,
        )


def _shows_hidden(policy: Policy) -> bool:
    """Whether directions can be a policy's hidden states: unless it has an attribute `shows_hidden` that says no."""
    return bool(getattr(policy, "shows_hidden", True))


def _part(given: Any, find: Callable[[str], Any]) -> Any:
    return find(given) if isinstance(given, str) else given


def _believed(config: Config, strategy: Strategy, reward: RewardModel) -> tuple[Believe | None, tuple[str, ...]]:
    """The belief that a strategy reads, None where the reward model tells its own, and remarks on it. Raises InputError
    where the strategy needs one and there is none.
    """
    needed = "belief" in strategy.needs
    if not isinstance(config.belief, str):
        return (config.belief if needed else None), ()
    parts = config.policy, config.reward
    file = belief_file(config.belief, config.world, *parts)
    calibration = None if file is None else read_belief(file)
    if not needed:
        return None, ()
    if calibration is None and getattr(reward, "sureness", None) is not None:
        return None, ()
    if calibration is None:
        raise InputError(
            f"strategy {strategy.name!r} needs a belief, which says what a reward is worth: fit one by `rollwise "
            "calibrate` on completed prefixes of this policy and give its file by --belief FILE"
        )
    used = source_of(config.world, config.temperature, *parts)
    return calibration.belief, tuple(mismatches(calibration, used, config.aggregate))


def _ballots(answers: Sequence[str | None], rights: Sequence[bool], labels: Any, weights: Any) -> tuple[Ballot, ...]:
    """The answers with votes, heaviest first."""
    ballots = []
    for label in range(int(max(labels, default=-1)) + 1):
        members = np.flatnonzero(labels == label)
        first = int(members[0])
        ballots.append(Ballot(answers[first] or "", len(members), float(weights[members].sum()), rights[first]))
    return tuple(sorted(ballots, key=lambda ballot: -ballot.weight))


async def _grow(search: Search, policy: PolicySession, reward: RewardSession, finder: DirectionSession | None) -> None:
    """One round: grow every waiting path, score what grew, find directions among those that go on, tell the search."""
    waiting = search.ask()
    grown: list[Path] = []
    steps = await _outcomes("policy", policy.extend, waiting, _one_of(Step))
    for path in waiting:
        step = steps[path.key]
        if isinstance(step, Step):
            grown.append(path.grown(step))
        else:
            search.tell(path.key, step)
    scores = await _outcomes("reward model", reward.score, grown, _judgement)
    going = [path for path in grown if not path.ended]
    found = await _outcomes("direction finder", finder.find, going, _one_of(Evidence)) if finder else {}
    for path in grown:
        score, evidence = scores[path.key], found.get(path.key, Evidence())
        if isinstance(score, Failure):
            search.tell(path.key, score)
        elif isinstance(evidence, Failure):
            search.tell(path.key, evidence)
        else:
            search.tell(path.key, Growth(path.steps[-1], score.reward, evidence, score.concentration))
    parents = {path.key[:-1] for path in search.ask()}
    policy.retain(parents)
    reward.retain(parents)


async def _outcomes(
    role: str,
    ask: Callable[[Sequence[Path]], Awaitable[Sequence[Any]]],
    paths: Sequence[Path],
    read: Callable[[Any], Result | None],
) -> dict[PathKey, Result | Failure]:
    """What a model made of each path, by key, as `read` takes it: None stands for no such thing. Where the model breaks
    down, or says nothing that can be used, that costs these rollouts and not the question. Raises InputError where
    the model does: then every round would fail.
    """
    keys = [path.key for path in paths]
    try:
        results = list(await ask(paths))
    except InputError:
        raise
    except Exception as error:  # whatever a user's own model may raise
        return dict.fromkeys(keys, Failure(f"{type(error).__name__}: {error}"))
    if len(results) != len(keys):
        return dict.fromkeys(keys, Failure(f"the {role} returned {len(results)} results for {len(keys)} paths"))
    return {key: _outcome(role, result, read) for key, result in zip(keys, results, strict=True)}


def _outcome(role: str, result: Any, read: Callable[[Any], Result | None]) -> Result | Failure:
    """One result as `read` takes it; a Failure where it is one already, or nothing that can be used."""
    taken = result if isinstance(result, Failure) else read(result)
    return Failure(f"the {role} returned {repr(result)[:80]}") if taken is None else taken


def _one_of(kind: type[Result]) -> Callable[[Any], Result | None]:
    """Takes what is of that kind."""
    return lambda result: result if isinstance(result, kind) else None


def _judgement(result: Any) -> Judgement | None:
    """A finite number, also where an array's or a tensor's only entry is one, with its concentration where there is
    one; else None.
    """
    try:
        concentration = result.concentration if isinstance(result, Judgement) else math.nan
        return Judgement(float(result), concentration) if math.isfinite(result) else None
    except Exception:  # whatever a user's own type may raise
        return None


async def solve_async(
    question: str | Problem,
    strategy: Any = "dora",
    budget: int = 64,
    *,
    on_round: OnRound | None = None,
    **fields: Any,
) -> Solution:
    """Spend `budget` rollouts on a question and return the Solution.

    `strategy` is a name, `file.py:function`, or a function (candidates, width) → counts; `policy`, `reward` and
    `directions` are names or objects of the protocols in `rollwise.core`; the other fields are those of
    `rollwise.Config`. Raises InputError for what cannot be used.
    """
    runner = Runner(Config.of(strategy=strategy, budget=budget, **fields))
    problem = runner.world.parse(question) if isinstance(question, str) else question
    return await runner.solve(problem, on_round)


def solve(question: str | Problem, strategy: Any = "dora", budget: int = 64, **fields: Any) -> Solution:
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
