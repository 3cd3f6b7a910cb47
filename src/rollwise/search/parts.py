"""From a config to the parts of its search: everything that a name stands for, found, loaded and checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rollwise.allocation import Strategy
from rollwise.answers import BELIEVED, VOTES, Grader, check_form, find_grader
from rollwise.calibration import Calibration, Ended, mismatches, read_belief, source_of
from rollwise.core import Allocator, Believe, DirectionFinder, Policy, Problem, Problems, RewardModel, completed
from rollwise.engines import PLAIN, read_shots, read_template
from rollwise.engines.http import is_url
from rollwise.errors import InputError, UnknownNameError
from rollwise.models import known_folder
from rollwise.names import ADAPTED, bundled_belief, default_reward, part_files
from rollwise.plugins import is_own_file
from rollwise.registry import (
    default_directions,
    find_directions,
    find_policy,
    find_problems,
    find_reward,
    find_strategy,
    refuse_unknown_directions,
    says_concentration,
)
from rollwise.search.calculator import with_calculator
from rollwise.search.config import Config
from rollwise.search.machine import Limits
from rollwise.worlds import FreeText


@dataclass(frozen=True)
class Parts:
    """The parts of a search, ready to use.

    `config` is the config with every choice made that it had left open. `grader` groups the answers for the vote.
    `believe` makes a belief of rewards; None if
    the strategy reads none, or if the reward model itself says what it believes. `ended` says what finished solutions'
    rewards are worth to a vote; None if no belief file says so. `files` are those that decide the results beside
    rollwise itself, by what they are. `notes` are what a person should know before the search, a sentence each.
    """

    config: Config
    problems: Problems
    grader: Grader
    strategy: Strategy
    allocate: Allocator
    policy: Policy
    reward: RewardModel
    finder: DirectionFinder | None
    believe: Believe | None
    ended: Ended | None
    files: Mapping[str, Sequence[Path]]
    notes: tuple[str, ...]

    @property
    def limits(self) -> Limits:
        """The budget, and where a path ends."""
        return Limits(**{each.name: getattr(self.config, each.name) for each in fields(Limits)})

    @property
    def votes_by_belief(self) -> bool:
        """Whether a vote reads the belief."""
        return BELIEVED in (self.config.vote, *self.config.votes)

    @property
    def whole(self) -> bool:
        """Whether each rollout may grow to its end without a look at the others; see `Config.whole`."""
        config, apart = self.config, self.strategy.independent and not self.config.constant_width
        never_ends_early = config.stop_early == "never" or config.budget == 1
        return apart and (config.whole == "always" or (config.whole == "auto" and never_ends_early))

    def reads(self, evidence: str) -> bool:
        """Whether the strategy reads that evidence, "directions" or "belief"; the belief also counts if a vote does."""
        return evidence in self.strategy.needs or (evidence == "belief" and self.votes_by_belief)

    def parse(self, question: str) -> Problem:
        """The problem that a typed question poses. Raises InputError if it does not fit the world."""
        try:
            return self.problems.parse(question)
        except InputError as error:
            if self.problems.name == "text":
                raise
            raise InputError(
                f"{error}; this is the world {self.problems.name}: any other question takes --world text, with a "
                "model's folder or a server's URL as --policy"
            ) from None

    def refuse_idle(self, evidence: str, where: str) -> None:
        """Raise InputError if that evidence was asked for and nothing in this search reads it."""
        if not self.reads(evidence):
            them = "them" if evidence == "directions" else "it"
            raise InputError(f"{where}: this strategy reads no {evidence}, so it would ignore {them}; leave it out")


def find_parts(config: Config) -> Parts:
    """The parts of a config's search. Raises InputError for what does not exist or does not fit together.

    Names are checked before any model loads.
    """
    config = settled(config)
    problems, grader = _graded(config)
    belief = belief_file(config)
    calibration = None if belief is None else read_belief(belief)
    ended = None if calibration is None else calibration.ended
    config = config.model_copy(update={"vote": _vote(config, problems, ended)})
    check_form(config.answer)
    strategy = find_strategy(config.strategy)
    for name in config.votes:
        _refuse_unreadable(name, ended)
    allocate = strategy.bind(config.options)
    _refuse_unread(config, strategy)
    policy, reward = _policy(config), _reward(config)
    parts = Parts(
        config=config,
        problems=problems,
        grader=grader,
        strategy=strategy,
        allocate=allocate,
        policy=policy,
        reward=reward,
        finder=_finder(config, strategy, policy),
        believe=_believe(config, strategy, calibration, reward),
        ended=ended,
        files=deciding_files(config),
        notes=(),
    )
    return replace(parts, notes=(*_notes(parts), *_doubts(parts, calibration)))


def _graded(config: Config) -> tuple[Problems, Grader]:
    """What poses the problems, and the grader. Raises InputError if a world that checks answers itself gets one."""
    problems, grader = find_problems(config.world or ""), find_grader(config.grader)
    if isinstance(problems, FreeText):
        return FreeText(grader), grader
    if config.grader != "auto":
        raise InputError(
            f"grader: the world {problems.name} checks its answers itself; leave it out, or choose the world text"
        )
    return problems, grader


def settled(config: Config) -> Config:
    """The config with the world, reward, directions and strategy chosen that it leaves open. Nothing is loaded."""
    served = is_url(config.policy)
    general = served or (isinstance(config.policy, str) and known_folder(config.policy) is not None)
    adapted = ADAPTED["policy"].get(config.policy) if isinstance(config.policy, str) else None
    world = config.world or (adapted and adapted[0]) or ("text" if general else "countdown")
    left_out = {
        "world": world,
        "reward": config.reward or default_reward(world, served),
        "directions": config.directions or (default_directions() if served else "hidden"),
    }
    config = config.model_copy(update=left_out)
    return config.model_copy(update={"strategy": _strategy(config)})


def belief_file(config: Config) -> Path | None:
    """The belief file to read. "auto" is that of the bundled policy and its reward model, if both are searched with."""
    if not isinstance(config.belief, str) or config.belief == "model":
        return None
    if config.belief != "auto":
        return Path(config.belief)
    named = isinstance(config.policy, str) and isinstance(config.reward, str)
    return bundled_belief(config.world or "", config.policy, config.reward) if named else None


def _strategy(config: Config) -> Any:
    """The strategy that "auto" stands for: the optimum if something says what the reward is worth, else DORA."""
    if config.strategy != "auto":
        return config.strategy
    known = belief_file(config) is not None or not isinstance(config.belief, str) or config.belief == "model"
    return "optimal_directions" if known or says_concentration(config.reward, config.world or "") else "dora"


def _vote(config: Config, problems: Problems, ended: Ended | None) -> str:
    """The vote that a config names. Raises InputError for a vote that cannot be held."""
    if config.vote == "auto":
        return "verified" if problems.checkable else BELIEVED if ended is not None else "weighted_majority"
    if config.vote != "verified":
        _refuse_unreadable(config.vote, ended)
    elif not problems.checkable:
        raise InputError(
            f"answers of the world {problems.name} cannot be checked at test time: choose a vote from "
            f"{', '.join(VOTES)}"
        )
    return config.vote


def _refuse_unreadable(vote: str, ended: Ended | None) -> None:
    if vote not in VOTES:
        raise UnknownNameError("vote", vote, [*VOTES, "verified", "auto"])
    if vote == BELIEVED and ended is None:
        raise InputError(
            f"{vote}: no belief says what the rewards of finished solutions are worth: fit one by `rollwise calibrate` "
            "on prefixes of which some ended, give its file by --belief FILE, or take weighted_majority"
        )


_READ_BY_SERVED = ("step_rule", "concurrency", "tokenizer", "template", "shots", "stop")


def _refuse_unread(config: Config, strategy: Strategy) -> None:
    """Raise InputError for options that this policy or this strategy does not read, and for unknown directions."""
    if is_url(config.policy):
        unread: Sequence[str] = ()
    else:
        unread = ["concurrency"] if isinstance(config.policy, str) else _READ_BY_SERVED
    for name in unread:
        if getattr(config, name) != Config.model_fields[name].default:
            raise InputError(f"{name}: this policy does not read it; leave it out, or give a server's URL as policy")
    if config.wave is not None and config.constant_width:
        raise InputError("wave: the paper's constant width takes all rollouts at once; leave out one of the two")
    if config.window != "whole" and "directions" not in strategy.needs:
        raise InputError("window: this strategy reads no directions, so nothing is embedded; leave it out")
    if isinstance(config.directions, str):
        refuse_unknown_directions(config.directions)


def _policy(config: Config) -> Policy:
    policy = _found_policy(config)
    return with_calculator(policy) if config.calculator else policy


def _found_policy(config: Config) -> Policy:
    if not isinstance(config.policy, str):
        return completed(config.policy, Policy)
    return find_policy(
        config.policy,
        config.world or "",
        config.dtype,
        step_rule=config.step_rule,
        instruction=config.instruction,
        concurrency=config.concurrency,
        tokenizer=config.tokenizer,
        template=read_template(config.template),
        shots=None if config.shots is None else read_shots(config.shots),
        stops=config.stop,
    )


def _reward(config: Config) -> RewardModel:
    if not isinstance(config.reward, str):
        return completed(config.reward, RewardModel)
    return find_reward(config.reward, config.world or "", config.dtype, config.answer)


def _finder(config: Config, strategy: Strategy, policy: Policy) -> DirectionFinder | None:
    """The direction finder, if the strategy reads directions. Raises InputError if the policy cannot show them."""
    if "directions" not in strategy.needs:
        return None
    if not isinstance(config.directions, str):
        return completed(config.directions, DirectionFinder)
    if config.directions == "hidden" and not policy.shows_hidden:
        raise InputError(
            "this policy gives no hidden states: choose --directions text, minilm or the URL of a server that embeds"
        )
    return find_directions(config.directions, config.world or "", config.window)


def _believe(
    config: Config, strategy: Strategy, calibration: Calibration | None, reward: RewardModel
) -> Believe | None:
    """What makes a belief of rewards. Raises InputError if the strategy needs a belief and nothing gives one."""
    if "belief" not in strategy.needs:
        return None
    if not isinstance(config.belief, str):
        return config.belief
    if calibration is not None:
        return calibration.belief
    if not reward.states_concentration:
        raise InputError(
            f"strategy {strategy.name!r} needs a belief, which says what a reward is worth: fit one by `rollwise "
            "calibrate` on completed prefixes of this policy and give its file by --belief FILE (in a bench, by --set "
            "belief=FILE)"
        )
    return None


def deciding_files(config: Config) -> dict[str, Sequence[Path]]:
    """The files that decide a settled config's results beside rollwise itself, by what they are."""
    strategy, belief = find_strategy(config.strategy), belief_file(config)
    files: dict[str, Sequence[Path]] = {}
    if is_own_file(config.grader):
        files[f"grader {config.grader}"] = [Path(config.grader.rpartition(":")[0])]
    for part in ("policy", "reward", "directions", "world", "strategy"):
        name = getattr(config, part)
        if not isinstance(name, str) or (part == "directions" and part not in strategy.needs):
            continue
        own = part == "strategy" and is_own_file(name)
        files[name.rpartition(":")[0] if own else f"{part} {name}"] = part_files(config.world or "", part, name)
    if config.template not in (None, PLAIN):
        files[f"template {config.template}"] = [Path(config.template)]
    if config.shots is not None:
        files[f"shots {config.shots}"] = [Path(config.shots)]
    may_vote_by_belief = not {"auto", BELIEVED}.isdisjoint((config.vote, *config.votes))
    if belief is not None and ("belief" in strategy.needs or may_vote_by_belief):
        files[f"belief {config.belief}"] = [belief]
    return {what: found for what, found in files.items() if found}


def _notes(parts: Parts) -> list[str]:
    """What a person should know of the parts: what a server lacks, what a default leaves out."""
    config = parts.config
    notes = [str(remark) for part in (parts.policy, parts.reward) for remark in part.remarks]
    if config.temperature == 0 and config.budget > 1:
        notes.append(
            f"at temperature 0 the policy is greedy, so all {config.budget} rollouts give the same path: set "
            "--temperature above 0, such as 0.8, or --budget 1"
        )
    if config.reward == "confidence":
        if parts.policy.lacks_logprobs is not None:
            raise InputError(
                f"{parts.policy.lacks_logprobs}, so the policy's confidence is not known: give a reward model by "
                "--reward"
            )
        notes.append(
            "the reward is the policy's own confidence, which tells sure from unsure and not right from wrong; a "
            "process reward model (--reward) would judge each step"
        )
    if parts.finder is not None and config.directions == "text":
        notes.append(
            "directions are equal last steps, which ignore meaning; --directions minilm, or the URL of a server that "
            "embeds, compares meaning"
        )
    return notes


def _doubts(parts: Parts, calibration: Calibration | None) -> Sequence[str]:
    """Where the belief was fitted on something other than what this search uses."""
    config = parts.config
    if calibration is None or not parts.reads("belief"):
        return ()
    used = source_of(config.world or "", config.temperature, config.policy, config.reward)
    return mismatches(calibration, used, config.aggregate)
