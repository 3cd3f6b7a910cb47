"""What a request can do wrong, in the shape that clients of OpenAI's interface read."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from rollwise.errors import RollwiseError


class RequestError(RollwiseError):
    """A request that is not served: an HTTP status, what is wrong and what to do next, and the field if it is one."""

    def __init__(self, status: HTTPStatus, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field = status, field


def bad_request(message: str, field: str | None = None) -> RequestError:
    """A request that has to be changed before it can be served."""
    return RequestError(HTTPStatus.BAD_REQUEST, message, field)


def error_body(error: RequestError) -> dict[str, Any]:
    """{"error": {"message", "type", "param", "code"}} as OpenAI and vLLM send it."""
    kind = {
        HTTPStatus.NOT_FOUND: "NotFoundError",
        HTTPStatus.UNAUTHORIZED: "AuthenticationError",
        HTTPStatus.BAD_REQUEST: "BadRequestError",
    }.get(error.status, "InternalServerError")
    return {"error": {"message": str(error), "type": kind, "param": error.field, "code": int(error.status)}}


def validation_message(problems: list[Any]) -> tuple[str, str | None]:
    """The first problem that a request's validation found, in words, and the field it lies in."""
    problem = problems[0]
    places = [str(place) for place in problem["loc"] if place != "body"]
    field = places[0] if places else None
    match problem["type"]:
        case "json_invalid":
            return f"the body is not JSON: {problem['ctx']['error']}; send one JSON object", None
        case "model_attributes_type" if not places:
            return "the body is not a JSON object: send one, with the header `content-type: application/json`", None
        case "extra_forbidden":
            return f"{field!r} is not a field of this route, and none is ignored: leave it out", field
        case "missing":
            return f"{field!r} is missing: send it" if field else "the body is missing: send one JSON object", field
        case "value_error":
            return f"{problem['msg'].removeprefix('Value error, ')}", field
    return f"{'.'.join(places) or 'the body'}: {problem['msg']}", field
