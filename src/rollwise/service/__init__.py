"""A search service behind OpenAI's interface: its routes and their stages, its store, its audit log and its metrics."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.service.audit import (
        changes,
        exported,
        figures,
        heads,
        search_page,
        search_record,
        verified_log,
    )
    from rollwise.service.replaying import replay_search
    from rollwise.service.rollout import advance_route, revert_route, rollout_status
    from rollwise.service.run import make_service, running, serve
    from rollwise.service.service import Service
    from rollwise.service.settings import Route, ServiceOptions, Settings, read_settings
    from rollwise.service.store import Store
    from rollwise.service.workers import serve_together

_HOMES = {
    "audit": (
        *("changes", "exported", "figures", "heads", "search_page", "search_record"),
        "verified_log",
    ),
    "replaying": ("replay_search",),
    "rollout": ("advance_route", "revert_route", "rollout_status"),
    "run": ("make_service", "running", "serve"),
    "service": ("Service",),
    "settings": ("Route", "ServiceOptions", "Settings", "read_settings"),
    "store": ("Store",),
    "workers": ("serve_together",),
}

__all__ = [
    "Route",
    "Service",
    "ServiceOptions",
    "Settings",
    "Store",
    "advance_route",
    "changes",
    "exported",
    "figures",
    "heads",
    "make_service",
    "read_settings",
    "replay_search",
    "revert_route",
    "rollout_status",
    "running",
    "search_page",
    "search_record",
    "serve",
    "serve_together",
    "verified_log",
]

__getattr__ = exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
