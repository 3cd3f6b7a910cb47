"""The proxy of a faulty connection: how often it breaks an exchange, and what a client sees of each fault."""

import http.client
import itertools
import json
import math
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path as FilePath
from typing import Any

import pytest
from served import QUESTION, TEXTS, emulated

from rollwise.core import Failure, Path, Step, Stop
from rollwise.engines.http.client import Patience
from rollwise.engines.http.policy import HttpPolicy
from rollwise.errors import InputError
from rollwise.registry import find_world
from rollwise.rewards.layouts import FAMILIES, Special, Text
from rollwise.search.config import Config
from rollwise.search.runner import Runner
from rollwise.testing import FAULTS, MANNERS, FaultsProxy, faulty

ROOT = FilePath(__file__).parents[2]


class Echo(BaseHTTPRequestHandler):
    """Replies with the body of the request, and keeps it in `received`."""

    received: list[bytes] = []  # noqa: RUF012 (emptied by the fixture)
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    Echo.received.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def sent(url: str, body: bytes) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, body), timeout=60) as reply:
        content: bytes = reply.read()
        return content


def test_its_share_of_the_exchanges_breaks_and_the_faults_take_turns() -> None:
    with FaultsProxy("http://127.0.0.1:9", 0.1, seed=3) as proxy, FaultsProxy("http://127.0.0.1:9", 0.1, 3) as again:
        drawn = [proxy.next_fault() for _ in range(3000)]
        assert drawn == [again.next_fault() for _ in range(3000)]
    counts = Counter(drawn)
    broken = 3000 - counts[None]
    assert abs(broken - 300) < 4 * math.sqrt(3000 * 0.1 * 0.9)
    assert max(counts[kind] for kind in FAULTS) - min(counts[kind] for kind in FAULTS) <= 1
    neighbours = sum(fault is not None and following is not None for fault, following in itertools.pairwise(drawn))
    assert 10 < neighbours < 55  # 30 expected: exchanges break independently
    assert proxy.outcomes == [kind or "passed" for kind in drawn]


def test_what_a_client_sees_of_each_fault(echo: str) -> None:
    body = b"0123456789" * 200
    with faulty(echo, 0.0) as proxy:
        assert [sent(proxy.url, body) for _ in range(3)] == [body] * 3
        proxy.share, proxy.kinds = 1.0, ("drop",)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError, OSError)):
            sent(proxy.url, body)
        proxy.kinds = ("truncate",)
        with pytest.raises(http.client.IncompleteRead):
            sent(proxy.url, body)
        proxy.kinds = ("500",)
        with pytest.raises(urllib.error.HTTPError, match="500"):
            sent(proxy.url, body)
        proxy.kinds = ("garbage",)
        with pytest.raises(ValueError):
            json.loads(sent(proxy.url, body))
        proxy.kinds, proxy.delay = ("delay",), 0.1
        began = time.monotonic()
        assert sent(proxy.url, body) == body
        assert time.monotonic() - began >= 0.1
        assert proxy.outcomes == ["passed"] * 3 + ["drop", "truncate", "500", "garbage", "delay"]
    assert len(Echo.received) == 5  # the exchanges that passed, were cut off or came late


def test_what_a_client_sees_of_each_odd_manner(echo: str) -> None:
    whole = {"choices": [{"text": "a", "finish_reason": "stop", "stop_reason": None}, {"finish_reason": "length"}]}
    stopped = {"choices": [{"text": "a", "finish_reason": "stop", "stop_reason": "\n"}]}
    with faulty(echo, 1.0) as proxy:

        def seen(manner: str, body: Any) -> bytes:
            proxy.kinds = (manner,)
            return sent(proxy.url, json.dumps(body).encode())

        renamed = json.loads(seen("eos_name", whole))
        assert [choice["finish_reason"] for choice in renamed["choices"]] == ["eos", "length"]
        assert json.loads(seen("eos_name", stopped)) == stopped  # a stop string is no end of the text
        assert json.loads(seen("no_reason", whole)) == whole  # this is a manner of streams
        assert "\u2028".encode() in (marked := seen("line_separator", whole))
        assert json.loads(marked)["choices"] == whole["choices"]
        assert len(Echo.received) == 4
        shapes = [seen(manner, whole) for manner in MANNERS[3:]]
        assert [json.loads(shape) for shape in shapes[:-1]] == [
            [{"id": "model"}],
            {"error": {"message": "a fault"}},
            7,
            None,
        ]
        assert shapes[-1].startswith(b"<html>")
    assert len(Echo.received) == 4


@pytest.mark.parametrize("target", ["https://127.0.0.1:1", "127.0.0.1:80", "http://"])
def test_the_proxy_refuses_targets_other_than_plain_http(target: str) -> None:
    with pytest.raises(InputError, match="http://host:port"):
        FaultsProxy(target, 0.1)


# The experiments that measure served searches


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))

    def named(name: str) -> Any:
        sys.modules.pop(name, None)
        return __import__(name)

    return named


def test_the_experiment_counts_losses_for_each_question(load: Any, tmp_path: FilePath, monkeypatch: Any) -> None:
    experiment = load("faults")

    def behind(proxy: FaultsProxy, attempts: int, strategy: str, given: Any) -> Runner:
        share, proxy.share = proxy.share, 0.0
        policy = HttpPolicy(proxy.url, patience=Patience(attempts, first=0.01, longest=0.05))
        proxy.share = share
        parts = {"policy": policy, "reward": "dial(0)", "directions": "text", "world": "countdown"}
        return Runner(Config.of(strategy=strategy, budget=given.budget, **parts))

    monkeypatch.setattr(experiment, "runner_behind", behind)
    out = tmp_path / "found" / "rows.jsonl"
    options = ["--limit", "2", "--levels", "2,3", "--budget", "6", "--block", "3", "--out", str(out)]
    with emulated("vllm") as server:
        command = [*options, "--url", server.url, "--strategies", "rebase", "--conditions", "0,0.3/30,0.3/1"]
        experiment.main(command)
        rows = experiment.read_rows(out)
        asked = len(server.log)
        experiment.main(command)
        assert len(server.log) == asked
        assert experiment.read_rows(out) == rows
    assert len(rows) == 3 * 4
    lost = Counter(
        {name: sum(row.failed for row in rows if row.condition == name) for name in ("0", "0.3/30", "0.3/1")}
    )
    assert lost["0"] == lost["0.3/30"] == 0 < lost["0.3/1"]
    assert all(sum(row.reasons.values()) == row.failed == 6 - row.finished for row in rows)
    digests = {name: [row.digest for row in rows if row.condition == name] for name in ("0", "0.3/30")}
    assert digests["0"] == digests["0.3/30"]


def test_a_condition_names_its_share_attempts_and_faults(load: Any) -> None:
    experiment = load("faults")
    for name, share, attempts, faults in [
        ("0.1", 0.1, 8, FAULTS),
        ("0.1/2", 0.1, 2, FAULTS),
        ("0.2/3:html", 0.2, 3, ("html",)),
        ("0.1:manners", 0.1, 8, MANNERS),
    ]:
        assert experiment.read_condition(name) == (share, attempts)
        assert experiment.read_faults(name) == faults


def test_the_table_of_faults_pairs_conditions_by_question(load: Any) -> None:
    experiment = load("faults")

    def row(condition: str, problem: str, right: bool, failed: int, digest: str) -> Any:
        reasons = {"dropped": failed} if failed else {}
        return experiment.Row(condition, "rebase", problem, right, True, 16 - failed, failed, 9, digest, reasons)

    rows = [row("0", name, True, 0, "a") for name in "abcd"]
    rows += [row("0.1", "a", False, 2, "b"), row("0.1", "b", True, 0, "a"), row("0.1", "e", True, 9, "a")]
    line = experiment.table(rows, "0").splitlines()[1]
    assert "2 questions" in line
    assert "covered 100.0, +0.0 (+0.0 to +0.0)" in line
    assert "right 50.0, -50.0 (-100.0 to +0.0)" in line
    assert "lost 2 of 32 rollouts  same solutions in 1" in line
    assert "{'dropped': 2}" in line


def test_a_text_of_its_hub_becomes_a_path_as_in_the_training_of_the_reward_model(load: Any) -> None:
    experiment = load("beside_its_hub")
    steps = TEXTS[0].split("\n\n")
    for count in (1, 2, 3):
        path = experiment.path_of("\n\n".join(steps[:count]))
        assert path.ended == (count == 3)
        pieces = FAMILIES["chat"].solution(QUESTION, path)[1:]
        texts = (
            [f"{step}\n\n" for step in steps[:count]] if count < 3 else [f"{steps[0]}\n\n", f"{steps[1]}\n\n", steps[2]]
        )
        assert pieces == (*map(Text, texts), *([Special("eos")] if count == 3 else []))


async def test_its_hub_gets_the_sessions_rewards_and_an_error_for_a_lost_text(load: Any) -> None:
    experiment = load("beside_its_hub")

    class Session:
        async def score(self, paths: list[Path]) -> list[float | Failure]:
            return [Failure("gone") if "lost" in path.text else len(path.steps) / 4 for path in paths]

    judge = experiment.JudgedTexts(Session())
    assert await judge.ascore("question", ["a", "a\n\nb", "a\n\nb\n\nc"]) == [0.25, 0.5, 0.75]
    with pytest.raises(RuntimeError, match="gone"):
        await judge.ascore("question", ["a", "lost"])


def test_responses_are_judged_by_choice_vote_best_reward_and_coverage(load: Any) -> None:
    experiment = load("beside_its_hub")
    problem = find_world("countdown").parse("Use 2, 3, 4 to make 24")
    wrong = Path((0,), (Step("Answer: \\boxed{2 + 3 + 4}", 1, Stop.END),))
    right = Path((0,), (Step("Answer: \\boxed{2 × 3 × 4}", 1, Stop.END),))
    found = experiment.judged(problem, [wrong, wrong, right], [0.3, 0.3, 0.5], "2 + 3 + 4")
    assert found == {"chosen": False, "voted": False, "best": True, "covered": True, "responses": 3, "distinct": 2}


async def test_contenders_take_turns_and_existing_results_are_not_run_again(load: Any, tmp_path: FilePath) -> None:
    experiment = load("beside_its_hub")
    world, order = find_world("countdown"), list[tuple[str, str]]()

    def contender(name: str) -> Any:
        async def search(problem: Any) -> dict[str, Any]:
            order.append((name, problem.id))
            if name == "broken":
                raise ValueError("no such thing")
            return {"chosen": True, "covered": True, "generated": 10, "responses": 1, "distinct": 1}

        return search

    problems = [world.problem(1, seed) for seed in range(4)]
    searches = {name: contender(name) for name in ("steady", "broken")}
    out = tmp_path / "rows.jsonl"
    await experiment.run(searches, problems[:2], 2, out)
    await experiment.run(searches, problems, 2, out)
    assert [name for name, _ in order] == ["steady"] * 2 + ["broken"] * 4 + ["steady"] * 2
    assert len(set(order)) == len(order) == 8
    rows = experiment.read_rows(out)
    assert {row.error for row in rows if row.contender == "broken"} == {"ValueError: no such thing"}
    lines = experiment.table(rows, "steady").splitlines()
    assert lines[0] == "4 questions"
    cells = lines[2].split()
    assert float(cells.pop(9)) < 60  # seconds
    assert cells == ["steady", "100.0", "0.0", "0.0", "100.0", "1.0", "10", "0", "0", "0"]
    assert "broken − steady: chosen -100.0 (-100.0 to -100.0)" in lines[4]


@pytest.mark.parametrize("name", ["rebase@16", "its_hub/beam", "its_hub/mcts@8", "other/beam@4"])
def test_an_unknown_contender_is_refused(load: Any, name: str) -> None:
    with pytest.raises(ValueError, match="its_hub"):
        load("beside_its_hub").contender(name, None)
