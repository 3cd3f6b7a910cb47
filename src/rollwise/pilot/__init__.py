"""A small trial before any introduction: what better allocation gains on a user's model and questions, and its cost."""

from typing import TYPE_CHECKING

from rollwise.lazy import exports

if TYPE_CHECKING:
    from rollwise.pilot.decision import WORTHWHILE, Answer, Decision, answer_of, decide
    from rollwise.pilot.findings import Findings
    from rollwise.pilot.gain import Gain, paired_gain
    from rollwise.pilot.handover import hand_over
    from rollwise.pilot.options import PilotOptions
    from rollwise.pilot.page import pilot_html
    from rollwise.pilot.power import detectable_gain, power_of, questions_needed
    from rollwise.pilot.run import Ready, prepare, run_pilot
    from rollwise.pilot.split import split_ids
    from rollwise.pilot.stages import problems_of
    from rollwise.pilot.tuning import Score, choose
    from rollwise.pilot.wording import Words

__all__ = [
    "WORTHWHILE",
    "Answer",
    "Decision",
    "Findings",
    "Gain",
    "PilotOptions",
    "Ready",
    "Score",
    "Words",
    "answer_of",
    "choose",
    "decide",
    "detectable_gain",
    "hand_over",
    "paired_gain",
    "pilot_html",
    "power_of",
    "prepare",
    "problems_of",
    "questions_needed",
    "run_pilot",
    "split_ids",
]

__getattr__ = exports(
    __name__,
    {
        "WORTHWHILE": "decision",
        "Answer": "decision",
        "answer_of": "decision",
        "Decision": "decision",
        "decide": "decision",
        "Findings": "findings",
        "Gain": "gain",
        "PilotOptions": "options",
        "hand_over": "handover",
        "pilot_html": "page",
        "Ready": "run",
        "prepare": "run",
        "run_pilot": "run",
        "paired_gain": "gain",
        "detectable_gain": "power",
        "power_of": "power",
        "questions_needed": "power",
        "split_ids": "split",
        "problems_of": "stages",
        "Score": "tuning",
        "Words": "wording",
        "choose": "tuning",
    },
)
