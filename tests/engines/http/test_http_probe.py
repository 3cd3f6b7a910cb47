"""The features that the probe finds in servers of each kind, and `rollwise doctor`, which prints them."""

import json
from typing import Any

import pytest
from served import OWNERS, Emulator, emulated
from typer.testing import CliRunner

from rollwise.cli import build_app
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probing import probe
from rollwise.engines.http.servers import addresses


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(), list(arguments))


@pytest.mark.parametrize(
    ("kind", "stopping", "by_ids", "template"),
    [
        ("vllm", "field", True, "tokenize"),
        ("rollwise", "field", True, "tokenize"),
        ("sglang", "field", True, "plain"),
        ("llamacpp", "field", True, "apply-template"),
        ("llama-cpp-python", "logprobs", False, "plain"),
        ("transformers", "text", False, "plain"),
        ("openai", "streamed", False, "plain"),
    ],
)
def test_the_probe_finds_the_features_of_each_kind(kind: str, stopping: str, by_ids: bool, template: str) -> None:
    with emulated(kind) as server:
        found = probe(addresses(server.url + "/v1")[0])
    assert (found.kind, found.stopping, found.by_ids, found.template) == (kind, stopping, by_ids, template)
    assert found.model == "tiny"
    assert found.logprobs == (None if kind == "transformers" else 2)


@pytest.mark.parametrize(
    ("settings", "source"), [({}, "request"), ({"temperature": 0}, "greedy"), ({"temperature": 1}, "first_request")]
)
def test_the_probe_finds_which_temperature_applies(settings: dict[str, Any], source: str) -> None:
    with emulated("transformers", **settings) as server:
        found = probe(addresses(server.url)[0])
        remarks = HttpPolicy(server.url).remarks
    assert found.temperature_source == source
    assert found.one_at_a_time == (source != "first_request")
    assert any("--continuous-batching" in remark for remark in remarks) == (source != "request")


def test_the_probe_recognizes_a_server_that_a_proxy_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OWNERS, "sglang", "gateway")
    with emulated("sglang") as server:
        found = probe(addresses(server.url)[0])
    assert (found.kind, found.stop_key) == ("sglang", "matched_stop")


def test_doctor_shows_the_features_of_servers(served: Emulator) -> None:
    with emulated("openai") as other:
        shown = run("doctor", served.url, other.url)
        assert shown.exit_code == 0, shown.output
        output = " ".join(shown.output.split())
        for part in (
            "vllm 0.33.0",
            "tiny, reads 600 tokens",
            "token ids",
            "stop_reason",
            "honoured",
            "at work",
            "streamed",
        ):
            assert part in output
        found = json.loads(run("doctor", served.url, other.url, "--json").output)
    assert [server["kind"] for server in found] == ["vllm", "openai"]
    assert found[0]["seed"] is True
    assert found[0]["step_rule"] == "separator"
    missing = run("doctor", "http://127.0.0.1:9")
    assert missing.exit_code == 1
    assert "nothing answers" in missing.output
