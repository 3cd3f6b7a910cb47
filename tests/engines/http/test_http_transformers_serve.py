"""The real `transformers serve` on loopback: the bundled policy, a model of bytes, and continuous batching."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

import pytest
from reward_checkpoints import BYTES
from serving import until
from tiny import saved
from walking import walk

import rollwise
from rollwise.core import Sampling, Stop
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probing import probe
from rollwise.engines.http.servers import addresses, weaknesses
from rollwise.engines.prompts import step_rule
from rollwise.errors import InputError
from rollwise.names import bundled
from rollwise.registry import find_policy, find_world

for name in ("openai", "accelerate", "uvicorn"):
    pytest.importorskip(name, reason="transformers serve needs it: pip install 'transformers[serving]'")

WORLD = find_world("countdown")
POLICY = bundled("countdown", "policy")
GREEDY = Sampling(temperature=0, max_step_tokens=64, max_tokens=120)


@contextmanager
def serving(model: FilePath | None, **options: Any) -> Iterator[str]:
    """The URL of `transformers serve`, started with a model or without, in this process as in its own tests."""
    from transformers.cli.serve import Serve

    given = None if model is None else str(model)
    with socket.socket() as held:  # nobody else gets the port; a socket that allows it may bind beside this one
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        server = Serve(given, host="127.0.0.1", port=port, device="cpu", dtype="float32", non_blocking=True, **options)
        try:
            until(lambda: server.server.started)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill_server()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(POLICY) as url:
        yield url


def test_the_probe_finds_the_model_and_the_missing_features(server: str) -> None:
    found = probe(addresses(server)[0])
    assert (found.kind, found.model, found.tokenizer) == ("transformers", str(POLICY), str(POLICY))
    assert (found.takes_ids, found.stopping, found.template) == (False, "streamed", "tokenizer")
    assert (found.logprobs, found.temperature_source, found.refused) == (None, "request", frozenset())
    notes = " ".join(weaknesses(found, step_rule("separator")))
    assert "one text at a time" in notes
    assert "no log-probabilities" in notes


def test_another_model_is_refused_with_the_servers_message(server: str) -> None:
    with pytest.raises(InputError, match="pinned to"):
        probe(addresses(f"{server}#another")[0])


def test_greedy_paths_are_those_of_the_policy_in_this_process(server: str) -> None:
    here, there = find_policy("trained", "countdown", "float32"), HttpPolicy(server)
    for seed in range(2):
        problem = WORLD.problem(2, seed)
        local, served = (asyncio.run(walk(policy, problem, GREEDY)) for policy in (here, there))
        assert [step.text for step in served.steps] == [step.text for step in local.steps]
        assert [step.stop for step in served.steps] == [step.stop for step in local.steps]
        assert served.ended


def test_a_search_samples_and_counts_its_tokens(server: str) -> None:
    solution = rollwise.solve(
        WORLD.problem(2, 1),
        "rebase",
        4,
        policy=server,
        world="countdown",
        reward="dial(0)",
        temperature=1.5,
        max_step_tokens=40,
        max_tokens=60,
    )
    assert solution.failures == ()
    assert len(solution.finished) == 4
    grown = [event for event in solution.events if isinstance(event, rollwise.search.events.Grown)]
    first_steps = {event.step.text for event in grown[:4]}
    assert len(first_steps) > 1  # with the model's generation_config.json alone, all four texts would be equal
    ledger = solution.ledger.usage["policy"]
    assert ledger.generated == sum(event.step.tokens for event in grown)
    assert ledger.prefilled > ledger.calls * 10


def test_a_search_without_a_reward_model_is_refused_before_it_begins(server: str) -> None:
    with pytest.raises(InputError, match="give a reward model by --reward"):
        rollwise.solve("What is 1 + 1?", budget=2, policy=server, directions="text")


def test_the_address_names_the_model_of_a_server_that_was_started_without_one(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "bytes", "LlamaForCausalLM", BYTES)
    monkeypatch.setattr("transformers.cli.serving.model_manager.scan_cache_dir", lambda _: 1 / 0)
    with serving(None) as url:
        with pytest.raises(InputError, match="#NAME"):
            probe(addresses(url)[0])
        found = probe(addresses(f"{url}#{folder}")[0])
        assert (found.kind, found.model, found.stopping) == ("transformers", str(folder), "text")


def test_continuous_batching_is_detected_by_its_effects() -> None:
    with serving(POLICY, continuous_batching=True, cb_num_blocks=64, cb_block_size=16) as url:
        found = probe(addresses(url)[0])
        assert (found.temperature_source, found.one_at_a_time, found.stopping) == ("first_request", False, "streamed")
        assert any("continuous-batching" in note for note in weaknesses(found, step_rule("separator")))
        step = asyncio.run(walk(HttpPolicy(url), WORLD.problem(1, 0), GREEDY, 1)).steps[0]
        assert step.stop is Stop.LENGTH or step.text.endswith("\n\n")
