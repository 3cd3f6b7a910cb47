"""Copies of one path that share a request."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import FAST, emulated
from walking import extended

from rollwise.core import Path, Step
from rollwise.engines.http.forks import fork_groups, seed_of
from rollwise.engines.http.policy import HttpPolicy


def test_copies_share_a_request_and_grow_as_they_would_alone() -> None:
    with emulated("vllm") as server:
        policy = HttpPolicy(server.url, patience=FAST)
        paths = [Path((index,)) for index in range(20)]
        before = len(server.bodies("/v1/completions"))
        together = asyncio.run(extended(policy, paths))
        asked = server.bodies("/v1/completions")[before:]
        alone = [asyncio.run(extended(policy, [path]))[0] for path in paths]
    first, second = sorted(
        asked, key=lambda body: body["n"], reverse=True
    )  # they leave together and arrive in any order
    assert (first["n"], second["n"]) == (16, 4)
    assert second["seed"] == first["seed"] + 16
    assert together == alone
    assert len({step.text for step in together if isinstance(step, Step)}) == 2


@pytest.mark.parametrize("kind", ["sglang", "llamacpp", "transformers", "openai"])
def test_each_copy_gets_its_own_request_if_the_server_may_seed_them_differently(kind: str) -> None:
    with emulated(kind) as server:
        policy = HttpPolicy(server.url, patience=FAST)
        asyncio.run(extended(policy, [Path((index,)) for index in range(5)]))
        bodies = server.bodies("/completion" if kind == "llamacpp" else "/v1/completions")
    assert all(body.get("n", 1) == 1 for body in bodies)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), unique=True), st.integers(1, 4))
def test_a_group_holds_successive_copies_of_one_parent(keys: list[tuple[int, int]], most: int) -> None:
    paths = [Path(key) for key in keys]
    groups = fork_groups(paths, most)
    assert [path for group in groups for path in group] == paths
    for group in groups:
        assert len(group) <= most
        assert [path.key for path in group] == [
            (group[0].key[0], group[0].key[1] + index) for index in range(len(group))
        ]
        assert [seed_of(path, "q") for path in group] == [seed_of(group[0], "q") + index for index in range(len(group))]
    for group, following in itertools.pairwise(groups):
        assert len(group) == most or following[0].key != (group[-1].key[0], group[-1].key[1] + 1)


def test_a_copy_that_a_shared_reply_lacks_gets_its_own_request() -> None:
    with emulated("vllm") as server:
        policy = HttpPolicy(server.url, patience=FAST)
        paths = [Path((index,)) for index in range(4)]
        whole = asyncio.run(extended(policy, paths))
        server.settings["broken_choice"] = 2
        before = len(server.bodies("/v1/completions"))
        assert asyncio.run(extended(policy, paths)) == whole
        assert [body.get("n", 1) for body in server.bodies("/v1/completions")[before:]] == [4, 1]
        server.settings["most"] = 2
        assert asyncio.run(extended(policy, paths)) == whole
        assert [body.get("n", 1) for body in server.bodies("/v1/completions")[-5:]] == [4, 1, 1, 1, 1]
