"""The tables of a bench's report, made of its figures."""

from __future__ import annotations

from rollwise.bench import Cost, Figures, RoleCost, Row
from rollwise.report.data_tables import Column, DataTable, Value
from rollwise.search import ROLES

_ROLE_NAMES = {"policy": "policy", "reward": "reward model", "embedder": "embedder"}


def tables_of(figures: Figures) -> list[DataTable]:
    """The tables of a report. Tables without a row are left out."""
    tables = [_differences(figures), _costs(figures), _measures(figures), _savings(figures), _matches(figures)]
    tables += [_levels(figures), _tokens(figures), _failures(figures)]
    return [table for table in tables if table.rows]


def _measures(figures: Figures) -> DataTable:
    names = list(figures.summary.rows[0].measures) if figures.summary.rows else []
    columns = [Column("strategy"), Column("N", "count"), Column("questions", "count"), Column("searches", "count")]
    for name in names:
        plain = name.replace("_", " ")
        columns += [
            Column(f"{plain} %", "percent"),
            Column(f"{plain} from", "percent"),
            Column(f"{plain} to", "percent"),
        ]
    losses = {
        "failed searches": [row.errors for row in figures.summary.rows],
        "lost rollouts": [row.failed for row in figures.summary.rows],
        "unread paths": [row.unread for row in figures.summary.rows],
        "cut paths": [row.cut for row in figures.summary.rows],
    }
    lost = [name for name, counts in losses.items() if any(counts)]
    columns += [Column(name, "count") for name in lost]
    rows: list[tuple[Value, ...]] = []
    for place, row in enumerate(figures.summary.rows):
        shares = [value for name in names for value in _ends(row, name)]
        counts = [losses[name][place] for name in lost]
        rows.append((row.strategy, row.budget, row.questions, row.results, *shares, *counts))
    note = "Percent of questions, with 95 % intervals. A search that raised an error counts as not solved."
    return DataTable("measures", "Accuracy, coverage, pass rate", note, tuple(columns), tuple(rows))


def _ends(row: Row, name: str) -> tuple[float, float, float]:
    measure = row.measures[name]
    return measure.mean, measure.low, measure.high


def _differences(figures: Figures) -> DataTable:
    columns = (
        *(Column("strategy"), Column("N", "count"), Column("questions", "count"), Column("difference", "points")),
        *(Column("alone from", "points"), Column("alone to", "points")),
        *(Column("together from", "points"), Column("together to", "points"), Column("verdict")),
        *(Column("detectable", "percent"), Column("wins", "count"), Column("losses", "count"), Column("ties", "count")),
    )
    rows = tuple(
        (
            *(each.strategy, each.budget, each.questions, each.mean, each.low, each.high),
            *(each.joint_low, each.joint_high, "told apart" if each.told_apart else "not told apart"),
            *(each.detectable, each.wins, each.losses, each.ties),
        )
        for each in figures.comparisons
    )
    note = (
        f"Accuracy minus that of {figures.baseline} at the same N, in points, paired by question. A question's value "
        "is the mean over its seeds. “Alone” is the 95 % bootstrap interval of one comparison. “Together” holds for "
        f"the whole table of {len(rows)} at once (max-t bootstrap), and the verdict follows it. “Detectable” is the "
        "true difference that would be told apart with a chance of 80 %."
    )
    return DataTable("differences", f"Difference to {figures.baseline}", note, columns, rows)


def _costs(figures: Figures) -> DataTable:
    roles = _roles(figures)
    columns = (
        *(Column("strategy"), Column("N", "count"), Column("accuracy %", "percent")),
        *(Column(f"{_ROLE_NAMES[role]} FLOPs", "power") for role in roles),
        *(Column("total FLOPs", "power"), Column("tokens computed", "count")),
        *(Column("seconds p50", "seconds"), Column("seconds p95", "seconds")),
        *([] if figures.currency is None else [Column(figures.currency, "money")]),
    )
    rows = tuple(
        (
            *(cost.strategy, cost.budget, cost.accuracy, *(_used(cost, role).flops for role in roles), cost.flops),
            *(cost.tokens, cost.latency_50, cost.latency_95),
            *([] if figures.currency is None else [cost.money]),
        )
        for cost in figures.costs
    )
    note = (
        "Means for one question, as in the paper's Table 1; seconds are the median and the 95th percentile. FLOPs are "
        "2 × parameters × tokens computed, which were generated or read anew. Tokens from a cache cost none. “–” means "
        "unknown."
    )
    return DataTable("costs", "Cost of a question", note, columns, rows)


def _tokens(figures: Figures) -> DataTable:
    columns = (
        *(Column("strategy"), Column("N", "count"), Column("model"), Column("generated", "count")),
        *(Column("read", "count"), Column("from cache", "count"), Column("seconds", "seconds")),
    )
    rows = tuple(
        (cost.strategy, cost.budget, _ROLE_NAMES[role], used.generated, used.prefilled, used.cached, used.seconds)
        for cost in figures.costs
        for role in _roles(figures)
        if (used := _used(cost, role))
    )
    note = (
        "Means for one question. Seconds are those in which a model worked for the question, its waiting for a batch "
        "included. Models may work at the same time."
    )
    return DataTable("tokens", "Tokens and seconds of each model", note, columns, rows)


def _roles(figures: Figures) -> list[str]:
    """The roles that used a token or a second anywhere."""
    return [role for role in ROLES if any(_works(_used(cost, role)) for cost in figures.costs)]


def _works(used: RoleCost) -> bool:
    return used.generated + used.prefilled + used.cached > 0


def _used(cost: Cost, role: str) -> RoleCost:
    return cost.roles.get(role, RoleCost(0.0, 0.0, 0.0, 0.0, 0.0))


def _savings(figures: Figures) -> DataTable:
    columns = (
        *(Column("strategy"), Column("enough N", "count"), Column("of N", "count"), Column("saved %", "percent")),
        *(Column("difference", "points"), Column("from", "points"), Column("mean reaches it at N", "number")),
    )
    rows = tuple(
        (each.strategy, each.budget, each.baseline_budget, each.saved, each.mean, each.low, each.reached_at)
        for each in figures.savings
    )
    margin = 100 * figures.savings[0].margin if figures.savings else 0
    note = (
        f"“Enough N” is the smallest measured N at which a strategy is not inferior to {figures.baseline} at its "
        f"largest N, with a margin of {margin:g} points: the 95 % interval of the paired difference stays above "
        f"−{margin:g}. Larger N must pass too. The last column interpolates the means on log N between measured N, "
        "never beyond them. “–” means that no measured N is enough."
    )
    return DataTable("savings", "Rollouts saved at equal accuracy", note, columns, rows)


def _matches(figures: Figures) -> DataTable:
    names = (Column("one"), Column("other"))
    counts = tuple(Column(name, "count") for name in ("N", "questions", "one wins", "other wins", "ties"))
    rows = tuple(
        (each.one, each.other, each.budget, each.questions, each.wins, each.losses, each.ties)
        for each in figures.matches
    )
    note = (
        "A question is won by the strategy that is right on more of its seeds. On the page, the name of the first "
        "strategy leads to these questions."
    )
    return DataTable("matches", "Wins and losses by question", note, (*names, *counts), rows)


def _levels(figures: Figures) -> DataTable:
    columns = (
        *(Column("level", "count"), Column("strategy"), Column("N", "count"), Column("questions", "count")),
        *(Column("accuracy %", "percent"), Column("from", "percent"), Column("to", "percent")),
        *(Column("coverage %", "percent"), Column("pass rate %", "percent")),
    )
    rows = tuple(
        (
            *(row.level, row.strategy, row.budget, row.questions, *_ends(row, "accuracy")),
            *(row.measures["coverage"].mean, row.measures["pass_rate"].mean),
        )
        for row in figures.summary.by_level
    )
    return DataTable("levels", "Each level", "Percent of questions; 95 % intervals of accuracy.", columns, rows)


def _failures(figures: Figures) -> DataTable:
    columns = (Column("strategy"), Column("N", "count"), Column("seed", "count"), Column("question"), Column("error"))
    rows = tuple(
        (each.cell.label, each.cell.budget, each.cell.seed, each.problem, each.error) for each in figures.failures
    )
    note = "These searches raised an error. They count as not solved in every figure of accuracy."
    return DataTable("failures", "Failed searches", note, columns, rows)
