"""Belief files for tests."""

from typing import Any

from rollwise.calibration.estimators import Curve
from rollwise.calibration.record import Calibration, DepthFit, Ended, Estimate, Reliability, Source, Within


def voting_belief(share: float, level: float = 1.0) -> dict[str, Any]:
    """A belief file whose vote counts `share` of a difference in log-odds; its only depth says next to nothing."""
    known = Estimate(share, share, share)
    depth = DepthFit(1, 9, 100, 10, Curve((0.0, 1.0), (0.2, 0.8)), 1.0, known, known)
    nothing = Reliability(0.0, None, 0.0, ())
    ended = Ended(100, 10, Within(known, level, (0.5,)))
    return Calibration((depth,), "likelihood", None, ended, None, None, None, nothing, nothing, Source()).as_dict()
