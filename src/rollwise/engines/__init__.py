"""Language models that grow solutions: `local` in this process, `http` behind servers; and how they are prompted."""

from rollwise.engines.prompts import PLACES, StepRule, check_place, default_step_rule, messages, step_rule

__all__ = [
    "PLACES",
    "StepRule",
    "check_place",
    "default_step_rule",
    "messages",
    "step_rule",
]
