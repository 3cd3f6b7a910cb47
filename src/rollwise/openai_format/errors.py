"""Errors of a request, in the form that clients of OpenAI's interface read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from rollwise.errors import RollwiseError

_TYPES = {
    HTTPStatus.NOT_FOUND: "NotFoundError",
    HTTPStatus.UNAUTHORIZED: "AuthenticationError",
    HTTPStatus.BAD_REQUEST: "BadRequestError",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "BadRequestError",
    HTTPStatus.TOO_MANY_REQUESTS: "RateLimitError",
}


class RequestError(RollwiseError):
    """A request that the server refuses or fails: an HTTP status, a message with the next step, and, if a field is
    wrong, that field. `wait` is the number of seconds after which the client may try again, sent as Retry-After.
    """

    def __init__(self, status: HTTPStatus, message: str, field: str | None = None, wait: float | None = None) -> None:
        super().__init__(message)
        self.status, self.field, self.wait = status, field, wait

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the reply."""
        return {} if self.wait is None else {"Retry-After": str(max(1, math.ceil(self.wait)))}


def bad_request(message: str, field: str | None = None) -> RequestError:
    """The error of a request that the client has to change."""
    return RequestError(HTTPStatus.BAD_REQUEST, message, field)


def error_body(error: RequestError) -> dict[str, Any]:
    """{"error": {"message", "type", "param", "code"}}, as OpenAI and vLLM send it."""
    error_type = _TYPES.get(error.status, "InternalServerError")
    return {"error": {"message": str(error), "type": error_type, "param": error.field, "code": int(error.status)}}


def validation_message(problems: Sequence[Any], body: Any) -> tuple[str, str | None]:
    """A problem that the validation of a request's body found, as a sentence, and its field, such as "n" or
    "messages[0].content".

    If a value may have several forms, validation reports a problem for each form. The function takes the problem that
    lies deepest in the first problem's field: the form that the client meant got furthest.
    """
    paths = [_path(problem, body) for problem in problems]
    related = [index for index, path in enumerate(paths) if path[: len(paths[0])] == paths[0]]
    deepest = max(related, key=lambda index: len(paths[index]))  # the first of equals
    return _sentence(problems[deepest], _written(paths[deepest]))


def _path(problem: Any, body: Any) -> tuple[str | int, ...]:
    """Where in the body a problem lies, without the labels of forms that validation adds."""
    names_field = problem["type"] in ("missing", "extra_forbidden")
    path: list[str | int] = []
    places = [place for place in problem["loc"] if place != "body"]
    for index, place in enumerate(places):
        known = (isinstance(body, dict) and place in body) or (isinstance(body, list) and isinstance(place, int))
        if known:
            body = body[place]
        if known or (names_field and index == len(places) - 1):
            path.append(place)
    field = problem.get("ctx", {}).get("field")
    return tuple(path) if field is None else (*path, field)


def _written(path: Sequence[str | int]) -> str | None:
    """A path as clients read it: `messages[0].content`."""
    text = "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in path)
    return text.removeprefix(".") or None


def _sentence(problem: Any, field: str | None) -> tuple[str, str | None]:
    match problem["type"]:
        case "json_invalid":
            return f"the body is not JSON: {problem['ctx']['error']}; send one JSON object", None
        case "model_attributes_type" if field is None:
            return "the body is not a JSON object: send one, with the header `content-type: application/json`", None
        case "extra_forbidden":
            return f"{field!r} is not a field of this route, and the server ignores no field: leave it out", field
        case "missing":
            return f"{field!r} is missing: send it" if field else "the body is missing: send one JSON object", field
        case "refused" if problem.get("ctx", {}).get("field"):
            return problem["msg"], field
    return f"{field or 'the body'}: {problem['msg']}", field
