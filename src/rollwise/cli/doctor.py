"""`rollwise doctor`: what servers are, what they can do, and what a search will do about the rest."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rollwise.engines import StepRule, step_rule
from rollwise.engines.http import Server, addresses, weaknesses
from rollwise.errors import InputError

_TEMPLATES = {
    "tokenize": "the server's own, told by /tokenize",
    "apply-template": "the server's own, told by /apply-template",
    "chat": "the server's own, told by a chat completion",
    "tokenizer": "that of the tokenizer in {folder}",
    "plain": "none is to be had: plain text",
}
_THINKING = {
    "off": "the template can switch it off, and it is off",
    "forced": "the template opens a thought by itself",
    "none": "the template has no switch and opens no thought",
}
_STOPPING = {
    "told": "the field {key} names the string",
    "kept": "the text keeps the string",
    "shown": "the tokens of the log-probabilities show the string; without them, streamed and cut here",
    "cut": "replies do not tell; they are streamed and cut here",
}


def doctor(
    urls: Annotated[list[str], typer.Argument(help="Servers: URL, or URL#model where one holds several models.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder of the served model's tokenizer, where its server renders no chat.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON and nothing else.")] = False,
) -> None:
    """Say what servers are and can do, before a token goes into a search.

    Each is asked a few short completions. The exit status is 1 where one cannot be searched with.

    Examples:
    * `rollwise doctor http://127.0.0.1:8000`

    * `rollwise doctor http://10.0.0.1:8000 http://10.0.0.2:8000 --json`
    """
    from rollwise.engines.http import probe

    console = Console(highlight=False)
    findings: list[dict[str, Any]] = []
    for address in (address for given in urls for address in addresses(given)):
        try:
            server = probe(address, tokenizer, thorough=True)
        except InputError as error:
            findings.append({"url": address.url, "usable": False, "error": str(error)})
            if not as_json:
                console.print(f"{address.url}: {error}\n", style="red", markup=False)
            continue
        rule = default_rule(server)
        lacks = weaknesses(server, rule)
        facts = {
            name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(server).items()
        }
        findings.append({**facts, "usable": True, "by_ids": server.by_ids, "step_rule": rule.name, "notes": lacks})
        if not as_json:
            console.print(findings_table(server, rule))
            for lack in lacks:
                console.print(f"note: {lack}", style="yellow", markup=False)
            console.print()
    if as_json:
        typer.echo(json.dumps(findings, indent=2))
    if not all(finding["usable"] for finding in findings):
        raise typer.Exit(1)


def default_rule(server: Server) -> StepRule:
    """The step rule that a search takes for this server where none is named."""
    return step_rule("tokens(256)" if server.thinking == "forced" else "separator")


def findings_table(server: Server, rule: StepRule) -> Table:
    """What a probe found, in words."""
    table = Table(title=server.url, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    version = f" {server.version}" if server.version else ""
    context = f", reads {server.context:,} tokens" if server.context else ""
    told = {
        "kind": server.kind + version,
        "model": server.model + context,
        "prompts": "token ids" if server.by_ids else "text",
        "a step's end": _STOPPING[server.stopping].format(key=server.stop_key),
        "log-probabilities": _logprobs(server.logprobs),
        "seeds": _known(server.seed, "honoured", "not honoured"),
        "n completions": _known(server.n, "yes", "no"),
        "token counts": "yes" if server.counts else "no",
        "prefix cache": _known(server.prefix_cache, "at work", "told, and nothing came from it"),
        "chat template": _TEMPLATES[server.template].format(folder=server.tokenizer),
        "thinking": _THINKING.get(server.thinking or "", "not known"),
        "step rule": rule.name,
        "fields refused": ", ".join(sorted(server.refused)) or "none",
    }
    for name, value in told.items():
        table.add_row(name, value)
    return table


def _known(value: bool | None, yes: str, no: str) -> str:
    return "not known" if value is None else yes if value else no


def _logprobs(count: int | None) -> str:
    if count is None:
        return "none"
    return f"the {count} likeliest tokens" if count > 1 else "the sampled token only"
