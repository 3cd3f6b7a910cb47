"""What a calibration found, as tables, sentences and a picture."""

from __future__ import annotations

import math

from rollwise.calibration import LARGEST_CONCENTRATION, Calibration, DepthFit, Estimate, Reliability
from rollwise.report.sheets import Sheet
from rollwise.report.svg import svg_circle, svg_document, svg_frame, svg_line, svg_text


def belief_sheets(made: Calibration) -> list[Sheet]:
    """The tables of a calibration: κ by depth, and how well scores predict chances before and after."""
    fits = tuple(
        (
            depths_text(fit),
            str(fit.prefixes),
            str(fit.problems),
            f"{fit.curve.means[0]:.2f}–{fit.curve.means[-1]:.2f}",
            _with_interval(fit.moments),
            _with_interval(fit.likelihood),
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
    """What the tables do not show, and what to beware of, a sentence or two each."""
    notes = []
    if made.within is not None and made.within.share.value == 0:
        notes.append(
            "The reward is not shown to tell apart paths of the same problem (within = 0, at most "
            f"{made.within.share.high:.2g}), so rollouts spread evenly over them. Prefixes of more problems may show "
            "more."
        )
    elif made.within is not None:
        notes.append(
            f"Between paths of the same problem, {_with_interval(made.within.share)} of a difference in log-odds is "
            "real (within); the rest tells hard problems from easy ones, or is noise."
        )
    if made.ended is None:
        notes.append("No prefix in the file had ended, so no vote can use this belief (believed_majority).")
    else:
        notes.append(
            f"In a vote, {_with_interval(made.ended.within.share)} of a difference in the log-odds of finished "
            f"solutions' rewards counts (believed_majority); fitted on {made.ended.solutions} solutions of "
            f"{made.ended.problems} problems."
        )
    if made.correlation is None:
        notes.append("No two prefixes share a direction, so paths of a direction are taken to share one chance.")
    else:
        notes.append(f"Paths of one direction share {_with_interval(made.correlation)} of the doubt (correlation ρ).")
    if made.correlation_across is not None and made.correlation_across.low > 0.1:
        notes.append(
            f"Different directions of a problem share {_with_interval(made.correlation_across)} of the doubt as well: "
            "some problems are harder than their rewards say. No strategy here takes that into account."
        )
    if made.size_exponent is not None:
        notes.append(
            "A direction with twice the paths of another has 2^α times its odds, "
            f"α = {_with_interval(made.size_exponent)} (size_exponent)."
        )
    if any(fit.concentration >= LARGEST_CONCENTRATION for fit in made.depths):
        notes.append(
            f"κ = {LARGEST_CONCENTRATION:g} is the largest value tried: at that depth, prefixes of equal reward differ "
            "no more than by chance."
        )
    if min(fit.problems for fit in made.depths) < 30:
        notes.append(
            "Some depths rest on fewer than 30 problems, so their intervals are rough: complete prefixes of more "
            "problems."
        )
    return notes


def depths_text(fit: DepthFit) -> str:
    """The depths of a fit as people read them: 3, or 4–6."""
    return str(fit.first) if fit.first == fit.last else f"{fit.first}–{fit.last}"


def _with_interval(estimate: Estimate) -> str:
    value, low, high = (
        f"{number:.0f}" if abs(number) >= 100 else f"{number:.2g}" for number in vars(estimate).values()
    )
    return f"{value} ({low} to {high})"


def _figures(found: Reliability) -> tuple[str, str, str]:
    area = "-" if found.area is None else f"{found.area:.3f}"
    return f"{found.error:.3f}", area, f"{found.brier:.3f}"


_WIDTH, _HEIGHT = 920, 420


def belief_svg(made: Calibration) -> str:
    """A calibration as an SVG picture.

    The left panel compares scores with the share right, raw and calibrated: a dot for each tenth of the scores, larger
    for more prefixes. The right panel shows κ by depth with its intervals, on a log scale.
    """
    fits = made.depths
    low = math.floor(math.log10(min(kappa.low for fit in fits for kappa in (fit.moments, fit.likelihood))))
    high = math.ceil(math.log10(max(kappa.high for fit in fits for kappa in (fit.moments, fit.likelihood))))
    left, top, side = 60.0, 60.0, 310.0
    start, width = 490.0, 390.0

    def up(share: float) -> float:
        return top + side * (1 - share)

    def rise(concentration: float) -> float:
        return up((math.log10(concentration) - low) / max(1, high - low))

    parts = [
        *(svg_frame(x, top, wide, side) for x, wide in ((left, side), (start, width))),
        svg_line(left, top + side, left + side, top, "#bbb", "4 4"),
        svg_text(left, 36, "share right by score · grey: raw reward · blue: calibrated", "start", "#222"),
        svg_text(start, 36, "κ by depth · filled: likelihood · hollow: moments", "start", "#222"),
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(svg_text(left + side * tick, top + side + 16, f"{tick:g}", "middle", "#666"))
        parts.append(svg_text(left - 8, up(tick) + 4, f"{tick:g}", "end", "#666"))
    for power in range(low, high + 1):
        parts.append(svg_text(start - 8, rise(10.0**power) + 4, f"{10.0**power:g}", "end", "#666"))
    for found, colour in ((made.before, "#9a9fa8"), (made.after, "#184ea0")):
        most = max(tenth.prefixes for tenth in found.bins)
        for tenth in found.bins:
            size = 3 + 7 * math.sqrt(tenth.prefixes / most)
            tip = f"{tenth.prefixes} prefixes: score {tenth.score:.2f}, right {tenth.share:.2f}"
            parts.append(svg_circle(left + side * tenth.score, up(tenth.share), size, colour, tip, 0.75))
    for index, fit in enumerate(fits):
        middle = start + width * (index + 0.5) / len(fits)
        name = str(fit.first) if fit.first == fit.last else f"{fit.first}–{fit.last}"
        parts.append(svg_text(middle, top + side + 16, name, "middle", "#666"))
        for kappa, x, opacity in ((fit.moments, middle - 4, 0.0), (fit.likelihood, middle + 4, 1.0)):
            parts.append(svg_line(x, rise(kappa.low), x, rise(kappa.high), "#184ea0"))
            tip = f"depth {name}, {fit.prefixes} prefixes: κ {kappa.value:.3g} ({kappa.low:.3g} to {kappa.high:.3g})"
            parts.append(svg_circle(x, rise(kappa.value), 4, "#184ea0", tip, opacity))
    return svg_document(_WIDTH, _HEIGHT, parts)
