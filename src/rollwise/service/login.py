"""Who may open the dashboard of a service: a form takes a key, and a cookie remembers the name of the key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from rollwise.openai_format import RequestError, bearer_token
from rollwise.report import asset, catalogue
from rollwise.service.clients import client_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from rollwise.service.settings import Settings

COOKIE = "rollwise_ui"
PLACE = "/ui"
_SECONDS = 12 * 3600
_LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]")
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


class Passes:
    """The cookies of visitors who showed a key. They are signed with a secret, which all processes at an address share,
    and end with it.
    """

    def __init__(self, settings: Settings, secret: bytes | None = None) -> None:
        self.keys, self.allowed = settings.keys, settings.ui_keys or tuple(settings.keys)
        self.host = settings.host
        self._secret = secret or secrets.token_bytes(32)

    def client(self, key: str) -> str:
        """The name of a key that opens the dashboard. Raises RequestError: 401 for an unknown key, 403 for another."""
        name = client_of(self.keys, key)
        if self.keys and name not in self.allowed:
            raise RequestError(HTTPStatus.FORBIDDEN, "this key does not open the dashboard: see ui_keys")
        return name

    def issue(self, name: str, now: float | None = None) -> str:
        """A cookie for the holder of a key."""
        ends = int((time.time() if now is None else now) + _SECONDS)
        named = base64.urlsafe_b64encode(name.encode()).decode()
        return f"{named}.{ends}.{self._sign(named, str(ends))}"

    def holder(self, cookie: str, now: float | None = None) -> str | None:
        """The name of the key that a cookie stands for; None if it is none of ours or too old."""
        named, ends, sign = [*cookie.split("."), "", ""][:3]
        if not hmac.compare_digest(self._sign(named, ends).encode(), sign.encode()):
            return None
        name = base64.urlsafe_b64decode(named).decode()
        return name if int(ends) > (time.time() if now is None else now) and name in self.allowed else None

    def _sign(self, named: str, ends: str) -> str:
        return hmac.new(self._secret, f"{named}.{ends}".encode(), hashlib.sha256).hexdigest()

    def refusal(self, request: Request) -> RequestError | None:
        """Why a request may not see the dashboard; None if it may."""
        if not self.keys:
            named = request.url.hostname or ""
            if self.host in _LOCAL and named not in _LOCAL:  # another site may have pointed its name here
                return RequestError(HTTPStatus.BAD_REQUEST, "ask for this service by 127.0.0.1 or localhost")
            return None
        if self.holder(request.cookies.get(COOKIE, "")) is not None:
            return None
        try:
            self.client(bearer_token(request))
        except RequestError as error:
            return error
        return None


class Guard:
    """An application that shows another one to those who have a pass; a browser is led to the form."""

    def __init__(self, app: ASGIApp, passes: Passes) -> None:
        self.app, self.passes = app, passes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        error = self.passes.refusal(request)
        if error is None:
            await self.app(scope, receive, send)
            return
        reply: Response = JSONResponse({"error": str(error), "login": "login"}, status_code=error.status)
        if error.status == HTTPStatus.UNAUTHORIZED and "text/html" in request.headers.get("accept", ""):
            reply = RedirectResponse(f"{scope.get('root_path', PLACE)}/login", HTTPStatus.SEE_OTHER)
        await reply(scope, receive, send)


def login_routes(passes: Passes) -> APIRouter:
    """The form that takes a key, and the way out."""
    router = APIRouter(include_in_schema=False)

    @router.get(f"{PLACE}/login")
    async def form(request: Request) -> Response:
        return _page(request) if passes.keys else RedirectResponse("./", HTTPStatus.SEE_OTHER)

    @router.post(f"{PLACE}/login")
    async def login(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode(errors="replace"))
        try:
            name = passes.client(fields.get("key", [""])[0].strip())
        except RequestError as error:
            return _page(request, error)
        reply = RedirectResponse("./", HTTPStatus.SEE_OTHER)
        secure = request.url.scheme == "https"
        place = request.scope.get("root_path", "") + PLACE
        reply.set_cookie(
            COOKIE, passes.issue(name), _SECONDS, path=place, secure=secure, httponly=True, samesite="strict"
        )
        return reply

    @router.post(f"{PLACE}/logout")
    async def logout(request: Request) -> Response:
        reply = RedirectResponse("login", HTTPStatus.SEE_OTHER)
        reply.delete_cookie(COOKIE, path=request.scope.get("root_path", "") + PLACE)
        return reply

    return router


def _page(request: Request, error: RequestError | None = None) -> Response:
    language = "ja" if request.headers.get("accept-language", "").lower().startswith("ja") else "en"
    words = catalogue(language)["operations"]
    refused = "login_forbidden" if error and error.status == HTTPStatus.FORBIDDEN else "login_refused"
    said = "" if error is None else f'<p class="error" role="alert">{escape(words[refused])}</p>'
    page = f"""<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>rollwise</title><link rel="icon" href="data:,">
<style>{asset("search.css")} form {{ max-width: 420px; margin: 12vh auto 0 }}
input {{ font: inherit; display: block; width: 100%; margin: 4px 0 12px; padding: 7px 9px; color: inherit;
background: var(--card); border: 1px solid var(--rule); border-radius: 8px }}
button {{ padding: 7px 18px }} .error {{ border-left: 3px solid var(--c1); padding-left: 12px }}</style></head>
<body><main><form method="post" action="login" class="panel"><h1>rollwise</h1><p>{escape(words["login_help"])}</p>{said}
<label>{escape(words["login_key"])}<input type="password" name="key" required autofocus autocomplete="current-password">
</label><button type="submit">{escape(words["login_button"])}</button></form></main></body></html>"""
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return HTMLResponse(page, HTTPStatus.OK if error is None else error.status, headers)
