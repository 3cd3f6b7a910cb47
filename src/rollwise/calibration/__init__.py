"""Measures how far a reward can be trusted: it completes sampled prefixes and fits beliefs to how they ended."""

from rollwise.calibration.cost import Cost, Measured, measure
from rollwise.calibration.estimators import LARGEST_CONCENTRATION, area_under_curve, calibration_error, isotonic
from rollwise.calibration.file import mismatches, read_belief, source_of
from rollwise.calibration.fit import calibrate
from rollwise.calibration.observations import Observations
from rollwise.calibration.prefixes import Prefix, collect_prefixes, complete_prefixes, load_prefixes, prefix_source
from rollwise.calibration.questions import IN_FLIGHT, Answered, Asked, Completer, Plan, collect_scored_prefixes
from rollwise.calibration.record import Calibration, DepthFit, Ended, Estimate, Method, Reliability, Source
from rollwise.calibration.rollouts import (
    Do,
    Rollout,
    collect_rollouts,
    in_process,
    label_rollout,
    load_rollouts,
    stored_problems,
)
from rollwise.calibration.scoring import (
    ScoredPrefixes,
    observe_prefixes,
    observe_votes,
    recorded_rewards,
    score_prefixes,
    score_problems,
    split_by_ending,
)

__all__ = [
    "IN_FLIGHT",
    "LARGEST_CONCENTRATION",
    "Answered",
    "Asked",
    "Calibration",
    "Completer",
    "Cost",
    "DepthFit",
    "Do",
    "Ended",
    "Estimate",
    "Measured",
    "Method",
    "Observations",
    "Plan",
    "Prefix",
    "Reliability",
    "Rollout",
    "ScoredPrefixes",
    "Source",
    "area_under_curve",
    "calibrate",
    "calibration_error",
    "collect_prefixes",
    "collect_rollouts",
    "collect_scored_prefixes",
    "complete_prefixes",
    "in_process",
    "isotonic",
    "label_rollout",
    "load_prefixes",
    "load_rollouts",
    "measure",
    "mismatches",
    "observe_prefixes",
    "observe_votes",
    "prefix_source",
    "read_belief",
    "recorded_rewards",
    "score_prefixes",
    "score_problems",
    "source_of",
    "split_by_ending",
    "stored_problems",
]
