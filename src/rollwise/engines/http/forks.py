"""Copies of one path, asked for in one request: `n` completions of a prompt, each by the seed it would have alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollwise.core import Path
from rollwise.engines import StepRule
from rollwise.engines.http.replies import BrokenReplyError, Reply, read_reply, usage_of
from rollwise.engines.http.servers import TOP, Server
from rollwise.numerics import keyed_generator

MOST = 16
"""How many completions a request asks for at most, since a reply that is cut off costs all of them anew."""

_SEEDS = 2**30


def seed_of(path: Path, *key: object) -> int:
    """The seed of a path's next step, below 2^31: that of its parent, keyed, plus its number among the copies, since
    completion i of several is sampled with the request's seed plus i.
    """
    first = int(keyed_generator(*key, path.key[:-1], len(path.steps), "sample").integers(_SEEDS))
    return first + path.key[-1]


def sharing(server: Server) -> bool:
    """Whether a server samples completion i of several with the seed plus i, as vLLM and `rollwise serve-model` do, and
    says which tokens each has.
    """
    return server.kind in ("vllm", "rollwise") and server.stopping == "told" and server.gives_ids


def fork_groups(paths: Sequence[Path], most: int = MOST) -> list[list[Path]]:
    """The paths in their order, neighbours together that are copies of one parent with successive numbers."""
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
    """What came of a request for `count` completions, in their order; None where one says nothing. What the server read
    is told with the first that does. Raises BrokenReplyError where the reply holds none.
    """
    choices = body.get("choices") if isinstance(body, Mapping) else None
    by_index = {one.get("index"): one for one in choices or () if isinstance(one, Mapping)}
    replies = [_read_choice(server, by_index.get(index), rule, limit) for index in range(count)]
    told = next((index for index, reply in enumerate(replies) if reply is not None), None)
    if told is None:
        raise BrokenReplyError(f"the server replied without a choice: {repr(body)[:80]}")
    prefilled, cached, _ = usage_of(server, body)
    first = replies[told]
    assert first is not None
    replies[told] = Reply(first.step, first.counted, prefilled, cached)
    return replies


def _read_choice(server: Server, choice: Any, rule: StepRule, limit: int) -> Reply | None:
    if not choice or not choice.get("token_ids"):
        return None
    try:
        return read_reply(server, {"choices": [choice]}, rule, limit, TOP)
    except BrokenReplyError:
        return None
