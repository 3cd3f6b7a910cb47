"""Reads the results of an experiment as columns: only what a summary needs, and sums of tokens from the database."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from rollwise.bench.columns import COUNTS, FIGURES, Columns, Numbering, Spent, distinct, numbers, votes_of, whole
from rollwise.bench.store import Store
from rollwise.bench.tables import CellRow, ProblemRow, ResultRow, UsageRow
from rollwise.errors import MissingExtraError

try:
    from sqlalchemy import Text, case, func, select, type_coerce
except ImportError as error:
    raise MissingExtraError("the store of runs", "bench") from error


def stored_columns(store: Store, experiment: int) -> Columns:
    """The results of an experiment, in the order of its cells and problems."""
    cells = {
        key: ((label, budget), seed)
        for key, label, budget, seed in store.rows(
            select(CellRow.id, CellRow.label, CellRow.budget, CellRow.seed)
            .where(CellRow.experiment_id == experiment)
            .order_by(CellRow.id)
        )
    }
    levels = dict(
        map(tuple, store.rows(select(ProblemRow.id, ProblemRow.level).where(ProblemRow.experiment_id == experiment)))
    )
    rows = sorted(store.rows(_results(experiment)), key=lambda row: (row[0], row[1]))
    held = list(zip(*rows, strict=True)) or [()] * (7 + len(FIGURES))
    cell, problem, error, votes, computed, known, lacking = held[:7]
    figures = {name: numbers(values) for name, values in zip(FIGURES, held[7:], strict=True)}
    arms, problems = Numbering[tuple[str, int]](), Numbering[int]()
    arm_of = {key: arms.number(cells[key][0]) for key in dict.fromkeys(cell)}
    decoded = {text: json.loads(text) for text in set(votes)}
    level = [levels[key] for key in problem]
    return Columns(
        arms=arms.seen,
        arm=whole([arm_of[key] for key in cell]),
        problem=whole([problems.number(key) for key in problem]),
        seed=whole([cells[key][1] for key in cell]),
        level=whole([each or 0 for each in level]),
        leveled=np.array([each is not None for each in level], dtype=bool),
        figures=figures,
        votes=votes_of(votes, decoded.__getitem__),
        computed=numbers(computed),
        unknown=np.where(numbers(known) > 0, numbers(lacking) > 0, figures["flops"] <= 0),
        raised=np.array([each is not None for each in error], dtype=bool),
        errors=distinct(error),
        spent=tuple(
            Spent(arm_of[key], level, role, tuple(map(float, sums)))
            for key, level, role, *sums in store.rows(_spent(experiment))
        ),
    )


def _results(experiment: int) -> Any:
    """Each result with its figures, the tokens that its roles computed, how many roles have their FLOPs, and how many
    computed and lack them.
    """
    computed = UsageRow.generated + UsageRow.prefilled
    held = (
        select(ResultRow.id).join(CellRow, CellRow.id == ResultRow.cell_id).where(CellRow.experiment_id == experiment)
    )
    first, last = (
        held.with_only_columns(end(ResultRow.id)).scalar_subquery() for end in (func.min, func.max)
    )  # a range is found in the index, where a join would look up each result again
    roles = (
        select(UsageRow.result_id, func.count(UsageRow.flops).label("known"))
        .add_columns(func.sum(case((UsageRow.flops.is_(None) & (computed > 0), 1), else_=0)).label("lacking"))
        .add_columns(func.sum(computed).label("computed"))
        .where(UsageRow.result_id.between(first, last))
        .group_by(UsageRow.result_id)
        .subquery()
    )
    return (
        select(ResultRow.cell_id, ResultRow.problem_id, ResultRow.error, type_coerce(ResultRow.votes, Text))
        .add_columns(func.coalesce(roles.c.computed, 0))
        .add_columns(func.coalesce(roles.c.known, 0), func.coalesce(roles.c.lacking, 0))
        .add_columns(*(getattr(ResultRow, name) for name in FIGURES))
        .join(CellRow, CellRow.id == ResultRow.cell_id)
        .outerjoin(roles, roles.c.result_id == ResultRow.id)
        .where(CellRow.experiment_id == experiment)
    )


def _spent(experiment: int) -> Any:
    """What each role used in the searches of a cell on a level that did not raise. Sums of whole numbers are exact."""
    keys = (ResultRow.cell_id, ProblemRow.level, UsageRow.role)
    return (
        select(*keys, *(func.sum(getattr(UsageRow, name)) for name in COUNTS))
        .where(UsageRow.result_id == ResultRow.id, ResultRow.cell_id == CellRow.id)
        .where(ResultRow.problem_id == ProblemRow.id, CellRow.experiment_id == experiment)
        .where(ResultRow.error.is_(None))
        .group_by(*keys)
    )
