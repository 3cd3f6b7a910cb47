"""A laboratory in which every chance of success is known, so that it can measure what each strategy loses."""

from rollwise.simulation.branching import Branching
from rollwise.simulation.failure import allocation_failures, least_failure
from rollwise.simulation.oneshot import OneShot
from rollwise.simulation.processes import most_jobs
from rollwise.simulation.study import Found, Line, Mean, Study, read_contenders, sweep

__all__ = [
    "Branching",
    "Found",
    "Line",
    "Mean",
    "OneShot",
    "Study",
    "allocation_failures",
    "least_failure",
    "most_jobs",
    "read_contenders",
    "sweep",
]
