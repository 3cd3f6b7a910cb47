"""Servers that answer in another shape than expected, and keys, proxies and URLs that cannot be used."""

import asyncio
import contextlib
import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from served import FAST, QUESTION, TEXTS, emulated
from typer.testing import CliRunner
from walking import extended

import rollwise
from rollwise.cli import build_app
from rollwise.core import Failure, Path, Stop
from rollwise.engines.http import shapes
from rollwise.engines.http.client import Fleet, Patience
from rollwise.engines.http.embedder import HttpEmbedder
from rollwise.engines.http.exchange import LostError
from rollwise.engines.http.policy import HttpPolicy
from rollwise.engines.http.probing import probe
from rollwise.engines.http.servers import Address, addresses
from rollwise.engines.http.shapes import BrokenReplyError, checked, listed_cards, possible
from rollwise.engines.http.sync_client import SyncClient
from rollwise.errors import InputError
from rollwise.rewards.requests import served_model
from rollwise.testing import MANNERS, faulty

Answer = Callable[[str, Any], tuple[int, Any, dict[str, str]]]
ODD: list[Any] = [
    None,
    7,
    0.33,
    True,
    "text",
    [],
    [{"id": "m"}],
    {},
    {"error": {"message": "no"}},
    {"error": "no"},
    {"data": None},
    {"data": 3},
    {"data": [None, 3, {"id": 4}, {"id": ""}, {"id": "m", "owned_by": 3, "max_model_len": "x", "meta": []}]},
    {"data": [{"id": "m", "meta": {"n_params": "many"}}]},
    {"choices": None},
    {"choices": []},
    {"choices": [None]},
    {"choices": [{}]},
    {"choices": [{"text": None}]},
    {"choices": [{"text": 5, "finish_reason": []}]},
    {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]},
    {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": 3, "token_ids": "x"}], "usage": [1]},
    {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": {"token_logprobs": ["x"], "top_logprobs": [3]}}]},
    {
        "choices": [{"text": "a\ud800", "finish_reason": "stop", "logprobs": {"tokens": 1}}],
        "usage": {"prompt_tokens": "x"},
    },
    {"content": 5, "stop_type": 1},
    {"tokens": "abc", "prompt": 5},
    {"tokens": [1, "a"], "prompt": ["a"]},
    {"tokens": [1, True, None], "version": [1], "default_generation_settings": {"n_ctx": "x"}},
    {"paths": 4, "version": {}},
    b"<html>Welcome</html>",
    b"",
    b"\xff\xfe",
    b"[" * 5000,
    b"1e999",
]


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that replies to (path, body) with (status, JSON or bytes, headers), and the paths asked."""
    log: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: Any) -> None:
            log.append(self.path)
            status, reply, headers = answer(self.path, body)
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", log
        server.shutdown()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollwise.engines.http.sync_client._FIRST_WAIT", 0.001)


def works(path: str, body: Any) -> Any:
    """The replies of a small sound server that says little."""
    if path == "/v1/models":
        return {"data": [{"id": "m", "owned_by": "vllm"}]}
    if path == "/v1/completions":
        return {"choices": [{"index": 0, "text": "ab cd", "finish_reason": "stop", "stop_reason": None}]}
    return {"error": "no such route"}


def doctored(*urls: str) -> str:
    result = CliRunner().invoke(build_app(), ["doctor", *urls])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return " ".join(result.output.split())


def test_doctor_survives_every_shape_from_every_route() -> None:
    routes = ["/v1/models", "/version", "/tokenize", "/v1/completions", "/openapi.json", "/props", ""]
    current: list[Any] = [None, ""]

    def answer(path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        odd = current[1] in ("", path)
        return (
            (200, current[0], {})
            if odd
            else (200 if path in ("/v1/models", "/v1/completions") else 404, works(path, body), {})
        )

    with answering(answer) as (url, _):
        for route in routes:
            for reply in ODD:
                current[:] = reply, route
                assert "Traceback" not in doctored(f"{url}#m")


@pytest.mark.parametrize("owner", ["llamacpp", "sglang", "me", "rollwise"])
def test_the_probe_of_each_kind_survives_every_shape(owner: str) -> None:
    current: list[Any] = [None]

    def answer(path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        return 200, {"data": [{"id": "m", "owned_by": owner}]} if path == "/v1/models" else current[0], {}

    with answering(answer) as (url, _):
        for reply in ODD:
            current[0] = reply
            with contextlib.suppress(InputError):
                assert probe(addresses(url)[0], thorough=True).model == "m"


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_every_shape_refuses_or_reads_every_reply(shape: str) -> None:
    for reply in ODD:
        try:
            assert isinstance(checked(shape, reply), dict)
        except BrokenReplyError:
            assert possible(shape, reply) == {}


def test_a_list_of_models_without_an_envelope_is_read() -> None:
    assert [card["id"] for card in listed_cards([{"id": "a"}, "b", 3, {"name": "c"}])] == ["a", "b"]
    with answering(lambda path, body: (200, [{"id": "m"}] if path == "/v1/models" else works(path, body), {})) as (
        url,
        _,
    ):
        assert probe(addresses(url)[0]).model == "m"


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (401, {}, ": the server answered 401: the reason; give its key as ROLLWISE_API_KEY in the environment"),
        (403, {}, ": the server answered 403: the reason; give an OpenAI-compatible server, or its model as #NAME"),
        (301, {"Location": "https://127.0.0.1:9/x?key=s"}, ": it sends requests on to https://127.0.0.1:9; give that"),
        (200, {}, " lists no model under /v1/models: give an OpenAI-compatible server"),
    ],
)
def test_a_server_without_a_list_of_models_says_why(status: int, headers: dict[str, str], told: str) -> None:
    with answering(lambda path, body: (status, {"error": {"message": "the reason"}}, headers)) as (url, _):
        with pytest.raises(InputError) as caught:
            probe(addresses(url)[0])
        assert told in str(caught.value)
        assert "key=s" not in str(caught.value)
        if status == 401:  # else each of its rollouts would be lost later
            with pytest.raises(InputError, match="the reason; give its key as ROLLWISE_API_KEY"):
                served_model(Fleet(addresses(url)))


def test_a_question_that_no_request_can_carry_is_refused() -> None:
    with emulated("vllm") as server, pytest.raises(InputError, match="half of a surrogate pair"):
        rollwise.solve("What is 1 \udcff 1?", world="text", policy=server.url, budget=2)


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    models = {"data": [{"id": "m[/x][red]", "owned_by": "vllm"}]}
    with answering(lambda path, body: (200, models if path == "/v1/models" else works(path, body), {})) as (url, _):
        assert "m[/x][red]" in doctored(url)


def test_wrong_types_of_lenient_fields_count_as_missing_features() -> None:
    choice = {"text": "a", "finish_reason": "stop", "logprobs": {"token_logprobs": "x"}, "token_ids": [-1]}
    (read,) = checked("a completion", {"choices": [choice]})["choices"]
    assert (read["text"], read["logprobs"], read["token_ids"]) == ("a", None, None)
    for odd in (True, -1, 2**63, 1e30, "3"):
        usage = {"prompt_tokens": odd, "completion_tokens": 3}
        assert possible("counts", {"usage": usage})["usage"] == {"prompt_tokens": None, "completion_tokens": 3}


def test_the_message_of_a_wrong_shape_names_the_place_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.raises(BrokenReplyError, match=r"choices\.0\.text: Field required") as raised:
        checked("a completion", {"choices": [{"key": "sk-secret"}]})
    assert "sk-secret" not in str(raised.value)
    with pytest.raises(BrokenReplyError, match=r"replied an error: bad \*\*\*"):
        checked("a completion", {"error": {"message": "bad sk-secret"}})


@pytest.mark.parametrize("wrong", [reply for reply in ODD if not isinstance(reply, bytes)])
def test_embeddings_of_another_shape_are_refused(wrong: Any) -> None:
    with answering(lambda path, body: (200, wrong, {})) as (url, _), pytest.raises(InputError, match="does not embed"):
        HttpEmbedder(url)


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "\u201csk-secret\u201d", "sk secret", "sk-sécret", "a\x00b", "a\tb"])
@pytest.mark.parametrize("name", ["ROLLWISE_API_KEY", "OPENAI_API_KEY"])
def test_a_key_that_no_request_can_carry_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, key: str
) -> None:
    if "\x00" in key:
        monkeypatch.setattr("os.environ", {name: key})
    else:
        monkeypatch.setenv(name, key)
    with answering(lambda path, body: (200, works(path, body), {})) as (url, log):
        shown = doctored(url)
        for use in (HttpPolicy, HttpEmbedder):
            with pytest.raises(InputError, match=name):
                use(url)
    assert name in shown
    assert log == []
    for piece in key.replace("\u201c", " ").replace("\u201d", " ").split():
        if len(piece) > 3:
            assert piece not in shown + caplog.text


@pytest.mark.parametrize("variable", ["ALL_PROXY", "HTTPS_PROXY", "http_proxy"])
def test_a_socks_proxy_is_explained(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, "socks5://user:hush@127.0.0.1:9")
    shown = doctored("http://192.0.2.1:8000")
    assert f"{variable} names a SOCKS proxy" in shown
    assert "pip install 'httpx[socks]'" in shown
    assert "hush" not in shown
    monkeypatch.setenv(variable, "gopher://user:hush@127.0.0.1:9")
    assert f"{variable} names no proxy" in (shown := doctored("http://192.0.2.1:8000"))
    assert "hush" not in shown
    with emulated() as server:  # a server on this machine needs no proxy
        assert probe(addresses(server.url)[0]).kind == "vllm"


def test_missing_certificates_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    assert "SSL_CERT_FILE" in doctored("https://192.0.2.1:8000")


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://a:1/v1/completions", "http://a:1"),
        ("http://a:1/v1/chat/completions/", "http://a:1"),
        ("http://a:1/openai/v1/models#m", "http://a:1/openai"),
        ("http://a:1/completion", "http://a:1"),
        ("http://a:1/v1/embeddings", "http://a:1"),
    ],
)
def test_the_url_of_a_route_is_answered_with_the_base(given: str, base: str) -> None:
    with pytest.raises(InputError, match=f"give its base, {base}$"):
        addresses(given)


@pytest.mark.parametrize(
    "given", ["http://a:port", "http://a:99999", "http://[::1", "http://", "http://a b", "http://a\u2028b", "ftp://a"]
)
def test_what_is_no_url_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="http://host:port"):
        addresses(given)


@pytest.mark.parametrize("given", ["http://u:hush@a", "http://u:hush@a:port", "foo://u:hush@a", "http://a?key=hush"])
def test_a_password_in_a_url_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(InputError) as raised:
        addresses(given)
    assert "hush" not in str(raised.value)


# Faults that do not pass


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_is_reported_at_once(status: int) -> None:
    with answering(lambda path, body: (status, {"error": {"message": "no model `m`"}}, {})) as (url, log):
        with pytest.raises(LostError, match="no model `m`"):
            asyncio.run(asked(url, Patience()))
        assert len(log) == 1


@pytest.mark.parametrize(
    ("status", "reply"), [(500, {"error": "broken"}), (503, {"error": "busy"}), (200, {"odd": 1}), (200, b"<html>")]
)
def test_the_same_fault_again_and_again_ends_early(status: int, reply: Any) -> None:
    with answering(lambda path, body: (status, reply, {})) as (url, log):
        with pytest.raises(LostError, match="the same fault 4 times in a row"):
            asyncio.run(asked(url, Patience()))
        assert len(log) == 4


def test_other_faults_and_faults_among_successes_are_tried_longer() -> None:
    quick = Patience(first=0.001, longest=0.002)
    count = iter(range(99))
    with answering(lambda path, body: (500, {"error": f"fault {next(count)}"}, {})) as (url, log):
        with pytest.raises(LostError, match="tried 8 times"):
            asyncio.run(asked(url, quick))
        assert len(log) == 8
    busy = answering(lambda path, body: (429, {"error": "busy"}, {}))
    with busy as (url, _), pytest.raises(LostError, match="tried 8 times"):
        asyncio.run(asked(url, quick))

    async def beside_successes(url: str) -> None:
        fleet = Fleet([Address(url)], patience=quick)
        fleet.enter()

        async def read(endpoint: Any, seconds: float) -> Any:
            endpoint.successes += 1
            return await fleet.post(endpoint, "/", {}, seconds)

        try:
            await fleet.ask("q", (), read)
        finally:
            await fleet.leave()

    broken = answering(lambda path, body: (500, {"error": "broken"}, {}))
    with broken as (url, _), pytest.raises(LostError, match="the same fault 6 times"):
        asyncio.run(beside_successes(url))


async def asked(url: str, patience: Patience) -> Any:
    """The completion that a fleet gets from a server."""
    fleet = Fleet([Address(url)], patience=patience)
    fleet.enter()

    async def read(endpoint: Any, seconds: float) -> Any:
        return checked("a completion", await fleet.post(endpoint, "/v1/completions", {}, seconds))

    try:
        return await fleet.ask("q", ("key",), read)
    finally:
        await fleet.leave()


@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("synchronous", [False, True])
def test_retry_after_is_honoured_beyond_a_second(dated: bool, synchronous: bool) -> None:
    times: list[float] = []

    def answer(path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        times.append(time.time())
        wait = email.utils.formatdate(time.time() + 3, usegmt=True) if dated else "1.5"
        return (503, {}, {"Retry-After": wait}) if len(times) == 1 else (200, works("/v1/completions", body), {})

    with answering(answer) as (url, _):
        if synchronous:
            SyncClient(Address(url)).post("/v1/completions", {})
        else:
            asyncio.run(asked(url, Patience()))
    assert 1.4 < times[1] - times[0] < 60


def test_a_wait_that_is_too_long_for_a_probe_is_reported() -> None:
    with answering(lambda path, body: (429, {"error": "quota"}, {"Retry-After": "3600"})) as (url, log):
        with pytest.raises(LostError, match="asks to wait 3600 s"):
            SyncClient(Address(url)).post("/", {})
        assert len(log) == 1


# A template that does not fit the model


@pytest.mark.parametrize(("size", "base"), [(1, False), (9, True)])
@pytest.mark.parametrize("kind", ["llamacpp", "vllm"])
def test_a_template_with_markers_that_are_no_tokens_is_remarked(kind: str, size: int, base: bool) -> None:
    chat = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"

    def answer(path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        match path:
            case "/v1/models":
                return 200, {"data": [{"id": "m", "owned_by": kind}]}, {}
            case "/apply-template" | "/detokenize":
                return 200, {"prompt": chat}, {}
            case "/tokenize":
                text = body.get("content", body.get("prompt"))
                return 200, {"tokens": list(range(size if text in ("<|im_start|>", "<|im_end|>") else 20))}, {}
            case "/completion":
                return 200, {"content": "a b c d", "stop_type": "eos", "tokens": [1, 2]}, {}
        return 200, works(path, body), {}

    with answering(answer) as (url, _):
        found = probe(addresses(url)[0])
        shown = doctored(url)
    assert found.foreign_markers == (("<|im_start|>", "<|im_end|>") if base else ())
    assert ("probably a base model" in shown and "--template none" in shown) == base


def test_a_search_loses_rollouts_and_no_more_if_replies_change_shape() -> None:
    odd_replies: list[Any] = [[], 3, {"choices": [{"index": 0}]}, {"choices": [{"text": 1}]}]
    for wrong in odd_replies:
        replies: list[Any] = []

        def answer(
            path: str, body: Any, wrong: Any = wrong, replies: list[Any] = replies
        ) -> tuple[int, Any, dict[str, str]]:
            if path == "/v1/completions":
                replies.append(body)
            odd = path == "/v1/completions" and len(replies) > 1
            return 200 if path in ("/v1/models", "/v1/completions") else 404, wrong if odd else works(path, body), {}

        with answering(answer) as (url, _):
            policy = HttpPolicy(url, patience=Patience(first=0.001, longest=0.002))
            (step,) = asyncio.run(extended(policy, [Path((0,))]))
        assert isinstance(step, Failure)


@pytest.mark.parametrize("broken", [1, 99])
def test_prompts_of_another_shape_are_asked_for_again_and_then_cost_the_rollouts(broken: int) -> None:
    asked_before: list[Any] = []
    probing = True

    def answer(path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        if path != "/tokenize":
            return 200 if path in ("/v1/models", "/v1/completions") else 404, works(path, body), {}
        if not probing:
            asked_before.append(body)
            if len(asked_before) <= broken:
                return 200, [{"id": "m"}], {}
        return 200, {"tokens": [5, 6]}, {}

    with answering(answer) as (url, _):
        policy = HttpPolicy(url, patience=FAST)
        assert policy.server.template == "tokenize"
        probing = False
        (step,) = asyncio.run(extended(policy, [Path((0,))]))
    assert isinstance(step, Failure) == (broken == 99)
    assert len(asked_before) == (4 if broken == 99 else 2)


@pytest.mark.parametrize("kind", ["vllm", "openai"])
@pytest.mark.parametrize("manner", MANNERS)
def test_a_search_loses_nothing_by_odd_manners(kind: str, manner: str) -> None:
    """The first three manners change every reply; the others break one exchange in five."""
    with emulated(kind) as server, faulty(server.url, 0.0, kinds=(manner,)) as proxy:
        policy = HttpPolicy(proxy.url, patience=FAST)
        proxy.share = 1.0 if manner in MANNERS[:3] else 0.2
        solution = rollwise.solve(
            QUESTION, "temperature", 6, policy=policy, world="countdown", reward="dial(0)", directions="text"
        )
        assert manner in proxy.outcomes
    assert solution.failures == ()
    assert {path.text for path in solution.finished} <= set(TEXTS)
    assert [step.stop for step in solution.finished[0].steps] == [Stop.STEP, Stop.STEP, Stop.END]
