"""Several servers of one model: connections, the choice of a server, waits and statuses."""

import asyncio
from typing import Any

import httpx
import pytest
from served import Emulator

from rollwise.engines.http.client import Fleet, Patience
from rollwise.engines.http.exchange import LostError, TransientError, check_status, retry_after
from rollwise.engines.http.servers import Address, addresses


async def test_a_fleet_opens_one_connection_per_concurrent_request_and_closes_it_after_a_failure(
    served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[httpx.AsyncClient] = []

    class Noted(httpx.AsyncClient):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            made.append(self)

    monkeypatch.setattr(httpx, "AsyncClient", Noted)
    fleet = Fleet(addresses(served.url), concurrency=4, patience=Patience(attempts=1))

    async def ask(path: str = "/tokenize", seconds: float = 9.0) -> Any:
        body = {"prompt": "1", "messages": [{"role": "user", "content": "1"}]}
        return await fleet.ask("q", (), lambda endpoint, _: fleet.post(endpoint, path, body, seconds))

    fleet.enter()
    for _ in range(6):
        await ask()
    assert len(made) == 1
    await asyncio.gather(*(ask() for _ in range(20)))
    assert 1 < len(made) <= 4
    before = len(made)
    served.settings["seconds"] = 1.0
    with pytest.raises(LostError):
        await ask("/v1/completions", 0.05)
    assert [client.is_closed for client in made].count(True) == 1
    await asyncio.gather(*(ask() for _ in range(20)))
    assert len(made) <= before + 1
    await fleet.leave()
    assert all(client.is_closed for client in made)


def test_rendezvous_hashing_moves_only_the_questions_of_a_server_that_leaves() -> None:
    urls = [Address(f"http://10.0.0.{index}") for index in range(4)]
    fleet, fewer = Fleet(urls), Fleet(urls[:3])
    homes = {question: fleet.choose(question).address for question in map(str, range(400))}
    counts = [sum(home == url for home in homes.values()) for url in urls]
    assert min(counts) > 60
    for question, home in homes.items():
        if home != urls[3]:
            assert fewer.choose(question).address == home


def test_waits_and_statuses() -> None:
    patience = Patience(first=1.0, longest=8.0)
    for attempt in range(6):
        wait = patience.wait(attempt, None, "a", 1)
        assert 0.5 * min(8, 2**attempt) <= wait <= min(8, 2**attempt)
        assert wait == patience.wait(attempt, None, "a", 1)
    assert patience.wait(0, None, "a") != patience.wait(0, None, "b")
    assert patience.wait(0, 30.0, "a") == 30.0
    assert retry_after("2", 0) == 2
    assert retry_after("Thu, 01 Jan 1970 00:00:10 GMT", 4) == 6
    assert [retry_after(value, 0) for value in (None, "", "soon", "inf")] == [None] * 4
    assert retry_after(f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT", 0) is None
    for status in (408, 425, 429, 500, 502, 503, 504):
        with pytest.raises(TransientError):
            check_status(status, "{}")
    for status in (301, 400, 401, 403, 404, 422):
        with pytest.raises(LostError):
            check_status(status, '{"detail": [{"msg": "no"}]}')
    check_status(200, "")


def test_if_all_servers_rest_the_one_whose_rest_ends_first_is_chosen() -> None:
    fleet = Fleet([Address("http://10.0.0.1"), Address("http://10.0.0.2")], clock=lambda: 100.0)
    first, second = fleet.ranked("a")
    assert fleet.choose("a") is first
    first.rests_until, second.rests_until = 130.0, 120.0
    assert fleet.choose("a") is second
    second.rests_until = 99.0
    assert fleet.choose("a") is second
