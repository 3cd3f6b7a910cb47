"""Language models that grow solutions: `local` in this process, `http` behind servers; and how they are prompted."""

from rollwise.engines.prompts import (
    PLACES,
    PLAIN,
    Prompting,
    Shots,
    StepRule,
    check_place,
    default_step_rule,
    joined,
    messages,
    read_shots,
    read_template,
    step_rule,
)
from rollwise.engines.rewriting import RewritingPolicy, with_stops

__all__ = [
    "PLACES",
    "PLAIN",
    "Prompting",
    "RewritingPolicy",
    "Shots",
    "StepRule",
    "check_place",
    "default_step_rule",
    "joined",
    "messages",
    "read_shots",
    "read_template",
    "step_rule",
    "with_stops",
]
