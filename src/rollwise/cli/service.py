"""`rollwise serve`: a search behind an OpenAI-compatible address."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rollwise.service import Settings


def serve(given: dict[str, Any]) -> None:
    """Serve a search to any client of OpenAI's interface. Without a configuration it searches in the bundled world.

    The TOML file names routes: the fields of a search, such as a policy's URL and a budget, and the rules that a route
    is moved through. SIGTERM lets the searches in flight end. Several processes, and with PostgreSQL several machines,
    can serve together.

    Examples:
    * `rollwise serve`

    * `rollwise serve service.toml --port 8080`

    * `rollwise serve service.toml --workers 4 --store postgresql+psycopg://me@db.example/rollwise`
    """
    from rollwise.service import read_settings

    settings = read_settings(given)
    from rollwise.openai_format import listen
    from rollwise.service import make_service, serve_together
    from rollwise.service import serve as serve_until_signal

    with listen(settings.host, settings.port) as listener:
        service = make_service(settings) if settings.workers == 1 else None
        typer.echo(_notice(settings, f"http://{settings.host}:{listener.getsockname()[1]}"))
        if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.keys:
            typer.echo(
                f"anyone who reaches {settings.host} can use this service: name keys in the configuration", err=True
            )
        sys.stdout.flush()
        if service is None:
            serve_together(settings, listener)
        else:
            serve_until_signal(service, listener)


def _notice(settings: Settings, url: str) -> str:
    """The address, the routes with their rules, and a request to try."""
    from rollwise.database import shown
    from rollwise.search import settled

    lines = [f"serving at {url}" + (f" with {settings.workers} workers" if settings.workers > 1 else "")]
    for name, route in settings.routes.items():
        lines.append(f"  {name}: {' → '.join(rule.name for rule in route.ladder)}")
    if settings.ui:
        lines.append(f"stages, figures and every search in a browser: {url}/ui/")
    name, route = next(iter(settings.routes.items()))
    world = settled(route.config(route.ladder[-1])).world
    question = {"text": "What is 12 × 13?", "countdown": "Use 3, 4, 5 to make 17"}.get(str(world), "YOUR QUESTION")
    body = {"model": name, "messages": [{"role": "user", "content": question}]}
    text = json.dumps(body | {"rollwise": {"budget": min(16, route.most_budget)}}, ensure_ascii=False)
    key = " -H 'authorization: Bearer KEY'" if settings.keys else ""
    curl = f"curl {url}/v1/chat/completions -H 'content-type: application/json'{key} -d '{text}'"
    lines.append(f"searches, stages and the audit log are in {shown(settings.store)}")
    return "\n".join([*lines, "", curl, "Ctrl-C stops the service"])
