"""The pictures of a bench's report, made of its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rollwise.bench import Cost, Figures, PaperCurves, Row
from rollwise.report.curves import Look, Panel, Point, bounds_of, figure_svg, log_marks, looks_of, short_number

_MEASURES = {"accuracy": "accuracy of the vote", "coverage": "coverage: any path right", "pass_rate": "pass rate"}


@dataclass(frozen=True)
class Picture:
    """A figure of a report: a name for its files, a title, what a reader has to know, and its panels."""

    name: str
    title: str
    note: str
    panels: tuple[Panel, ...]
    looks: Mapping[str, Look]

    @property
    def names(self) -> list[str]:
        """The names of its curves."""
        return list(dict.fromkeys(name for panel in self.panels for name in panel.curves))

    @property
    def svg(self) -> str:
        """The figure as an SVG document."""
        return figure_svg(self.title, self.panels, self.looks)


def pictures_of(figures: Figures, paper: Sequence[PaperCurves] = ()) -> list[Picture]:
    """The figures of a report: against N, against cost, by level. `paper` is drawn beside ours."""
    names = [*figures.strategies, *(name for curves in paper for name in curves.lines)]
    looks = looks_of(names)
    pictures = [_against_budget(figures, paper, looks), _against_cost(figures, looks), _by_level(figures, looks)]
    return [picture for picture in pictures if picture.panels]


def _against_budget(figures: Figures, paper: Sequence[PaperCurves], looks: Mapping[str, Look]) -> Picture:
    ours = {measure: _measure_curves(figures, measure) for measure in _MEASURES}
    panels = []
    for measure, title in _MEASURES.items():
        others = [curves for curves in paper if curves.measure == measure]
        theirs = [_paper_curves(curves) for curves in others]
        bounds = bounds_of([ours[measure], *theirs])
        panels.append(_budget_panel(title, ours[measure], bounds))
        for curves, drawn in zip(others, theirs, strict=True):
            panels.append(_budget_panel(f"paper: {curves.measure.replace('_', ' ')}, {curves.model}", drawn, bounds))
    note = "Bars are 95 % intervals over questions. A pass rate is the share of the N rollouts that are right."
    if paper:
        note += f" The paper's curves are for {paper[0].benchmark}, as read from the file that was given."
    return Picture("accuracy", "Accuracy, coverage and pass rate against N", note, tuple(panels), looks)


def _budget_panel(title: str, curves: Mapping[str, Sequence[Point]], bounds: tuple[float, float]) -> Panel:
    marks = sorted({point.x for points in curves.values() for point in points})
    return Panel(
        title, "N, rollouts of a question", "%", curves, "log", [(mark, f"{mark:g}") for mark in marks], bounds
    )


def _measure_curves(figures: Figures, measure: str) -> dict[str, list[Point]]:
    curves: dict[str, list[Point]] = {}
    for row in figures.summary.rows:
        curves.setdefault(row.strategy, []).append(_point(row.budget, f"N = {row.budget}", row, measure))
    return curves


def _point(x: float, where: str, row: Row, measure: str) -> Point:
    found = row.measures[measure]
    mean, low, high = (100 * value for value in (found.mean, found.low, found.high))
    told = f"{where}, {mean:.1f} % ({low:.1f} to {high:.1f}) on {row.questions} questions"
    return Point(x, mean, low, high, told)


def _paper_curves(curves: PaperCurves) -> dict[str, list[Point]]:
    return {
        name: [
            Point(budget, 100 * value, None, None, f"N = {budget}, {100 * value:.1f} % (paper, {curves.model})")
            for budget, value in zip(curves.budgets, values, strict=True)
        ]
        for name, values in curves.lines.items()
    }


def _against_cost(figures: Figures, looks: Mapping[str, Look]) -> Picture:
    axes: dict[str, Callable[[Cost], float | None]] = {
        "tokens computed for a question": lambda cost: cost.tokens,
        "FLOPs for a question": lambda cost: cost.flops,
        "seconds for a question": lambda cost: cost.latency,
        f"{figures.currency} for a question": lambda cost: cost.money,
    }
    panels = [_cost_panel(figures, across, of) for across, of in axes.items()]
    note = "Each point is a budget; the budgets of a strategy are joined. Costs are means over the searches that ran."
    drawn = tuple(panel for panel in panels if panel.curves)
    return Picture("cost", "Accuracy against what it costs", note, drawn, looks)


def _cost_panel(figures: Figures, across: str, of: Callable[[Cost], float | None]) -> Panel:
    curves: dict[str, list[Point]] = {}
    for cost in figures.costs:
        spent, row = of(cost), figures.row(cost.strategy, cost.budget)
        if spent and row is not None:
            point = _point(
                spent, f"N = {cost.budget}, {short_number(spent)} {across.partition(' for ')[0]}", row, "accuracy"
            )
            curves.setdefault(cost.strategy, []).append(Point(point.x, point.y, None, None, point.tip))
    places = [point.x for points in curves.values() for point in points]
    title = f"accuracy against {across.partition(' for ')[0]}"
    return Panel(title, across, "%", curves, "log", log_marks(places), bounds_of([curves]))


def _by_level(figures: Figures, looks: Mapping[str, Look]) -> Picture:
    levels = sorted({row.level for row in figures.summary.by_level if row.level is not None})
    drawn = {}
    for budget in figures.budgets:
        curves: dict[str, list[Point]] = {}
        for row in figures.summary.by_level:
            if row.budget == budget and row.level is not None:
                where = f"level {row.level}, N = {budget}"
                curves.setdefault(row.strategy, []).append(_point(levels.index(row.level), where, row, "accuracy"))
        drawn[budget] = curves
    bounds = bounds_of(list(drawn.values()))
    marks = [(place, f"{level}") for place, level in enumerate(levels)]
    panels = [
        Panel(f"accuracy at N = {budget}", "level", "%", curves, "even", marks, bounds)
        for budget, curves in drawn.items()
        if curves
    ]
    note = "Bars are 95 % intervals over the questions of a level."
    return Picture("levels", "Accuracy by level", note, tuple(panels), looks)
