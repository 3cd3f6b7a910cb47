"""What a simulation found, as tables and as a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rollwise.report.charts import Point, lines_svg
from rollwise.report.sheets import Sheet
from rollwise.simulation import Found, Line, Mean


def simulation_sheets(found: Sequence[Found], swept: str | None, baseline: str) -> list[Sheet]:
    """A table for each budget; for a sweep two: regret, and difference to the baseline, against the swept value."""
    if swept is None:
        return [sheet for setting in found for sheet in _setting_sheets(setting, baseline)]
    return [sheet for budget in _budgets(found) for sheet in _sweep_sheets(_of(found, budget), swept, baseline)]


def simulation_svg(found: Sequence[Found], swept: str | None) -> str:
    """Regret in points against the swept value, with a panel for each budget; without a sweep, against the budget."""
    if swept is None:
        marks = [str(setting.budget) for setting in found]
        return lines_svg({"": _lines(found)}, marks, "rollouts", _TITLE)
    panels = {f"N = {budget}": _lines(_of(found, budget)) for budget in _budgets(found)}
    marks = [str(setting.value) for setting in _of(found, _budgets(found)[0])]
    return lines_svg(panels, marks, swept.replace("_", " "), _TITLE)


_INFORMED = "(best by scores)"
_TITLE = "Regret in points: how much more often every rollout fails than at the ceiling"


def _budgets(found: Sequence[Found]) -> list[int]:
    return list(dict.fromkeys(setting.budget for setting in found))


def _of(found: Sequence[Found], budget: int) -> list[Found]:
    return [setting for setting in found if setting.budget == budget]


def _lines(found: Sequence[Found]) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for setting in found:
        for line in setting.lines:
            lines.setdefault(line.strategy, []).append(Point(100 * line.regret.mean, 100 * line.regret.half))
    return lines


def _setting_sheets(found: Found, baseline: str) -> list[Sheet]:
    about = f"N = {found.budget}, {found.instances} instances, percent with 95 % intervals"
    failures = Sheet(
        f"{about}; ceiling: {found.ceiling}, which fails in {100 * found.least:.1f}",
        ("strategy", "fails", "regret", f"regret − {baseline}'s"),
        (
            *(
                (line.strategy, _percent(line.failure), _percent(line.regret), _signed(line.difference))
                for line in found.lines
            ),
            *([] if found.informed is None else [(_INFORMED, "", _percent(found.informed), "")]),
        ),
        1,
    )
    voted = [line.voted for line in found.lines]
    rows = [(line.strategy, _percent(line.right_share)) for line in found.lines]
    columns: tuple[str, ...] = ("strategy", "right rollouts")
    if None in voted:
        return [failures, Sheet(about, columns, tuple(rows), 1)]
    judged = tuple((*row, _percent(vote)) for row, vote in zip(rows, voted, strict=True) if vote is not None)
    return [failures, Sheet(about, (*columns, "vote right"), judged, 1)]


def _sweep_sheets(found: Sequence[Found], swept: str, baseline: str) -> list[Sheet]:
    name, first = swept.replace("_", " "), found[0]
    fewest = min(setting.instances for setting in found)
    columns = ("strategy", *(str(setting.value) for setting in found))
    about = (
        f"N = {first.budget}, {fewest} instances or more"
        if _uneven(found)
        else f"N = {first.budget}, {fewest} instances"
    )
    informed = (_INFORMED, *("-" if setting.informed is None else _percent(setting.informed) for setting in found))
    least = ("the ceiling fails in", *(f"{100 * setting.least:.1f}" for setting in found))
    regret = Sheet(
        f"{about}, regret in points against {name}; ceiling: {first.ceiling}",
        columns,
        (*_rows(found, lambda line: _percent(line.regret)), *([informed] if set(informed[1:]) != {"-"} else []), least),
        1,
    )
    versus = Sheet(
        f"{about}, regret − {baseline}'s in points against {name}",
        columns,
        tuple(row for row in _rows(found, lambda line: _signed(line.difference)) if row[0] != baseline),
        1,
    )
    return [sheet for sheet in (regret, versus) if sheet.rows]


def _uneven(found: Sequence[Found]) -> bool:
    return len({setting.instances for setting in found}) > 1


def _rows(found: Sequence[Found], tell: Callable[[Line], str]) -> list[tuple[str, ...]]:
    columns = [[tell(line) for line in setting.lines] for setting in found]
    names = [line.strategy for line in found[0].lines]
    return [(name, *cells) for name, cells in zip(names, zip(*columns, strict=True), strict=True)]


def _percent(mean: Mean) -> str:
    return f"{100 * mean.mean:z.1f}" + _half(mean)


def _signed(mean: Mean | None) -> str:
    return "-" if mean is None else f"{100 * mean.mean:+z.1f}" + _half(mean)


def _half(mean: Mean) -> str:
    return f" ± {100 * mean.half:.1f}" if math.isfinite(mean.half) else ""
