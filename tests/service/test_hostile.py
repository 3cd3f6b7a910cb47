"""Thousands of random wrong requests among right ones: no reply is the server's fault, and the right ones succeed."""

import asyncio
import collections
import json
import os
import random
from pathlib import Path as FilePath
from typing import Any

import httpx
import pytest
from serving import QUESTION, chat, serving

from rollwise.service.bodies import SearchChat, SearchText

COUNT = int(os.environ.get("ROLLWISE_HOSTILE", "400"))
OURS = ["strategy", "budget", "deadline", "seed", "vote", "search", "session", "stop_early", "unknown"]
FIELDS = [*SearchChat.model_fields, *SearchText.model_fields, *SearchChat.unsupported(), "rollwise", "unknown"]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 10**20, -(10**20), 0.5, 1e308, -0.0, "", "x", "\0", "ü", "\u202e", "a" * 3000),
    *("\\boxed{}", "../../etc/passwd", [], {}, [[]], [None], {"a": 1}, "user", "system", "http://127.0.0.1:9", "game"),
    *("dora-64/game", "1e5", "NaN"),
]
PATHS = ["/v1/chat/completions"] * 4 + ["/v1/completions"] * 2 + ["/v1/feedback", "/v1/models/%00", "/v1/models/.."]
KEYS = ["role", "content", "type", "text", "name", "include_usage", *OURS]


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth < 3 and kind < 0.15:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if depth < 3 and kind < 0.3:
        return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(VALUES)


def body(rng: random.Random) -> bytes:
    given: dict[str, Any] = rng.choice([chat(QUESTION), chat("Use 1, 2 to make 3"), {"prompt": QUESTION}, {}])
    given = given | {"rollwise": {"budget": 2}}
    for _ in range(rng.randrange(4)):
        field = rng.choice(FIELDS)
        given[field] = value(rng)
        if field == "rollwise" and rng.random() < 0.7:
            given[field] = {"budget": 2, rng.choice(OURS): value(rng)}
    raw = bytearray(json.dumps(given).encode())
    if rng.random() < 0.15:
        for _ in range(rng.randrange(1, 6)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)


def headers(rng: random.Random) -> dict[str, str]:
    kind = rng.choice(["application/json", "text/plain", "", "multipart/form-data"])
    if rng.random() < 0.2:
        own = rng.choice(["1", "x", "-3", "true", "1e400", "nan", "9" * 400])
        return {"content-type": kind, f"x-rollwise-{rng.choice(OURS)}": own}
    return {"content-type": kind}


@pytest.mark.heavy
async def test_wrong_requests_do_no_harm(tmp_path: FilePath) -> None:
    rng, statuses = random.Random(0), collections.Counter[int]()
    with serving(tmp_path) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            slots = asyncio.Semaphore(16)

            async def wrong(path: str, raw: bytes, own: dict[str, str]) -> None:
                async with slots:
                    reply = await client.request("GET" if "models" in path else "POST", path, content=raw, headers=own)
                statuses[reply.status_code] += 1
                assert reply.status_code < 500, (path, raw, own, reply.text)
                assert reply.status_code < 400 or reply.json()["error"]["message"]

            async def right() -> None:
                async with slots:
                    reply = await client.post("/v1/chat/completions", json=chat(rollwise={"budget": 2}))
                assert reply.json()["choices"][0]["message"]["content"], reply.text

            work = [wrong(rng.choice(PATHS), body(rng), headers(rng)) for _ in range(COUNT)]
            await asyncio.gather(*work, *(right() for _ in range(COUNT // 20)))
    assert statuses[400] > COUNT / 3
    assert statuses[200] > COUNT / 50
