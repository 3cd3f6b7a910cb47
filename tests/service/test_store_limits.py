"""The store at its limits: on a full disk no answer goes out that is not on record, and old texts are erased."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

import httpx
import pytest
from serving import chat, serving, until
from sqlalchemy import event

from rollwise.service import search_page, search_record, verified_log


@contextmanager
def full(store: Any) -> Iterator[None]:
    """SQLite as it is on a full disk: the file cannot grow."""

    def limit(connection: Any, *_: Any) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def lift(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1000000000")

    event.listen(store.database._engine, "checkout", limit)
    yield
    event.remove(store.database._engine, "checkout", limit)
    event.listen(store.database._engine, "checkout", lift)


def ask(url: str, seed: int, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=chat(seed=seed, **fields), timeout=120)


def test_no_answer_goes_out_that_a_full_disk_keeps_off_the_record(tmp_path: FilePath) -> None:
    with serving(tmp_path) as (url, service):
        store = service.writer.store
        assert ask(url, 0).status_code == 200
        with full(store):
            replies = [ask(url, seed) for seed in range(1, 6)]
            refused = [reply for reply in replies if reply.status_code == 503]
            assert {reply.status_code for reply in replies} <= {200, 503}
            assert refused
            for reply in refused:
                assert reply.headers["retry-after"]
                assert "choices" not in reply.json()
                assert set(reply.json()) == {"error"}
            streamed = ask(url, 7, stream=True)
            assert '"error"' in streamed.text
            assert not re.search(r'"content": "[^"]', streamed.text)
            assert httpx.get(f"{url}/health").json()["running"] == 0
        assert ask(url, 8).status_code == 200
        answered = [reply.json()["rollwise"]["id"] for reply in replies if reply.status_code == 200]
        for id_ in answered:
            assert search_record(store, id_)["outcome"] in ("answered", "no_answer")
        assert search_page(store)[1] == 2 + len(answered)
        assert verified_log(store).faults == ()


def test_texts_are_erased_after_their_days_and_the_log_still_verifies(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollwise.service.upkeep._ERASE", 0.1)
    with serving(tmp_path, retention_days=1.0) as (url, service):
        store = service.writer.store
        with monkeypatch.context() as long_ago:
            long_ago.setattr("rollwise.service.searches.now", lambda: "2000-01-01T00:00:00.000000+00:00")
            old = ask(url, 1).json()["rollwise"]["id"]
        until(lambda: search_record(store, old)["text"] is None)
        new = ask(url, 2).json()["rollwise"]["id"]
        kept = search_record(store, new)
        assert kept["text"] is not None
        assert kept["events"]
        gone = search_record(store, old)
        assert (gone["text"], gone["events"]) == (None, None)
        assert gone["text_digest"] == kept["text_digest"], "of the same question"
        check = verified_log(store)
        assert (check.faults, check.searches, check.without_text) == ((), 2, 1)
