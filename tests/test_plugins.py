"""Parts of a search from a user's files and from installed packages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import rollwise
from rollwise.bench.run import _sources
from rollwise.errors import InputError, UnknownNameError
from rollwise.names import OURS, part_files
from rollwise.plugins import GROUPS
from rollwise.registry import (
    _loaded_reward,
    find_directions,
    find_policy,
    find_problems,
    find_reward,
    find_strategy,
)
from rollwise.search.config import Config
from rollwise.search.runner import Runner

MODULE = """
from rollwise.allocation.strategies import Strategy
from rollwise.directions.finders import EqualSteps
from rollwise.worlds.stories import Stories

def even(candidates, width):
    counts = [width // len(candidates)] * len(candidates)
    counts[0] += width - sum(counts)
    return counts

ready = Strategy("ready", lambda candidates, width, options: even(candidates, width))

def half(problem, solutions):
    return [0.5 for _ in solutions]

class Half:
    parameters = 3
    def open(self, problem, seed):
        raise NotImplementedError

class Steps(EqualSteps):
    pass

def world():
    return Stories("stories")

def policy():
    return world().demonstrator()

number = 3
"""


def install(folder: Path, package: str, entries: str, code: str = MODULE) -> None:
    """Write a package as an installer does: its module and its metadata."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entries)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("kit_")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


ENTRIES = """[rollwise.strategies]
kit-even = kit_one:even
kit-ready = kit_one:ready
[rollwise.policies]
kit-policy = kit_one:policy
[rollwise.rewards]
kit-half = kit_one:half
kit-model = kit_one:Half
[rollwise.directions]
kit-steps = kit_one:Steps
[rollwise.worlds]
kit-world = kit_one:world
"""


def find(part: str, name: str) -> Any:
    match part:
        case "strategy":
            return find_strategy(name)
        case "world":
            return find_problems.__wrapped__(name)
        case "reward":
            _loaded_reward.cache_clear()
            return find_reward(name, "stories")
    finder: Any = {"policy": find_policy, "directions": find_directions}[part]
    return finder.__wrapped__(name, "stories")


def test_an_installed_package_is_found_by_name(packages: Path) -> None:
    install(packages, "kit-one", ENTRIES)
    assert find("strategy", "kit-even").needs == {"rewards"}
    assert find("strategy", "kit-ready").name == "ready"
    assert find("policy", "kit-policy").parameters == 0
    assert find("reward", "kit-half").parameters == 0
    assert find("reward", "kit-model").parameters == 3
    assert type(find("directions", "kit-steps")).__name__ == "Steps"
    assert find("world", "kit-world").name == "stories"
    for part, name in (("strategy", "kit-even"), ("directions", "kit-steps"), ("reward", "kit-half")):
        assert part_files("stories", part, name) == [packages / "kit_one.py"]


def test_a_file_gives_every_part(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(MODULE)
    assert find("strategy", f"{file}:ready").name == "ready"
    assert find("policy", f"{file}:policy").parameters == 0
    assert find("reward", f"{file}:Half").parameters == 3
    assert type(find("directions", f"{file}:Steps")).__name__ == "Steps"
    assert find("world", f"{file}:world").name == "stories"
    for part in GROUPS:
        assert part_files("stories", part, f"{file}:number") == [file]
        with pytest.raises(InputError, match="number"):
            find(part, f"{file}:number")
        with pytest.raises(InputError, match="defines no 'nothing'"):
            find(part, f"{file}:nothing")
    with pytest.raises(InputError, match="leave --step-rule"):
        find_policy(f"{file}:policy", "stories", step_rule="sentence")


def test_a_search_with_your_own_parts(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(MODULE)
    own = {part: f"{file}:{name}" for part, name in (("reward", "half"), ("directions", "Steps"), ("policy", "policy"))}
    solution = rollwise.solve(find_problems("stories").problem(1, 0), "dora", 4, world=f"{file}:world", **own)
    assert len(solution.finished) == 4
    with pytest.raises(UnknownNameError, match="minilm"):
        Runner(Config.of(world="stories", policy="demonstrator", reward="dial", directions="nobody's"))


@pytest.mark.parametrize("part", GROUPS)
def test_a_package_cannot_take_a_name_of_rollwise(packages: Path, part: str) -> None:
    taken = OURS[part][0]
    install(packages, "kit-two", f"[{GROUPS[part]}]\n{taken} = kit_two:number\n")
    with pytest.raises(InputError, match=f"kit-two registers '{taken}' in {GROUPS[part]}"):
        find(part, "kit-unknown")


@pytest.mark.parametrize("part", GROUPS)
def test_the_error_for_a_broken_package_names_it_and_its_group(packages: Path, part: str) -> None:
    install(packages, "kit-bad", f"[{GROUPS[part]}]\nkit-bad = kit_bad:x\n", "raise RuntimeError('old')")
    with pytest.raises(InputError, match=f"kit-bad offers 'kit-bad' in {GROUPS[part]}.*RuntimeError: old"):
        find(part, "kit-bad")


def test_a_name_that_two_packages_offer_is_refused(packages: Path) -> None:
    for package in ("kit-x", "kit-y"):
        install(packages, package, f"[rollwise.strategies]\nkit-same = {package.replace('-', '_')}:even\n")
    with pytest.raises(InputError, match=r"several packages offer 'kit-same'.*kit-x, kit-y"):
        find_strategy("kit-same")


def test_the_error_for_an_unknown_name_lists_the_names_of_packages(packages: Path) -> None:
    install(packages, "kit-one", ENTRIES)
    for part, known in (("strategy", "kit-even"), ("directions", "kit-steps"), ("world", "kit-world")):
        with pytest.raises(UnknownNameError, match=f"there are: .*{known}"):
            find(part, "kit-unknown")
    for part, known in (("policy", "kit-policy"), ("reward", "kit-half")):
        with pytest.raises(InputError, match=known):
            find(part, "kit-unknown")


def test_a_name_of_rollwise_loads_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise AssertionError("the entry points of packages were read")

    monkeypatch.setattr("importlib.metadata.entry_points", refuse)
    for part in ("strategy", "world"):
        for name in OURS[part]:
            find(part, name)
    find("reward", "dial(0.3)")
    find("directions", "state")
    find("policy", "demonstrator")


def test_a_bench_records_the_digests_of_your_own_files(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(MODULE)
    names = {"strategy": "even", "policy": "policy", "reward": "half", "directions": "Steps", "world": "world"}
    config = Config.of(**{part: f"{file}:{name}" for part, name in names.items()})
    before = _sources([config])
    assert set(before) == {str(file), *(f"{part} {file}:{names[part]}" for part in ("policy", "reward", "world"))}
    directed = _sources([config.model_copy(update={"strategy": "dora"})])
    assert set(directed) >= {f"directions {file}:Steps"}
    file.write_text(MODULE + "# edited\n")
    after = _sources([config])
    assert all(after[name] != before[name] for name in before)
