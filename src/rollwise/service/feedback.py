"""What clients say of answers."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from rollwise.answers import find_grader
from rollwise.openai_format import Fields, RequestError, bad_request, refusal

if TYPE_CHECKING:
    from rollwise.service.service import Service


class FeedbackBody(Fields):
    """`POST /v1/feedback`: the id of a search, and whether its answer is right, or the right answer itself."""

    id: Annotated[str, Field(min_length=1, max_length=100)]
    right: bool | None = None
    gold: Annotated[str, Field(max_length=1000)] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> FeedbackBody:
        if (self.right is None) == (self.gold is None):
            raise refusal("send either 'right' or 'gold'", "right")
        return self


async def feed_back(service: Service, body: FeedbackBody, client: str) -> dict[str, Any]:
    """Keep what a client says of an answer that it got. Raises RequestError if it got none with that id, and if the
    service does not keep the answer that a gold answer is to be compared with.
    """
    found = await service.writer.call(lambda store: store.answer(body.id, client))
    if found is None:
        raise RequestError(HTTPStatus.NOT_FOUND, f"no search of yours has the id {body.id!r}", "id")
    right = body.right
    if right is None:
        assert body.gold is not None
        if found.digested:
            raise bad_request("this service keeps no answers (keep_text), so send 'right' instead of 'gold'", "gold")
        right = found.answer is not None and await asyncio.to_thread(
            find_grader(found.grader).right, body.gold, found.answer
        )
    await service.writer.call(lambda store: store.feed_back(body.id, client, right, body.gold))
    service.metrics.feedback.labels(found.route, found.rule, str(right).lower()).inc()
    return {"id": body.id, "right": right}
