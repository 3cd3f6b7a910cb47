"""Runs a grid of searches on the same questions, stores every result, and summarises them with paired statistics."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.bench.grid import Grid
    from rollwise.bench.run import Bench, Found, begin, begun, plain_text, read, resume, run_in_jobs
    from rollwise.bench.store import Outcome, configure_connection
    from rollwise.bench.summary import Difference, Measure, Row, Summary

__all__ = [
    "Bench",
    "Difference",
    "Found",
    "Grid",
    "Measure",
    "Outcome",
    "Row",
    "Summary",
    "begin",
    "begun",
    "configure_connection",
    "plain_text",
    "read",
    "resume",
    "run_in_jobs",
]

__getattr__ = exports(
    __name__,
    {
        "Grid": "grid",
        "Bench": "run",
        "begin": "run",
        "begun": "run",
        "resume": "run",
        "Found": "run",
        "plain_text": "run",
        "read": "run",
        "run_in_jobs": "run",
        "Outcome": "store",
        "configure_connection": "store",
        "Difference": "summary",
        "Measure": "summary",
        "Row": "summary",
        "Summary": "summary",
    },
)
