"""`rollwise audit` and `rollwise rollout`: what a service did, and the introduction of its rules."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollwise.cli.console import echo_json
from rollwise.cli.options import check_writable, document
from rollwise.errors import InputError
from rollwise.search import run_to_end

if TYPE_CHECKING:
    from rollwise.service import Settings, Store

audit_app = typer.Typer(help="What a service did: its searches and its audit log.", no_args_is_help=True)
rollout_app = typer.Typer(help="The introduction of a route's rules, stage by stage.", no_args_is_help=True)

_Config = Annotated[Path, typer.Argument(help="The TOML file of the service.")]
_Store = Annotated[str, typer.Option("--store", help="The store of the service: a file or a URL.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
_STORE = "rollwise-service.db"


def _opened(place: str) -> Store:
    from rollwise.database import is_url
    from rollwise.service import Store

    if is_url(place):
        return Store(place, there=True)
    if not Path(place).is_file():
        raise InputError(f"there is no store {place}: give --store PLACE, which the service printed")
    return Store(Path(place))


@audit_app.command("list")
def list_searches(
    store: _Store = _STORE,
    route: Annotated[str | None, typer.Option(help="Of this route only.")] = None,
    outcome: Annotated[str | None, typer.Option(help="answered, no_answer, deadline, failed or cancelled.")] = None,
    page: Annotated[int, typer.Option(min=0, help="Which page of 50.")] = 0,
    as_json: _Json = False,
) -> None:
    """List searches, the newest first."""
    from rollwise.service import search_page

    filters = {name: value for name, value in (("route", route), ("outcome", outcome)) if value is not None}
    rows, count = search_page(_opened(store), page, filters=filters)
    if as_json:
        return echo_json(document({"count": count, "searches": rows}))
    for row in rows:
        answer = str(row["answer"] or row["error"] or "")[:40]
        figures = f"{row['spent']}/{row['budget']} rollouts  {row['seconds']:.1f} s"
        typer.echo(
            f"{row['began'][:19]}  {row['id']}  {row['route']}/{row['rule']} {row['stage']}  {figures}  {answer}"
        )
    return typer.echo(f"{count} searches")


@audit_app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The id of a search, from its reply.")],
    store: _Store = _STORE,
    events: Annotated[bool, typer.Option(help="Show the events too.")] = False,
) -> None:
    """Show a search: who, when, by which rule and config, and what came of it."""
    from rollwise.service import search_record

    record = search_record(_opened(store), id_)
    count = None if record["events"] is None else len(record["events"])
    echo_json(document(record if events else {**record, "events": count}))


@audit_app.command()
def export(file: Annotated[Path, typer.Argument(help="A file for JSON lines.")], store: _Store = _STORE) -> None:
    """Write the audit log to a file: a line for each entry, and the heads of the hash chains last."""
    from rollwise.service import exported

    check_writable(file, "FILE")
    with file.open("w", encoding="utf-8") as out:
        count = 0
        for line in exported(_opened(store)):
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += "heads" not in line
    typer.echo(f"{count} entries are in {file}; keep its last line, the heads, where the service cannot write")


@audit_app.command()
def verify(
    store: _Store = _STORE,
    heads: Annotated[Path | None, typer.Option(help="An earlier export, whose heads have to be in the log.")] = None,
    as_json: _Json = False,
) -> None:
    """Check every hash and digest of the store. The exit status is 1 if something was changed or is missing."""
    from rollwise.service import verified_log

    known = None if heads is None else _heads_of(heads)
    check = verified_log(_opened(store), known)
    if as_json:
        echo_json(document(vars(check)))
    else:
        for fault in check.faults:
            typer.echo(fault)
        kept = check.searches - check.without_text
        verdict = "sound" if not check.faults else f"{len(check.faults)} faults"
        typer.echo(f"{check.entries} entries, {check.searches} searches, {kept} with their texts: {verdict}")
    if check.faults:
        raise typer.Exit(1)


def _heads_of(file: Path) -> dict[str, Any]:
    try:
        *_, last = file.read_text(encoding="utf-8").splitlines()
        return dict(json.loads(last)["heads"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"--heads {file}: give a file that `rollwise audit export` wrote") from None


@audit_app.command()
def replay(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The id of a search.")], store: _Store = _STORE
) -> None:
    """Compute a recorded search's rounds again from its events. The exit status is 1 if they differ."""
    from rollwise.service import replay_search, search_record

    record = search_record(_opened(store), id_)
    differing = replay_search(record)
    if differing:
        typer.echo(f"rounds that differ: {', '.join(str(index + 1) for index in differing)}")
        raise typer.Exit(1)
    typer.echo(f"{record['rounds']} rounds, all the same")


def _read(config: Path, store: str | None) -> tuple[Settings, Store]:
    from rollwise.service import Store, read_settings

    settings = read_settings({"config": config} | ({} if store is None else {"store": store}))
    return settings, Store(settings.store)


_OtherStore = Annotated[str | None, typer.Option("--store", help="The store, if not the configuration's.")]


@rollout_app.command()
def status(config: _Config, store: _OtherStore = None, as_json: _Json = False) -> None:
    """Show where each route stands, what its gate found last, and the figures since its last change."""
    from rollwise.service import rollout_status

    found = rollout_status(*_read(config, store))
    if as_json:
        return echo_json(document(found))
    for route in found:
        typer.echo(f"{route['route']}: {route['text']}  (rules: {' → '.join(route['rules'])})")
        if last := route["last_change"]:
            typer.echo(f"  last change {last['created'][:19]} by {last['by']}, {last['kind']}: {last['reason']}")
        if result := route["gate_result"]:
            current, candidate = result["rules"]
            state = "open" if result["passed"] else "closed"
            typer.echo(f"  gate of {candidate} against {current}, {state}: {_verdict_line(result)}")
            typer.echo(f"    {result['age']}")
        for row in route["figures"]["rules"]:
            typer.echo(f"  {_figures_line(row)}")
        for row in route["figures"]["feedback"]:
            typer.echo(f"  {row['rule']}: clients found {row['right']:.0%} of {row['judged']} answers right")
    return None


def _verdict_line(verdict: Mapping[str, Any]) -> str:
    return (
        f"on {verdict['samples']} golden questions: {verdict['candidate']:.1%} right against {verdict['current']:.1%}, "
        f"difference {verdict['low']:+.3f} to {verdict['high']:+.3f}, {verdict['cost']:.2f} times the tokens"
    )


def _figures_line(row: dict[str, Any]) -> str:
    parts = [f"{row['rule']} ({row['purpose']}): {row['searches']} searches", f"{row['failed'] or 0} failed"]
    parts.append(f"{row['seconds']:.2f} s and {row['generated']:.0f} tokens on average")
    if row["right"] is not None:
        parts.append(f"{row['right']:.0%} right")
    if row["agreement"] is not None:
        parts.append(f"{row['agreement']:.0%} agree")
    if row["moved"] is not None:
        parts.append(f"the candidate would move {row['moved']:.0%} of the rollouts")
    return ", ".join(parts)


@rollout_app.command()
def advance(
    config: _Config,
    route: Annotated[str, typer.Argument(help="The route.")],
    force: Annotated[str | None, typer.Option(help="Move without a passed gate, for this reason.")] = None,
    store: _OtherStore = None,
) -> None:
    """Move a route's candidate to its next stage, if its gate passes: off, shadow, canary, full."""
    from rollwise.service import advance_route

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty() or done == total:
            print(f"\rgolden searches: {done} of {total}", end="\n" if done == total else "", file=sys.stderr)

    settings, opened = _read(config, store)
    moved = run_to_end(advance_route(settings, opened, route, force, tell))
    if moved.verdict is not None:
        typer.echo(_verdict_line(moved.verdict.as_dict()))
        typer.echo(moved.verdict.age)
    typer.echo(f"{route}: {moved.before.text} → {moved.after.text}")


@rollout_app.command()
def revert(
    config: _Config,
    route: Annotated[str, typer.Argument(help="The route.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "by hand",
    store: _OtherStore = None,
) -> None:
    """Switch a route's candidate off at once, or go back to the rule before."""
    from rollwise.service import revert_route

    moved = revert_route(*_read(config, store), route, reason)
    typer.echo(f"{route}: {moved.before.text} → {moved.after.text}")
