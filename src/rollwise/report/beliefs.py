"""What a calibration found, as tables and sentences."""

from __future__ import annotations

import math

from rollwise.calibration import LARGEST, Calibration, DepthFit, Estimate, Reliability
from rollwise.report import svg
from rollwise.report.sheets import Sheet


def belief_sheets(made: Calibration) -> list[Sheet]:
    """The tables of a calibration: κ by depth, and how well rewards are chances before and after."""
    fits = tuple(
        (
            depths_text(fit),
            str(fit.prefixes),
            str(fit.problems),
            f"{fit.curve.means[0]:.2f}–{fit.curve.means[-1]:.2f}",
            *(_with_interval(one) for one in (fit.moments, fit.likelihood)),
        )
        for fit in made.depths
    )
    before, after = ("raw reward", *_figures(made.before)), ("calibrated", *_figures(made.after))
    columns = ("depth", "prefixes", "problems", "chance", "κ by moments", "κ by likelihood")
    return [
        Sheet("what a reward is worth, with 95 % intervals", columns, fits, 1),
        Sheet("as chances, on held-out problems", ("score", "ECE", "AUC", "Brier"), (before, after), 1),
    ]


def belief_notes(made: Calibration) -> list[str]:
    """What else was found, and what to beware of."""
    notes = []
    if made.within is not None and made.within.share.value == 0:
        notes.append(
            f"Among paths of one problem nothing is shown to hold (within, at most {made.within.share.high:.2g}): they "
            "are believed alike, and rollouts spread evenly. Prefixes of more problems may show more."
        )
    elif made.within is not None:
        notes.append(
            f"Among paths of one problem {_with_interval(made.within.share)} of a difference in log-odds holds "
            "(within); the rest tells hard problems from easy ones, or nothing."
        )
    if made.ended is None:
        notes.append("Nothing is known of finished solutions' rewards: votes cannot be by belief.")
    else:
        notes.append(
            f"In a vote {_with_interval(made.ended.within.share)} of a difference in the log-odds of finished "
            f"solutions' rewards holds, by {made.ended.solutions} solutions of {made.ended.problems} problems "
            "(believed_majority)."
        )
    if made.correlation is None:
        notes.append("No two prefixes share a direction: paths of a direction are taken to share their chance wholly.")
    else:
        notes.append(f"Paths of one direction share {_with_interval(made.correlation)} of the doubt (correlation ρ).")
    if made.correlation_across is not None and made.correlation_across.low > 0.1:
        notes.append(
            f"Directions of one problem share {_with_interval(made.correlation_across)} of it too: some problems are "
            "harder than their rewards say, which no strategy here takes into account."
        )
    if made.size_exponent is not None:
        notes.append(
            "Of two directions of a problem, the one with twice the paths has 2^α times the odds, "
            f"α = {_with_interval(made.size_exponent)} (size_exponent)."
        )
    if any(fit.concentration >= LARGEST for fit in made.depths):
        notes.append(
            f"κ = {LARGEST:g} is the largest there is: at that depth prefixes of like reward differ no more than "
            "chance makes them."
        )
    if min(fit.problems for fit in made.depths) < 30:
        notes.append("Some depths rest on fewer than 30 problems: the intervals are rough. Complete prefixes of more.")
    return notes


def depths_text(fit: DepthFit) -> str:
    """The depths of a fit as people read them: 3, or 4–6."""
    return str(fit.first) if fit.first == fit.last else f"{fit.first}–{fit.last}"


def _with_interval(one: Estimate) -> str:
    value, low, high = (f"{number:.0f}" if abs(number) >= 100 else f"{number:.2g}" for number in vars(one).values())
    return f"{value} ({low} to {high})"


def _figures(found: Reliability) -> tuple[str, str, str]:
    area = "-" if found.area is None else f"{found.area:.3f}"
    return f"{found.error:.3f}", area, f"{found.brier:.3f}"


_WIDTH, _HEIGHT = 920, 420


def belief_svg(made: Calibration) -> str:
    """A calibration as an SVG picture: on the left how scores compare with the share right, raw and calibrated, with a
    dot a tenth of the scores, larger for more prefixes; on the right κ by depth, on a log scale, with its intervals.
    """
    fits = made.depths
    low = math.floor(math.log10(min(one.low for fit in fits for one in (fit.moments, fit.likelihood))))
    high = math.ceil(math.log10(max(one.high for fit in fits for one in (fit.moments, fit.likelihood))))
    left, top, side = 60.0, 60.0, 310.0
    start, width = 490.0, 390.0

    def up(share: float) -> float:
        return top + side * (1 - share)

    def rise(concentration: float) -> float:
        return up((math.log10(concentration) - low) / max(1, high - low))

    parts = [
        *(svg.frame(x, top, wide, side) for x, wide in ((left, side), (start, width))),
        svg.line(left, top + side, left + side, top, "#bbb", "4 4"),
        svg.text(left, 36, "share right by score · grey: raw reward · blue: calibrated", "start", "#222"),
        svg.text(start, 36, "κ by depth · filled: likelihood · hollow: moments", "start", "#222"),
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(svg.text(left + side * tick, top + side + 16, f"{tick:g}", "middle", "#666"))
        parts.append(svg.text(left - 8, up(tick) + 4, f"{tick:g}", "end", "#666"))
    for power in range(low, high + 1):
        parts.append(svg.text(start - 8, rise(10.0**power) + 4, f"{10.0**power:g}", "end", "#666"))
    for found, colour in ((made.before, "#9a9fa8"), (made.after, "#184ea0")):
        most = max(one.prefixes for one in found.bins)
        for one in found.bins:
            size = 3 + 7 * math.sqrt(one.prefixes / most)
            tip = f"{one.prefixes} prefixes: score {one.score:.2f}, right {one.share:.2f}"
            parts.append(svg.circle(left + side * one.score, up(one.share), size, colour, tip, 0.75))
    for index, fit in enumerate(fits):
        middle = start + width * (index + 0.5) / len(fits)
        name = str(fit.first) if fit.first == fit.last else f"{fit.first}–{fit.last}"
        parts.append(svg.text(middle, top + side + 16, name, "middle", "#666"))
        for kappa, x, opacity in ((fit.moments, middle - 4, 0.0), (fit.likelihood, middle + 4, 1.0)):
            parts.append(svg.line(x, rise(kappa.low), x, rise(kappa.high), "#184ea0"))
            tip = f"depth {name}, {fit.prefixes} prefixes: κ {kappa.value:.3g} ({kappa.low:.3g} to {kappa.high:.3g})"
            parts.append(svg.circle(x, rise(kappa.value), 4, "#184ea0", tip, opacity))
    return svg.document(_WIDTH, _HEIGHT, parts)
