"""What a reward is worth: completes sampled prefixes, and fits beliefs to how they ended."""

from rollwise.calibration.estimators import LARGEST, area_under_curve, calibration_error, isotonic
from rollwise.calibration.file import mismatches, read_belief, source_of
from rollwise.calibration.fit import calibrate
from rollwise.calibration.prefixes import Prefix, collect_prefixes, load_prefixes, prefix_source
from rollwise.calibration.record import Calibration, DepthFit, Estimate, Method, Reliability, Source
from rollwise.calibration.rollouts import Rollout, collect, label_rollout, load
from rollwise.calibration.scoring import (
    Scored,
    by_ending,
    observations,
    score_prefixes,
    scored_already,
    scored_by,
    votes,
)

__all__ = [
    "LARGEST",
    "Calibration",
    "DepthFit",
    "Estimate",
    "Method",
    "Prefix",
    "Reliability",
    "Rollout",
    "Scored",
    "Source",
    "area_under_curve",
    "by_ending",
    "calibrate",
    "calibration_error",
    "collect",
    "collect_prefixes",
    "isotonic",
    "label_rollout",
    "load",
    "load_prefixes",
    "mismatches",
    "observations",
    "prefix_source",
    "read_belief",
    "score_prefixes",
    "scored_already",
    "scored_by",
    "source_of",
    "votes",
]
