"""The state of a running service as people on duty read it: stages, gates, figures, alarms, costs, servers."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from rollwise.database import total
from rollwise.service.audit import changes
from rollwise.service.gate import verdict_on_record
from rollwise.service.indicators import Indicator, indicators
from rollwise.service.records import now
from rollwise.service.settings import Route
from rollwise.service.stages import Stage
from rollwise.service.store import Store
from rollwise.service.tables import SearchRow

if TYPE_CHECKING:
    from rollwise.service.service import Service

_MOST_CHANGES = 10
_DAY, _WEEK = datetime.timedelta(days=1), datetime.timedelta(days=7)


def operations(service: Service) -> dict[str, Any]:
    """The state of a service as plain values; it is read from the store and from what the service holds."""
    store, settings = service.writer.store, service.settings
    running, waiting = service.admission.everywhere
    routes = []
    for name, route in settings.routes.items():
        stage = service.staging.stages[name]
        found = indicators(store, name, route, stage)
        routes.append(
            {
                "route": name,
                "rules": [rule.name for rule in route.ladder],
                "current": stage.current,
                "candidate": stage.candidate,
                "stage": stage.stage,
                "percent": stage.percent,
                "canary": sorted(route.canary),
                "priced": any(vars(route.price).values()),
                "gate": _gate(store, name, route, stage),
                "band": _band(service, name),
                "figures": [each.as_dict() for each in found],
                "changes": changes(store, name)[:_MOST_CHANGES],
                "costs": _costs(store, name),
                "down": service.health.down(name, stage.current),
                "broken": service.engines.broken.get((name, stage.current)),
                "alarms": [*_alarms(found), *_events(store, name)],
            }
        )
    return {
        "now": now(),
        "started": datetime.datetime.fromtimestamp(service.started, datetime.UTC).isoformat(),
        "draining": service.admission.draining,
        "running": running,
        "waiting": waiting,
        "keep_text": settings.keep_text,
        "keys": bool(settings.keys),
        "servers": [{"url": url, **seen} for url, seen in service.health.as_dict().items()],
        "routes": routes,
    }


def _alarms(found: Sequence[Indicator]) -> list[dict[str, Any]]:
    names = ("name", "rule", "value", "bound", "most")
    return [{"kind": "figure", **{name: getattr(each, name) for name in names}} for each in found if each.alarm]


def _events(store: Store, name: str) -> list[dict[str, Any]]:
    """Fall-backs of the last day and forced advances of the last week."""
    today = datetime.datetime.now(datetime.UTC)
    since = {"fallback": (today - _DAY).isoformat(), "forced": (today - _WEEK).isoformat()}
    return [
        {"kind": change["kind"], **{field: change[field] for field in ("created", "by", "reason")}}
        for change in changes(store, name)
        if change["kind"] in since and change["created"] >= since[change["kind"]]
    ]


def _gate(store: Store, name: str, route: Route, stage: Stage) -> dict[str, Any] | None:
    """The gate of the candidate, and what the golden searches on record say of it; None if none is declared."""
    if route.gate is None:
        return None
    limits = route.gate.model_dump(mode="json")
    if stage.candidate is None:
        return {"limits": limits, "verdict": None}
    verdict = verdict_on_record(store, name, route.gate, stage.current, stage.candidate)
    return {"limits": limits, "verdict": asdict(verdict)}


def _band(service: Service, name: str) -> dict[str, Any]:
    """The latest searches of the candidate that its band reads, and what would make it fall back now."""
    route, watch = service.settings.routes[name], service.staging.watches[name]
    why = service.staging.cause(name, service.health)
    return {
        "seen": len(watch.candidate),
        "least": route.band.least,
        "window": route.band.window,
        "cause": None if why is None else why.sentence,
        "shadow_tokens": service.staging.shadowed[name],
        "shadow_limit": route.shadow.tokens,
    }


def _costs(store: Store, name: str) -> list[dict[str, Any]]:
    """The searches, tokens and money of the last 24 hours by rule and purpose."""
    since = (datetime.datetime.now(datetime.UTC) - _DAY).isoformat()
    wanted = (
        select(
            SearchRow.rule,
            SearchRow.purpose,
            func.count().label("searches"),
            total(SearchRow.generated).label("tokens"),
            func.sum(SearchRow.money).label("money"),
        )
        .where(SearchRow.route == name, SearchRow.began >= since)
        .group_by(SearchRow.rule, SearchRow.purpose)
        .order_by(SearchRow.rule, SearchRow.purpose)
    )
    with store.session() as session:
        return [dict(row) for row in session.execute(wanted).mappings()]
