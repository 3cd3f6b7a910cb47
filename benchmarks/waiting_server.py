"""A model server that waits as a GPU does and computes next to nothing: vLLM's interface, invented words.

python benchmarks/waiting_server.py --milliseconds 15 --rows 256
python benchmarks/waiting_server.py --bound 8         # what waiting for the longest step of 8 rollouts costs

Each sequence gets a token every so many milliseconds, up to `--rows` sequences at the same time; the others wait, as
they do in a full batch. A solution has three or more steps of 20 to 60 tokens. After the third step it ends with the
chance 0.4 a step, so that a solution that is asked for step by step is as long as one that is asked for at once. What
a request gets depends on its prompt and its seed alone. It says how many tokens it generated at /generated.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

BREAK, END, WORDS = 1, 2, 1_200_000
"""The ids of the end of a step, of the end of the text, and of the first invented word; other ids are characters."""
STEP = "\n\n"
LEAST_STEPS, MORE = 3, 0.6
_MEANING = {BREAK: STEP, END: ""}


def encoded(text: str) -> list[int]:
    """A token for each character."""
    return [ord(character) for character in text]


def decoded(ids: list[int]) -> str:
    """The text of ids."""
    return "".join(piece(each) for each in ids)


def piece(token: int) -> str:
    """The text of one id."""
    if token >= WORDS:
        return f"w{token - WORDS} "
    return _MEANING[token] if token in _MEANING else chr(token)


def steps_done(prompt: list[int]) -> int:
    """How many steps of the solution a prompt already holds."""
    return prompt.count(BREAK)


def continuation(prompt: list[int], seed: int, stops: bool, limit: int) -> tuple[list[int], str, str | None]:
    """The ids that follow a prompt, why they end, and the stop string that ended them."""
    rng, done, ids = random.Random(seed * 1_000_003 + len(prompt)), steps_done(prompt), list[int]()
    while True:
        ids += [WORDS + rng.randrange(5000) for _ in range(rng.randrange(20, 60))]
        done += 1
        last = done >= LEAST_STEPS and rng.random() > MORE
        ids += [*encoded(f"\\boxed{{{rng.randrange(4)}}}"), END] if last else [BREAK]
        if len(ids) >= limit:
            return ids[:limit], "length", None
        if last:
            return ids, "stop", None
        if stops:
            return ids, "stop", STEP


class Waiting:
    """The routes of the server."""

    def __init__(self, milliseconds: float, rows: int) -> None:
        self.seconds, self.slots, self.generated = milliseconds / 1000, asyncio.Semaphore(rows), 0

    async def decode(self, prompt: list[int], seed: int, stops: bool, limit: int) -> tuple[list[int], str, str | None]:
        """One sequence, after the time that it takes."""
        found = continuation(prompt, seed, stops, limit)
        async with self.slots:
            await asyncio.sleep(self.seconds * len(found[0]))
        self.generated += len(found[0])
        return found

    async def respond(self, body: dict[str, Any], prompt: list[int], chat: bool) -> Response:
        """The reply to a request for one or several completions."""
        stops, seed, limit = (
            STEP in (body.get("stop") or ()),
            int(body.get("seed") or 0),
            body.get("max_tokens") or 2048,
        )
        work = (self.decode(prompt, seed + index, stops, limit) for index in range(body.get("n") or 1))
        choices, total = list[dict[str, Any]](), 0
        for index, (ids, reason, stop) in enumerate(await asyncio.gather(*work)):
            total += len(ids)
            text = decoded(ids)
            choice: dict[str, Any] = {"index": index, "finish_reason": reason, "stop_reason": stop}
            choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            if body.get("logprobs") is not None and not chat:
                tops = [{"a": -0.3, "b": -1.5}] * len(ids) if body["logprobs"] else []
                logprobs = {"tokens": list(map(piece, ids)), "token_logprobs": [-0.3] * len(ids), "top_logprobs": tops}
                choice["logprobs"] = logprobs
            if body.get("return_token_ids"):
                choice["token_ids"] = ids
            choices.append(choice)
        usage = {"prompt_tokens": len(prompt), "completion_tokens": total, "total_tokens": len(prompt) + total}
        usage["prompt_tokens_details"] = {"cached_tokens": 16 * (len(prompt) // 16)}  # type: ignore[assignment]
        return JSONResponse({"id": "x", "object": "text_completion", "choices": choices, "usage": usage})

    async def complete(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        try:
            body = await request.json()
        except ClientDisconnect:  # at the end of a measurement
            return Response(status_code=499)
        prompt = body["prompt"] if isinstance(body["prompt"], list) else encoded(body["prompt"])
        return await self.respond(body, prompt, chat=False)

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        body = await request.json()
        return await self.respond(body, encoded(rendered(body["messages"])), chat=True)

    async def count(self, _: Request) -> Response:
        """`GET /generated`: the tokens generated so far."""
        return JSONResponse({"generated": self.generated})


def rendered(messages: list[dict[str, str]]) -> str:
    """A chat as the text of a prompt."""
    return "".join(f"{message['role']}: {message['content']}\n" for message in messages) + "assistant: "


async def tokenize(request: Request) -> Response:
    """`POST /tokenize`."""
    body = await request.json()
    ids = encoded(rendered(body["messages"]) if "messages" in body else body["prompt"])
    return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": 8192})


async def detokenize(request: Request) -> Response:
    """`POST /detokenize`."""
    return JSONResponse({"prompt": decoded((await request.json())["tokens"])})


async def models(_: Request) -> Response:
    """`GET /v1/models`."""
    return JSONResponse({"data": [{"id": "waits", "object": "model", "owned_by": "vllm", "max_model_len": 8192}]})


async def version(_: Request) -> Response:
    """`GET /version`."""
    return JSONResponse({"version": "0.33.0"})


def bound(rollouts: int, searches: int = 400) -> float:
    """The greatest ratio of tokens a second that a search by steps can have if the upstream is never full: the longest
    of its rollouts over the sum of the longest steps of its rounds, in means over searches.
    """
    whole = by_steps = 0
    for search in range(searches):
        paths = []
        for index in range(rollouts):
            ids, _, _ = continuation(encoded(f"question {search}"), 1000 * search + index, False, 2048)
            ends = [0, *(place + 1 for place, token in enumerate(ids) if token == BREAK), len(ids)]
            paths.append([last - first for first, last in itertools.pairwise(ends)])
        whole += max(map(sum, paths))
        by_steps += sum(map(max, itertools.zip_longest(*paths, fillvalue=0)))
    return whole / by_steps


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--milliseconds", type=float, default=15.0, help="of a token of one sequence")
    parser.add_argument("--rows", type=int, default=256, help="sequences that decode at the same time")
    parser.add_argument("--port", type=int, default=8011, help="0 takes a free one")
    parser.add_argument("--bound", type=int, help="only print the bound for searches of so many rollouts")
    options = parser.parse_args()
    if options.bound:
        print(f"{bound(options.bound):.2f}")
        return
    server = Waiting(options.milliseconds, options.rows)
    posts = {
        "/v1/completions": server.complete,
        "/v1/chat/completions": server.chat,
        "/tokenize": tokenize,
        "/detokenize": detokenize,
    }
    gets = {"/v1/models": models, "/version": version, "/generated": server.count}
    routes = [Route(path, call, methods=["POST"]) for path, call in posts.items()]
    app = Starlette(routes=routes + [Route(path, call) for path, call in gets.items()])
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        print(f"serving at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
