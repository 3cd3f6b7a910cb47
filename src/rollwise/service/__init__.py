"""A search service behind OpenAI's interface: its routes and their stages, its store, its audit log and its metrics."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.service.run import make_service, running, serve
    from rollwise.service.service import Service
    from rollwise.service.settings import Route, ServiceOptions, Settings, read_settings
    from rollwise.service.store import Store

_HOMES = {
    "run": ("make_service", "running", "serve"),
    "service": ("Service",),
    "settings": ("Route", "ServiceOptions", "Settings", "read_settings"),
    "store": ("Store",),
}

__all__ = [
    "Route",
    "Service",
    "ServiceOptions",
    "Settings",
    "Store",
    "make_service",
    "read_settings",
    "running",
    "serve",
]

__getattr__ = exports(__name__, {name: home for home, names in _HOMES.items() for name in names})
