"""Says in words what a bench found: which strategy is best at which budget, and whether it is told apart."""

from __future__ import annotations

from rollwise.bench.comparisons import Comparison
from rollwise.bench.figures import Figures
from rollwise.bench.summary import Row


def verdict(figures: Figures) -> list[str]:
    """The head of a report: what was asked, the overall finding, and a sentence for each budget."""
    return [_overall(figures), *(_at(figures, budget) for budget in figures.budgets), *_missing(figures)]


def _overall(figures: Figures) -> str:
    apart = [each for each in figures.comparisons if each.told_apart]
    questions = max(row.questions for row in figures.summary.rows)
    asked = f"{_count(questions, 'question')}, {_count(figures.seeds, 'seed')} each"
    if not figures.comparisons:
        return f"{figures.baseline} is the only strategy here, so nothing is compared ({asked})."
    if not apart:
        spread = [each.detectable for each in figures.comparisons if each.detectable is not None]
        reach = (
            f" A true difference of about {_points(max(spread))} points would be found with a chance of 80 %."
            if spread
            else ""
        )
        return f"No strategy is told apart from {figures.baseline} at any budget ({asked}).{reach}"
    better = [f"{each.strategy} at {each.budget} rollouts" for each in apart if each.mean > 0]
    worse = [f"{each.strategy} at {each.budget} rollouts" for each in apart if each.mean < 0]
    parts = [*([f"Better than {figures.baseline}: {_listed(better)}."] if better else [])]
    parts += [f"Worse than {figures.baseline}: {_listed(worse)}."] if worse else []
    others = len(figures.comparisons) - len(apart)
    parts += [f"Not told apart: the other {_count(others, 'comparison')}."] if others else []
    return " ".join(parts) + f" ({asked[0].upper()}{asked[1:]}; all intervals hold together with 95 %.)"


def _at(figures: Figures, budget: int) -> str:
    rows = {row.strategy: row for row in figures.summary.rows if row.budget == budget}
    base = rows.get(figures.baseline)
    best = max(rows.values(), key=lambda row: (row.measures["accuracy"].mean, row.strategy == figures.baseline))
    accuracy = 100 * best.measures["accuracy"].mean
    head = f"At {_count(budget, 'rollout')}"
    if base is None:
        return f"{head}: {best.strategy} is best with {accuracy:.1f} % right; {figures.baseline} has no result."
    if accuracy == 0:
        return f"{head}: no strategy has any question right{_reach(max(rows.values(), key=_coverage))}."
    against = {each.strategy: each for each in figures.comparisons if each.budget == budget}
    if best.strategy != figures.baseline:
        ours = 100 * base.measures["accuracy"].mean
        told = _told(against[best.strategy], figures) if best.strategy in against else "they share no question"
        return (
            f"{head}: {best.strategy} is best with {accuracy:.1f} % right, {figures.baseline} has {ours:.1f} %; {told}."
        )
    if not against:
        return f"{head}: {best.strategy} has {accuracy:.1f} % right."
    nearest = max(against.values(), key=lambda each: each.mean)
    lead = f"{head}: no strategy has more right than {best.strategy}, the baseline, with {accuracy:.1f} %"
    return f"{lead}; the nearest is {nearest.strategy}; {_told(nearest, figures)}."


def _coverage(row: Row) -> float:
    return row.measures["coverage"].mean


def _reach(widest: Row) -> str:
    """What the vote could have found where it found nothing."""
    coverage = 100 * _coverage(widest)
    if coverage == 0:
        return ", and no rollout ended right, so a vote cannot tell them apart"
    return f", but {widest.strategy} has a right rollout on {coverage:.1f} % of the questions, which no vote elected"


def _told(comparison: Comparison, figures: Figures) -> str:
    mean, low, high = (
        f"{100 * value:+z.1f}" for value in (comparison.mean, comparison.joint_low, comparison.joint_high)
    )
    if not comparison.wins + comparison.losses:
        return f"they agree on all {_count(comparison.questions, 'question')}, so they are not told apart"
    told = "told apart" if comparison.told_apart else "not told apart"
    questions = _count(comparison.questions, "question")
    return f"the difference is {mean} points (95 %: {low} to {high}), {told}, on {questions}"


def _missing(figures: Figures) -> list[str]:
    notes = []
    summary = figures.summary
    if summary.results < summary.planned:
        here = f"{summary.results} of {summary.planned} planned results are here"
        notes.append(f"{here}. If the bench is not running, --resume adds the others.")
    if figures.failures:
        count = len(figures.failures)
        notes.append(
            f"{count} of {_count(summary.results, 'search', 'es')} raised an error. "
            "They count as not solved and are listed below."
        )
    return notes


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"


def _points(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.1f}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
