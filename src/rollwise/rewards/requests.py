"""Requests to a server that holds a reward model or a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rollwise.core import Usage
from rollwise.engines.http import Asker, BrokenReplyError, Endpoint, Fleet
from rollwise.errors import EngineError, InputError


def first_model(fleet: Fleet) -> tuple[str | None, int | None, str | None]:
    """The name of the model to ask for, its context and its owner, as the first server lists them. Raises InputError
    where nothing answers.
    """
    asker = Asker(fleet.addresses[0])
    try:
        listed = (asker.get("/v1/models") or {}).get("data") or [{}]
    except EngineError as error:
        raise InputError(f"no reward model is served at {fleet.addresses[0].url}: {error}") from None
    finally:
        asker.close()
    wanted = fleet.addresses[0].model
    named = next((one for one in listed if one.get("id") == wanted), {}) if wanted else _judging(listed)
    return wanted or named.get("id"), named.get("max_model_len"), named.get("owned_by")


def _judging(listed: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of the models that a server lists, the one that it says is for judging steps; else the first."""
    return next((one for one in listed if one.get("task") == "token_classify"), listed[0])


async def ask(
    fleet: Fleet,
    question: str,
    path: str,
    body: Mapping[str, Any],
    model: str | None,
    read: Callable[[Any], Any],
) -> Any:
    """What `read` makes of a route's reply; one that it cannot read is asked for again. Raises LostError."""
    sent = {**body, **({"model": model} if model else {})}

    async def attempt(endpoint: Endpoint, seconds: float) -> Any:
        reply = await fleet.post(endpoint, path, sent, seconds)
        try:
            return read(reply)
        except InputError:
            raise
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BrokenReplyError(f"{path} replied something else: {type(error).__name__}: {error}") from None

    return await fleet.ask(question, (question, path, repr(body)), attempt)


def count(usage: Usage, reply: Any, length: int) -> None:
    """Add what a reply says was read and generated. Where it tells nothing of its cache, all counts as read anew."""
    told = reply.get("usage") or {}
    read = int(told.get("prompt_tokens") or length)
    cached = int((told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    usage.prefilled += read - cached
    usage.cached += cached
    usage.generated += int(told.get("completion_tokens") or 0)
    usage.calls += 1
