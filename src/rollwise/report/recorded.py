"""The account of a search that was recorded, from its config and its events as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rollwise.allocation import STRATEGIES
from rollwise.answers import GRADER_NAMES, find_grader
from rollwise.report.account import Account
from rollwise.report.folding import COMPARED, fold_account, told_by
from rollwise.search import Config, read_events, validated

_DIGEST, _SHOWN = "sha256:", 12


def account_of_records(
    config: Mapping[str, Any],
    question: str,
    records: Sequence[Mapping[str, Any]],
    name: str | None = None,
    seed: int = 0,
    compare: Sequence[str] = COMPARED,
) -> Account:
    """The account of a recorded search; `name` is the id of its question. Raises InputError for what is no record.

    If its strategy is a file of the user's own, that file is not run: the sentences then leave out what would have
    changed. Texts of which only digests were kept appear as the first characters of those.
    """
    validated_config = validated(Config, {field: config[field] for field in config if field in Config.model_fields})
    strategy = STRATEGIES.get(validated_config.strategy) if isinstance(validated_config.strategy, str) else None
    allocate = None if strategy is None else strategy.bind(validated_config.options)
    rights = {
        tuple(map(int, str(record["path"]).split("."))): bool(record["right"])
        for record in records
        if record.get("event") == "finished" and "right" in record
    }
    told = told_by(validated_config, question, allocate, rights or None)
    if validated_config.grader in GRADER_NAMES:
        told = replace(told, group=find_grader(validated_config.grader).group)
    digested = any(str(record.get("text", "")).startswith(_DIGEST) for record in records)
    shown = [_shortened(record) for record in records] if digested else records
    return fold_account(read_events(shown, name, seed), replace(told, digested=digested), compare)


def _shortened(record: Mapping[str, Any]) -> Mapping[str, Any]:
    text = record.get("text")
    if not isinstance(text, str) or not text.startswith(_DIGEST):
        return record
    return {**record, "text": f"{text[: len(_DIGEST) + _SHOWN]}… "}
