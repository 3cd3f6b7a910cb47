"""`rollwise doctor`: the features of servers, and how a search gets by without those that are missing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollwise.engines import StepRule, default_step_rule
from rollwise.engines.http import Server, addresses, weaknesses
from rollwise.errors import InputError
from rollwise.search import OUTPUT, SERVER, START, Options, Shown, validated

_TEMPLATES = {
    "tokenize": "the server's own, from /tokenize",
    "apply-template": "the server's own, from /apply-template",
    "chat": "the server's own, from a chat completion",
    "tokenizer": "that of the tokenizer in {folder}",
    "plain": "none: questions go as plain text",
}
_THINKING = {
    "off": "the template can switch it off, and it is off",
    "forced": "the template opens a thought by itself",
    "none": "the template has no switch and opens no thought",
}
_STOPPING = {
    "field": "the field {key} names the string",
    "text": "the text keeps the string",
    "logprobs": "the tokens of the log-probabilities contain the string; without them, streamed and cut here",
    "streamed": "replies do not show it; they are streamed and cut here",
}


class DoctorOptions(Options):
    """The options of `rollwise doctor`."""

    urls: Annotated[list[str], Shown(START, argument=True, repeatable=True)] = Field(
        description="Servers: URL, or URL#model if a server holds several models."
    )
    tokenizer: Annotated[str | None, Shown(SERVER)] = Field(
        default=None, description="Folder of the served model's tokenizer, if its server renders no chat."
    )
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the findings as JSON and nothing else."
    )


def doctor(given: dict[str, Any]) -> None:
    """Show the features of servers before a search uses them.

    The command sends each server a few short completions. The exit status is 1 if a server cannot be used for a search.

    Examples:
    * `rollwise doctor http://127.0.0.1:8000`

    * `rollwise doctor http://10.0.0.1:8000 http://10.0.0.2:8000 --json`
    """
    from rollwise.engines.http import probe

    options = validated(DoctorOptions, given)
    console = Console(highlight=False)
    findings: list[dict[str, Any]] = []
    for address in [address for text in options.urls for address in addresses(text)]:
        try:
            server = probe(address, options.tokenizer, thorough=True)
        except InputError as error:
            findings.append({"url": address.url, "usable": False, "error": str(error)})
            if not options.as_json:
                console.print(f"{address.url}: {error}\n", style="red", markup=False)
            continue
        findings.append(finding(server))
        if not options.as_json:
            print_server(console, server)
    if options.as_json:
        typer.echo(json.dumps(findings, indent=2))
    if not all(found["usable"] for found in findings):
        raise typer.Exit(1)


def finding(server: Server) -> dict[str, Any]:
    """The features of a usable server as plain values, for JSON."""
    rule = default_step_rule(server.thinking == "forced")
    return {
        **asdict(server),
        "refused": sorted(server.refused),
        "usable": True,
        "by_ids": server.by_ids,
        "step_rule": rule.name,
        "notes": weaknesses(server, rule),
    }


def print_server(console: Console, server: Server) -> None:
    """Print a table of the server's features, and a note for each that is missing."""
    rule = default_step_rule(server.thinking == "forced")
    console.print(findings_table(server, rule))
    for weakness in weaknesses(server, rule):
        console.print(f"note: {weakness}", style="yellow", markup=False)
    console.print()


def findings_table(server: Server, rule: StepRule) -> Table:
    """The features of a server in words."""
    table = Table(title=Text(server.url), title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    version = f" {server.version}" if server.version else ""
    context = f", reads {server.context:,} tokens" if server.context else ""
    rows = {
        "kind": server.kind + version,
        "model": server.model + context,
        "prompts": "token ids" if server.by_ids else "text",
        "a step's end": _STOPPING[server.stopping].format(key=server.stop_key),
        "log-probabilities": _logprobs(server.logprobs),
        "seeds": _known(server.seed, "honoured", "not honoured"),
        "n completions": _known(server.n, "yes", "no"),
        "token counts": "yes" if server.counts else "no",
        "prefix cache": _known(server.prefix_cache, "at work", "reported, but a repeated prompt was read anew"),
        "chat template": _TEMPLATES[server.template].format(folder=server.tokenizer),
        "thinking": _THINKING.get(server.thinking or "", "not known"),
        "step rule": rule.name,
        "fields refused": ", ".join(sorted(server.refused)) or "none",
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))  # a server's own words may look like markup
    return table


def _known(value: bool | None, yes: str, no: str) -> str:
    if value is None:
        return "not known"
    return yes if value else no


def _logprobs(count: int | None) -> str:
    if count is None:
        return "none"
    return f"the {count} likeliest tokens" if count > 1 else "the sampled token only"
