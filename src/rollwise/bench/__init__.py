"""Runs a grid of searches on the same questions, stores every result, and summarises them with paired statistics."""

from typing import TYPE_CHECKING

from rollwise import exports

if TYPE_CHECKING:
    from rollwise.bench.grid import Bench, Found, plain_text, read, run_in_jobs
    from rollwise.bench.store import Outcome
    from rollwise.bench.summary import Difference, Measure, Row, Summary

__all__ = [
    "Bench",
    "Difference",
    "Found",
    "Measure",
    "Outcome",
    "Row",
    "Summary",
    "plain_text",
    "read",
    "run_in_jobs",
]

__getattr__ = exports(
    __name__,
    {
        "Bench": "grid",
        "Found": "grid",
        "plain_text": "grid",
        "read": "grid",
        "run_in_jobs": "grid",
        "Outcome": "store",
        "Difference": "summary",
        "Measure": "summary",
        "Row": "summary",
        "Summary": "summary",
    },
)
