"""One question's search: options, parts, the state machine and its events, and the loop that drives it."""

from rollwise.search.config import Config, validated
from rollwise.search.events import Allocated, Event, Failed, Finished, Grown, Round, rounds, unplaced_reasons
from rollwise.search.ledger import ROLES, Ledger
from rollwise.search.machine import STEP_AGGREGATES, Growth, Limits, Search
from rollwise.search.records import event_records
from rollwise.search.runner import Ballot, Runner, Solution, run_to_end, solve, solve_async

__all__ = [
    "ROLES",
    "STEP_AGGREGATES",
    "Allocated",
    "Ballot",
    "Config",
    "Event",
    "Failed",
    "Finished",
    "Grown",
    "Growth",
    "Ledger",
    "Limits",
    "Round",
    "Runner",
    "Search",
    "Solution",
    "event_records",
    "rounds",
    "run_to_end",
    "solve",
    "solve_async",
    "unplaced_reasons",
    "validated",
]
