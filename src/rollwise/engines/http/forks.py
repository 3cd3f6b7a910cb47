"""Copies of one path, grown with one request for `n` completions; each copy keeps the seed that it would have alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollwise.core import Path
from rollwise.engines import StepRule
from rollwise.engines.http.replies import Reply, read_reply, usage_of
from rollwise.engines.http.servers import TOP, Server
from rollwise.engines.http.shapes import BrokenReplyError, checked, possible, shown
from rollwise.numerics import keyed_generator

MOST = 16
"""The most completions that one request asks for. If its reply is cut off, all of them are requested again."""

_SEEDS = 2**30


def seed_of(path: Path, *key: object) -> int:
    """The seed of a path's next step, below 2^31.

    It is a seed keyed by the path's parent plus the path's number among the copies, because a server samples completion
    i of a request with the request's seed plus i.
    """
    first = int(keyed_generator(*key, path.key[:-1], len(path.steps), "sample").integers(_SEEDS))
    return first + path.key[-1]


def can_grow_copies(server: Server) -> bool:
    """Whether one request can grow several copies of a path.

    The server has to sample completion i with the request's seed plus i, as vLLM and `rollwise serve-model` do, and its
    reply has to list the tokens of each completion.
    """
    return server.kind in ("vllm", "rollwise") and server.stopping == "field" and server.gives_ids


def fork_groups(paths: Sequence[Path], most: int = MOST) -> list[list[Path]]:
    """The paths in their order, split into groups of at most `most` successively numbered copies of one parent."""
    groups: list[list[Path]] = []
    for path in paths:
        last = groups[-1][-1] if groups else None
        follows = last is not None and path.key == (*last.key[:-1], last.key[-1] + 1) and path.steps == last.steps
        if follows and len(groups[-1]) < most:
            groups[-1].append(path)
        else:
            groups.append([path])
    return groups


def read_forks(server: Server, body: Any, rule: StepRule, limit: int, count: int) -> list[Reply | None]:
    """The replies to a request for `count` completions, in their order; None for a completion that is missing.

    The first reply carries the tokens that the server read for all. Raises BrokenReplyError if all are missing.
    """
    choices = body.get("choices") if isinstance(body, Mapping) else None
    valid = [possible("a choice", choice) for choice in (choices if isinstance(choices, list) else ())]
    by_index = {choice.get("index"): choice for choice in valid}
    replies = [_read_choice(server, by_index.get(index), rule, limit) for index in range(count)]
    for index, reply in enumerate(replies):
        if reply is not None:
            prefilled, cached, _ = usage_of(server, body)
            replies[index] = Reply(reply.step, reply.counted, prefilled, cached)
            return replies
    checked("a completion", body)
    raise BrokenReplyError(f"the server replied without the token ids of any choice: {shown(body)}")


def _read_choice(server: Server, choice: Any, rule: StepRule, limit: int) -> Reply | None:
    if not choice or not choice.get("token_ids"):
        return None
    try:
        return read_reply(server, {"choices": [choice]}, rule, limit, TOP)
    except BrokenReplyError:
        return None
