"""The options that name a file of questions, its fields, and which of its rows are asked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from rollwise.data.questions import Questions, read_questions
from rollwise.errors import InputError
from rollwise.search import QUESTIONS, START, Options, Shown


def _wanted(given: Any) -> Any:
    """`field=value` pairs as field → values; a field that is given twice may have either value."""
    if isinstance(given, dict):
        return {
            name: tuple(map(str, values if isinstance(values, list | tuple) else [values]))
            for name, values in given.items()
        }
    wanted: dict[str, tuple[str, ...]] = {}
    for pair in [given] if isinstance(given, str) else given:
        name, equals, value = str(pair).partition("=")
        if not equals or not name:
            raise InputError(f"--where takes field=value, like level=5, not {pair!r}")
        wanted[name] = (*wanted.get(name, ()), value)
    return wanted


Wanted = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_wanted)]


_SOURCE = (
    "Your own questions with their answers: a JSONL, JSON, CSV or Parquet file, a folder, MATH-500, AIME-2024, "
    "AIME-2025, GSM8K, or hf:owner/name[/part][:split]."
)


class QuestionFields(Options):
    """A source of questions, and the names of its fields."""

    data: Annotated[str | None, Shown(QUESTIONS)] = Field(default=None, description=_SOURCE)
    question_field: Annotated[str | None, Shown(QUESTIONS, "guessed")] = Field(
        default=None, description="Field of --data that holds the question; a+b joins two."
    )
    answer_field: Annotated[str | None, Shown(QUESTIONS, "guessed")] = Field(
        default=None, description="Field of --data that holds the gold answer."
    )
    id_field: Annotated[str | None, Shown(QUESTIONS, "guessed")] = Field(
        default=None, description="Field of --data that holds the id; none numbers the rows."
    )
    level_field: Annotated[str | None, Shown(QUESTIONS, "guessed")] = Field(
        default=None, description="Field of --data that holds the level; none for no levels."
    )

    def field_names(self) -> dict[str, str | None]:
        """The fields that were named, by what they are for."""
        return {part: getattr(self, f"{part}_field") for part in ("question", "answer", "id", "level")}

    def refuse_fields_without_data(self) -> None:
        """Raise InputError if a field is named and there is no --data."""
        for part, name in self.field_names().items():
            if name is not None and self.data is None:
                raise InputError(f"--{part}-field names a field of --data: give --data FILE too")


class QuestionFile(QuestionFields):
    """A source of questions, and which of its rows are asked."""

    data: Annotated[str | None, Shown(START)] = Field(default=None, description=_SOURCE)
    where: Annotated[Wanted, Shown(QUESTIONS, "all")] = Field(
        default_factory=dict, description="Only the rows of --data with that value: level=5."
    )
    shuffle: Annotated[int | None, Shown(QUESTIONS)] = Field(
        default=None, ge=0, description="Seed of a random order of the rows of --data; without it, the file's own."
    )
    skip: Annotated[int, Shown(QUESTIONS)] = Field(
        default=0, ge=0, description="Rows of --data to leave out at the start of that order."
    )
    limit: Annotated[int | None, Shown(START, "all")] = Field(
        default=None, ge=1, description="How many questions of --data are asked."
    )

    def questions(self, grader: str, golds: bool = True) -> Questions:
        """The questions of --data. Raises InputError, also if there is no --data."""
        if self.data is None:
            raise InputError("--data: give a file of questions")
        return read_questions(
            self.data,
            grader=grader,
            fields=self.field_names(),
            where=self.where,
            shuffle=self.shuffle,
            skip=self.skip,
            limit=self.limit,
            golds=golds,
        )

    def refuse_fields_without_data(self) -> None:
        """Raise InputError if an option is given that only --data reads."""
        super().refuse_fields_without_data()
        for name in ("where", "shuffle", "skip"):
            if getattr(self, name) not in (None, {}, 0) and self.data is None:
                raise InputError(f"--{name} chooses rows of --data: give --data FILE too")
