"""One question's search: options, parts, the state machine and its events, and the loop that drives it."""

from rollwise.search.config import Config
from rollwise.search.events import (
    Allocated,
    Event,
    Failed,
    Finished,
    Grown,
    Round,
    Stopped,
    busy_seconds,
    rounds,
    unplaced_reasons,
)
from rollwise.search.ledger import ROLES, Ledger
from rollwise.search.machine import STEP_AGGREGATES, Growth, Limits, Search
from rollwise.search.options import (
    ALLOCATION,
    OUTPUT,
    QUESTIONS,
    RUN,
    SAMPLING,
    SERVER,
    START,
    Names,
    Numbers,
    Options,
    Shown,
    validated,
)
from rollwise.search.parts import Parts, deciding_files, find_parts, settled
from rollwise.search.records import event_records, read_events
from rollwise.search.runner import Runner, run_to_end, solve, solve_async
from rollwise.search.solution import Ballot, Solution
from rollwise.search.spreading import (
    CLUSTER_FIELDS,
    ClusterOptions,
    completer_of,
    completers,
    prefix_completers,
    sampling_of,
)
from rollwise.search.wholes import OnRollouts

__all__ = [
    "ALLOCATION",
    "CLUSTER_FIELDS",
    "OUTPUT",
    "QUESTIONS",
    "ROLES",
    "RUN",
    "SAMPLING",
    "SERVER",
    "START",
    "STEP_AGGREGATES",
    "Allocated",
    "Ballot",
    "ClusterOptions",
    "Config",
    "Event",
    "Failed",
    "Finished",
    "Grown",
    "Growth",
    "Ledger",
    "Limits",
    "Names",
    "Numbers",
    "OnRollouts",
    "Options",
    "Parts",
    "Round",
    "Runner",
    "Search",
    "Shown",
    "Solution",
    "Stopped",
    "busy_seconds",
    "completer_of",
    "completers",
    "deciding_files",
    "event_records",
    "find_parts",
    "prefix_completers",
    "read_events",
    "rounds",
    "run_to_end",
    "sampling_of",
    "settled",
    "solve",
    "solve_async",
    "unplaced_reasons",
    "validated",
]
