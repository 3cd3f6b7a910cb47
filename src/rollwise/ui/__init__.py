"""The dashboard: pages over recorded searches and benches, a laboratory of allocation, and searches to try."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.ui.app import View, attached, dashboard
    from rollwise.ui.recorded import export
    from rollwise.ui.run import listen, running, serve

__all__ = ["View", "attached", "dashboard", "export", "listen", "running", "serve"]

__getattr__ = exports(
    __name__,
    {
        "View": "app",
        "attached": "app",
        "dashboard": "app",
        "export": "recorded",
        "listen": "run",
        "running": "run",
        "serve": "run",
    },
)
