"""Errors of a request, in the form that clients of OpenAI's interface read."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from rollwise.errors import RollwiseError

_TYPES = {
    HTTPStatus.NOT_FOUND: "NotFoundError",
    HTTPStatus.UNAUTHORIZED: "AuthenticationError",
    HTTPStatus.BAD_REQUEST: "BadRequestError",
}


class RequestError(RollwiseError):
    """A request that the server refuses or fails: an HTTP status, a message with the next step, and, if a field is
    wrong, that field.
    """

    def __init__(self, status: HTTPStatus, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field = status, field


def bad_request(message: str, field: str | None = None) -> RequestError:
    """The error of a request that the client has to change."""
    return RequestError(HTTPStatus.BAD_REQUEST, message, field)


def error_body(error: RequestError) -> dict[str, Any]:
    """{"error": {"message", "type", "param", "code"}}, as OpenAI and vLLM send it."""
    error_type = _TYPES.get(error.status, "InternalServerError")
    return {"error": {"message": str(error), "type": error_type, "param": error.field, "code": int(error.status)}}


def validation_message(problems: list[Any]) -> tuple[str, str | None]:
    """The first problem that the validation of a request found, as a sentence, and its field."""
    problem = problems[0]
    places = [str(place) for place in problem["loc"] if place != "body"]
    field = places[0] if places else None
    match problem["type"]:
        case "json_invalid":
            return f"the body is not JSON: {problem['ctx']['error']}; send one JSON object", None
        case "model_attributes_type" if not places:
            return "the body is not a JSON object: send one, with the header `content-type: application/json`", None
        case "extra_forbidden":
            return f"{field!r} is not a field of this route, and the server ignores no field: leave it out", field
        case "missing":
            return f"{field!r} is missing: send it" if field else "the body is missing: send one JSON object", field
        case "value_error":
            return f"{problem['msg'].removeprefix('Value error, ')}", field
    return f"{'.'.join(places) or 'the body'}: {problem['msg']}", field
