"""Language models that grow solutions: `local` in this process, `http` behind servers; and how they are prompted."""

from rollwise.engines.prompts import PLACES, StepRule, messages, step_rule

__all__ = [
    "PLACES",
    "StepRule",
    "messages",
    "step_rule",
]
