"""The dashboard of a service: who may open it, and that it says what the store holds."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from serving import HARD, QUESTION, chat, serving

from rollwise.core import key_text
from rollwise.report import account_of_records, reason_of, search_html, sentence
from rollwise.service import Settings, make_service, search_record
from rollwise.service.app import build_app
from rollwise.service.login import Passes

KEYS = {name: hashlib.sha256(f"key of {name}".encode()).hexdigest() for name in ("ann", "bob")}
UI = "/ui/api/records"


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Any, list[str]]]:
    with serving(tmp_path_factory.mktemp("open")) as (url, service), httpx.Client(base_url=url, timeout=60) as client:
        bodies = (chat(), chat(HARD), chat(model="rebase-3/game"))
        ids = [client.post("/v1/chat/completions", json=body).json()["rollwise"]["id"] for body in bodies]
        client.post("/v1/feedback", json={"id": ids[0], "right": True})
        yield client, service, ids


def test_the_list_is_filtered_and_paged(open_service: tuple[httpx.Client, Any, list[str]]) -> None:
    client, _, ids = open_service
    listed = client.get(f"{UI}/list", params={"size": 2}).json()
    assert (listed["total"], [row["id"] for row in listed["searches"]]) == (3, [ids[2], ids[1]])
    assert [row["id"] for row in client.get(f"{UI}/list", params={"size": 2, "page": 1}).json()["searches"]] == ids[:1]
    of_rule = client.get(f"{UI}/list", params={"strategy": "rebase"}).json()
    assert [row["id"] for row in of_rule["searches"]] == [ids[2]]
    assert client.get(f"{UI}/list", params={"client": "nobody"}).json()["total"] == 0
    choices = client.get(f"{UI}/choices").json()
    assert (choices["strategy"], choices["outcome"], choices["client"]) == (
        ["dora", "rebase"],
        ["answered"],
        ["anybody"],
    )


def test_a_search_has_its_record_its_entry_and_its_sentences(
    open_service: tuple[httpx.Client, Any, list[str]],
) -> None:
    client, service, ids = open_service
    told = client.get(f"{UI}/{ids[1]}").json()
    assert told["record"]["text"]["question"] == HARD
    assert (told["audit"]["faults"], told["recorded"]) == ([], True)
    assert client.get(f"{UI}/{ids[0]}").json()["record"]["feedback"][0]["right"] is True
    search = client.get(f"{UI}/{ids[1]}/search").json()
    assert (search["question"], search["digested"]) == ([["text", HARD]], False)
    record = search_record(service.writer.store, ids[1])
    account = account_of_records(record["config"], HARD, record["events"], record["question"])
    assert [ballot["answer"] for ballot in search["ballots"]] == [ballot.answer for ballot in account.ballots]
    for node in list(account.nodes.values())[:6]:
        path = key_text(node.key)
        for language in ("en", "ja"):
            why = client.get(f"{UI}/{ids[1]}/why", params={"path": path, "language": language}).json()["why"]
            assert why == sentence(reason_of(account, node), language)
    saved = client.get(f"{UI}/{ids[1]}/page", params={"language": "ja"})
    assert saved.headers["content-disposition"] == f'attachment; filename="search-{ids[1]}.html"'
    assert saved.text == search_html(account, "ja")
    assert client.get(f"{UI}/none/page").status_code == 422
    wrong = client.get(f"{UI}/{ids[1]}/why", params={"path": "99"})
    assert (wrong.status_code, "no path 99" in wrong.json()["error"]) == (422, True)
    assert "rollwise audit list" in client.get(f"{UI}/none").json()["error"]


def test_the_state_says_what_runs(open_service: tuple[httpx.Client, Any, list[str]]) -> None:
    client, _, _ = open_service
    state = client.get("/ui/api/operations/state").json()
    (route,) = state["routes"]
    assert (route["route"], route["current"], route["candidate"], route["gate"]) == ("game", "search", None, None)
    errors = next(figure for figure in route["figures"] if figure["name"] == "errors")
    assert (errors["value"], errors["samples"], errors["alarm"]) == (0.0, 3, False)
    generated = sum(row["generated"] for row in client.get(f"{UI}/list").json()["searches"])
    assert [(cost["searches"], cost["tokens"]) for cost in route["costs"]] == [(3, generated)]


def test_a_page_of_another_site_cannot_read_it(open_service: tuple[httpx.Client, Any, list[str]]) -> None:
    client, _, _ = open_service
    assert client.get("/ui/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/ui/", headers={"Host": "localhost:1"}).status_code == 200


def test_without_texts_digests_stand_in_their_place_until_they_are_erased(tmp_path: FilePath) -> None:
    with serving(tmp_path, keep_text=False) as (url, service), httpx.Client(base_url=url, timeout=60) as client:
        id_ = client.post("/v1/chat/completions", json=chat(HARD)).json()["rollwise"]["id"]
        told = client.get(f"{UI}/{id_}").text + client.get(f"{UI}/{id_}/search").text
        assert QUESTION not in told
        assert HARD not in told
        assert "left" not in json.dumps(client.get(f"{UI}/{id_}/search").json()["texts"])
        search = client.get(f"{UI}/{id_}/search").json()
        assert search["digested"] is True
        assert all(piece[1].startswith("sha256:") for text in search["texts"] if text for piece in text)
        ended = search["nodes"]["fate"].index("finished")
        why = client.get(f"{UI}/{id_}/why", params={"path": search["nodes"]["key"][ended]}).json()["why"]
        assert why.startswith("It finished. Only a digest of its text was kept")
    with serving(tmp_path) as (url, service), httpx.Client(base_url=url, timeout=60) as client:
        id_ = client.post("/v1/chat/completions", json=chat(HARD)).json()["rollwise"]["id"]
        assert client.get(f"{UI}/{id_}/search").status_code == 200
        service.writer.store.erase_texts("9")
        refused = client.get(f"{UI}/{id_}/search")
        assert (refused.status_code, "erased" in refused.json()["error"]) == (422, True)
        assert client.get(f"{UI}/{id_}").json()["audit"]["faults"] == []


def test_with_keys_a_browser_logs_in_and_out(tmp_path: FilePath) -> None:
    with serving(tmp_path, keys=KEYS, ui_keys=["ann"]) as (url, _):
        page = {"Accept": "text/html"}
        with httpx.Client(base_url=url, follow_redirects=True) as client:
            assert client.get("/ui/api/operations/state").status_code == 401
            assert client.get("/ui/static/app.js").status_code == 401
            form = client.get("/ui/", headers=page)
            assert (form.url.path, form.status_code) == ("/ui/login", 200)
            assert "form-action 'self'" in form.headers["content-security-policy"]
            assert client.post("/ui/login", data={"key": "wrong"}).status_code == 401
            assert client.post("/ui/login", data={"key": "key of bob"}).status_code == 403
            assert client.get("/ui/api/operations/state").status_code == 401
            entered = client.post("/ui/login", data={"key": "key of ann"})
            assert entered.url.path == "/ui/"
            cookie = entered.history[0].headers["set-cookie"]
            assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/ui"))
            assert "key of ann" not in cookie
            assert client.get("/ui/api/operations/state").status_code == 200
            assert client.get("/v1/models").status_code == 401
            client.post("/ui/logout")
            assert client.get("/ui/api/operations/state").status_code == 401
        bearer = {"Authorization": "Bearer key of ann"}
        assert httpx.get(f"{url}/ui/api/operations/state", headers=bearer).status_code == 200
        assert httpx.get(f"{url}/ui/?key=key%20of%20ann").status_code == 401


def test_a_pass_is_signed_ends_and_cannot_be_altered() -> None:
    passes = Passes(Settings(keys=KEYS))
    cookie = passes.issue("ann", now=0)
    assert passes.holder(cookie, now=12 * 3600 - 1) == "ann"
    assert passes.holder(cookie, now=12 * 3600 + 1) is None
    assert Passes(Settings(keys=KEYS)).holder(cookie, now=1) is None
    named, ends, sign = cookie.split(".")
    for forged in ("", "x", "..", f"{named}.{int(ends) + 9}.{sign}", f"Ym9i.{ends}.{sign}", f"{cookie}é", "é.é.é"):
        assert passes.holder(forged, now=1) is None
    with pytest.raises(ValidationError, match="no key is called 'eve'"):
        Settings(keys=KEYS, ui_keys=("eve",))


def test_it_can_be_switched_off_or_lack_its_extra(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    off = make_service(Settings(store=tmp_path / "off.db", ui=False))
    assert TestClient(build_app(off)).get("/ui/").status_code == 404
    monkeypatch.setitem(sys.modules, "latex2mathml", None)
    lacking = make_service(Settings(store=tmp_path / "lacking.db"))
    reply = TestClient(build_app(lacking)).get("/ui/")
    assert (reply.status_code, "rollwise[ui]" in reply.text) == (501, True)
    assert TestClient(build_app(lacking)).get("/live").status_code == 200
    for service in (off, lacking):
        service.writer.close()
