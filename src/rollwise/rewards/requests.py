"""Requests to a server that holds a reward model or a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rollwise.core import Usage
from rollwise.engines.http import GIVE_A_KEY, Endpoint, Fleet, SyncClient, listed_cards, possible, wants_a_key
from rollwise.errors import EngineError, InputError


class ServedModel(NamedTuple):
    """A model as its server lists it: name, tokens that it can read, and owner; None for each that is not listed."""

    name: str | None
    context: int | None
    owner: str | None


def served_model(fleet: Fleet) -> ServedModel:
    """The model to use, as the first server lists it: the one that the address names, else one that scores steps, else
    the first.

    Raises InputError if no server answers, or if it wants another key.
    """
    address = fleet.addresses[0]
    client = SyncClient(address)
    try:
        listed: list[dict[str, Any]] = listed_cards(client.get("/v1/models"))
        if not listed and (reason := client.refusal("/v1/models")) is not None and wants_a_key(reason):
            raise InputError(f"{address.url}: {reason}; {GIVE_A_KEY}")
    except EngineError as error:
        raise InputError(f"no reward model is served at {address.url}: {error}; check the server") from None
    finally:
        client.close()
    if address.model:
        matching, otherwise = [card for card in listed if card.get("id") == address.model], {}
    else:
        matching, otherwise = [card for card in listed if card.get("task") == "token_classify"], (listed or [{}])[0]
    card = matching[0] if matching else otherwise
    return ServedModel(address.model or card.get("id"), card.get("max_model_len"), card.get("owned_by"))


async def request(
    fleet: Fleet,
    question: str,
    path: str,
    body: Mapping[str, Any],
    model: str | None,
    read: Callable[[Any], Any],
) -> Any:
    """The result of `read` for the reply of a route. If `read` raises BrokenReplyError, the request is retried.

    Raises LostError if all attempts fail, and InputError if `read` does.
    """
    named_body = {**body, "model": model} if model else dict(body)

    async def attempt(endpoint: Endpoint, seconds: float) -> Any:
        return read(await fleet.post(endpoint, path, named_body, seconds))

    return await fleet.ask(question, (question, path, repr(body)), attempt)


def add_usage(usage: Usage, reply: Any, length: int) -> None:
    """Add one call with the tokens of its reply to `usage`.

    If the reply does not count the prompt's tokens, they are `length`. If it does not count cached tokens, all prompt
    tokens count as read anew.
    """
    counts = possible("counts", reply).get("usage") or {}
    prompt = counts.get("prompt_tokens") or length
    cached = min(prompt, (counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    usage.prefilled += prompt - cached
    usage.cached += cached
    usage.generated += counts.get("completion_tokens") or 0
    usage.calls += 1
