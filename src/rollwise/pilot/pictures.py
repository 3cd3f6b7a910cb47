"""The pictures of a pilot's page: gains with their intervals, and accuracy against cost."""

from __future__ import annotations

from rollwise.pilot.findings import Arm, Findings
from rollwise.pilot.wording import Words, amount, points
from rollwise.report import Panel, Point, bounds_of, log_marks, svg_circle, svg_line, svg_text

_INK, _SOFT, _RULE, _DECIDES = "#1d2129", "#59606c", "#dde0e6", "#0072b2"
_LEFT, _WIDTH, _ROW, _TOP = 8, 440, 46, 8


def gains_svg(findings: Findings, words: Words) -> str:
    """The gain of each family over plain sampling at equal cost, as an SVG element for a page."""
    arms = [(arm, arm.gain) for arm in findings.arms if arm.gain is not None]
    worth = 100 * findings.decision.worthwhile
    low = min(-1.0, *(100 * gain.low for _, gain in arms))
    high = max(worth, *(100 * gain.high for _, gain in arms))
    reach = 0.04 * (high - low)
    base = _TOP + _ROW * len(arms) + 6

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - 2 * _LEFT) * (value - low + reach) / (high - low + 2 * reach)

    parts = [svg_line(x(0), _TOP, x(0), base, _SOFT, "6 4"), svg_line(x(worth), _TOP, x(worth), base, _SOFT, "2 4")]
    for place, (arm, gain) in enumerate(arms):
        y = _TOP + _ROW * place + 32
        chosen = arm.label == findings.chosen.variant
        colour = _DECIDES if chosen else _SOFT
        told = f"{points(gain.mean)} ({points(gain.low)} – {points(gain.high)})"
        parts.append(svg_text(_LEFT, y - 14, words.say("families", arm.family), colour=_INK, size=13))
        parts.append(svg_text(_WIDTH - _LEFT, y - 14, told, "end", _INK, 13))
        line = svg_line(x(100 * gain.low), y, x(100 * gain.high), y, colour)
        parts.append(line.replace("<line ", f'<line stroke-width="{3 if chosen else 2}" ', 1))
        tip = f"{words.setting(arm.label)}: {told}"
        parts.append(svg_circle(x(100 * gain.mean), y, 6 if chosen else 5, colour, tip, 1.0 if chosen else 0.0))
    for value in _ticks(low, high):
        parts.append(
            svg_text(x(value), base + 16, f"{value:+g}".replace("-", "−") if value else "0", "middle", _SOFT, 12)
        )
    parts.append(svg_text(_WIDTH / 2, base + 36, words.say("page", "gains_axis"), "middle", _SOFT, 12))
    label = words.say("page", "gains")
    opening = f'<svg class="gains" viewBox="0 0 {_WIDTH} {base + 44}" role="img" aria-label="{label}">'
    return "\n".join([opening, *parts, "</svg>"])


def _ticks(low: float, high: float) -> list[float]:
    """Round values from low to high, at most eight."""
    step = next(step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 8 or step == 50)
    return [float(value) for value in range(-100, 101, step) if low <= value <= high]


def costs_panel(findings: Findings, words: Words) -> Panel:
    """Accuracy against the cost of a question: plain sampling as a curve, the other ways as points."""
    curves: dict[str, list[Point]] = {}
    for arm in findings.all_arms:
        if arm.cost > 0:
            curves.setdefault(words.say("families", arm.family), []).append(_point(arm, findings, words))
    for curve in curves.values():
        curve.sort(key=lambda point: point.x)
    across = words.say("page", "costs_axis", unit=words.unit(findings.unit))
    places = [point.x for curve in curves.values() for point in curve]
    return Panel("", across, words.say("page", "accuracy_axis"), curves, "log", log_marks(places), bounds_of([curves]))


def _point(arm: Arm, findings: Findings, words: Words) -> Point:
    unit = words.unit(findings.unit)
    right = f"{100 * arm.accuracy:.1f} % ({100 * arm.low:.1f}–{100 * arm.high:.1f})"
    tip = f"N = {arm.budget}, {right}, {amount(arm.cost)} {unit}"
    return Point(arm.cost, 100 * arm.accuracy, 100 * arm.low, 100 * arm.high, tip)
