"""What a pilot is told."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from rollwise.data import QuestionFile
from rollwise.errors import InputError
from rollwise.pilot.decision import WORTHWHILE
from rollwise.search import (
    CLUSTER_FIELDS,
    OUTPUT,
    QUESTIONS,
    RUN,
    START,
    ClusterOptions,
    Config,
    Numbers,
    Shown,
    settled,
)

MONEY = "Money"
_SEARCHED = ("policy", "reward", "directions")
_POSED = ("data", "question_field", "answer_field", "id_field", "level_field", "where", "shuffle", "grader", "limit")
_DRAWN = ("world", "levels", "first_seed")
LIMIT = 100
"""The most questions of each level of a world."""
SOFT = ("hidden", "minilm")
"""Directions that are compared by embeddings, beside those of a server."""


class PilotOptions(ClusterOptions, QuestionFile):
    """The options of `rollwise pilot`."""

    data: Annotated[str | None, Shown(START, argument=True)] = Field(
        default=None,
        description="Your questions with their answers: a JSONL, JSON, CSV or Parquet file, a folder, MATH-500, "
        "AIME-2024, AIME-2025, GSM8K, or hf:owner/name[/part][:split].",
    )
    world: Annotated[str | None, Shown(QUESTIONS)] = Field(
        default=None,
        description="A world that poses questions instead of DATA: countdown, stories, or your own as file.py:name.",
    )
    policy: Annotated[str | None, Shown(START, "the world's own")] = Field(
        default=None, description="Your model: the URL of its server, or a name as in rollwise solve."
    )
    reward: Annotated[str | None, Shown(START, "as in rollwise solve")] = Field(
        default=None, description="What scores partial solutions, as in rollwise solve."
    )
    directions: Annotated[str | None, Shown(START, "as in rollwise solve")] = Field(
        default=None, description="Which paths share a direction, as in rollwise solve."
    )
    minutes: Annotated[float | None, Shown(START, "30, without --tokens")] = Field(
        default=None, gt=0, description="How long the pilot may take, all in all."
    )
    tokens: Annotated[float | None, Shown(START)] = Field(
        default=None, gt=0, description="How many tokens all models together may generate or read."
    )
    budget: Annotated[int, Shown(START)] = Field(
        default=16,
        ge=2,
        description="N: rollouts of a question. Plain sampling gets as many as cost the same.",
    )
    policy_larger: Annotated[str | None, Shown(START)] = Field(
        default=None,
        description="A larger model, to see whether that should be bought first: its server's URL or name.",
    )
    levels: Annotated[Numbers, Shown(QUESTIONS, "all")] = Field(
        default=(), description="Levels of the world's questions."
    )
    limit: Annotated[int | None, Shown(QUESTIONS, f"all; {LIMIT} of each level of a world")] = Field(
        default=None, ge=1, description="The most questions of DATA, or of each level of a world."
    )
    grader: Annotated[str, Shown(QUESTIONS)] = Field(
        default="auto",
        description="How answers to DATA are graded: math (auto), integer, number or number(TOLERANCE), choice (A to "
        "E), text (exact), or your own as file.py:function.",
    )
    first_seed: Annotated[int, Shown(QUESTIONS)] = Field(
        default=0, ge=0, description="Seed of each level's first question."
    )
    seed: Annotated[int, Shown(QUESTIONS)] = Field(
        default=0, ge=0, description="Decides which questions are tuned on and which are compared on."
    )
    worthwhile: Annotated[float, Shown(MONEY)] = Field(
        default=100 * WORTHWHILE, gt=0, lt=100, description="The smallest gain in accuracy worth having, in points."
    )
    prices: Annotated[Path | None, Shown(MONEY, "costs are in tokens")] = Field(
        default=None, description="A TOML file of prices: of a million tokens by role, or of an hour of the machine."
    )
    prices_larger: Annotated[Path | None, Shown(MONEY, "as --prices")] = Field(
        default=None, description="The same for the larger model."
    )
    value: Annotated[float | None, Shown(MONEY)] = Field(
        default=None, gt=0, description="What a right answer is worth, in the currency of the prices."
    )
    search: Annotated[dict[str, Any], Shown(RUN, flag="set")] = Field(
        default_factory=dict, description="A field of every search: max_tokens=512, temperature=0.7."
    )
    in_flight: Annotated[int, Shown(RUN)] = Field(default=4, ge=1, description="Searches at once, in each Ray worker.")
    dry_run: Annotated[bool, Shown(RUN)] = Field(
        default=False, description="Measure the rate, say what the pilot would take, and stop; nothing is kept."
    )
    out: Annotated[Path, Shown(OUTPUT)] = Field(
        default=Path("runs/pilot"), description="Folder of the pilot; the same command goes on with it."
    )
    language: Annotated[Literal["en", "ja"], Shown(OUTPUT)] = Field(
        default="en", description="Language of the page: en or ja."
    )
    as_json: Annotated[bool, Shown(OUTPUT, flag="json")] = Field(
        default=False, description="Print the findings as JSON and nothing else."
    )

    def refuse_unfit(self) -> None:
        """Raise InputError for options that do not fit together."""
        self.refuse_fields_without_data()
        self.refuse_idle_cluster()
        if self.data is None and self.world is None:
            raise InputError("give a file of questions with their answers, or a world that poses some by --world")
        if self.data is not None and self.world is not None:
            raise InputError(f"{self.data} brings its own questions: leave --world {self.world} out")
        if self.data is not None and self.policy is None:
            raise InputError("--policy: give the URL of the server that answers the questions")
        for name in ("levels", "first_seed"):
            if self.data is not None and name in self.model_fields_set:
                raise InputError(f"--{name.replace('_', '-')} is for a world's questions: leave it out")
        if self.prices_larger is not None and self.policy_larger is None:
            raise InputError("--prices-larger is for --policy-larger: give both, or leave it out")
        if self.value is not None and self.prices is None:
            raise InputError("--value is an amount of money: give --prices too")

    @property
    def poser(self) -> str:
        """The world of the questions."""
        return self.world or "text"

    @property
    def asked(self) -> str:
        """Where the questions come from."""
        return str(self.data or self.world)

    @property
    def answerer(self) -> str:
        """The model, as the page names it."""
        return str(settled(self.config()).policy)

    def config(self) -> Config:
        """The config of a search of this pilot, without a strategy. Raises InputError."""
        return Config.of(**self.searched(), world=self.poser, grader=self.grader)

    @property
    def soft(self) -> bool:
        """Whether directions are compared by embeddings."""
        directions = settled(self.config()).directions
        return isinstance(directions, str) and (directions in SOFT or directions.startswith("http"))

    @property
    def at_once(self) -> int:
        """How many searches run at once, in all; of a cluster without a number of workers, what one worker runs."""
        return self.in_flight * (self.ray_workers or 1)

    def deciding(self) -> dict[str, Any]:
        """The options that decide what is run, as plain values: they may not change within a folder."""
        shown = {"prices", "prices_larger", "value", "in_flight", "dry_run", "out", "language", "as_json"}
        return self.model_dump(mode="json", exclude=shown | set(CLUSTER_FIELDS))

    def posing(self) -> dict[str, Any]:
        """The fields of a grid that pose the questions."""
        names = _POSED if self.data is not None else _DRAWN
        given = {name: getattr(self, name) for name in names if getattr(self, name) not in (None, (), {})}
        return given if self.data is not None else given | {"limit": self.limit or LIMIT}

    def searched(self) -> dict[str, Any]:
        """The fields of every search."""
        named = {name: getattr(self, name) for name in _SEARCHED if getattr(self, name) is not None}
        return named | self.search

    def calibration(self) -> str:
        """The command that measures another reward on the prefixes of this pilot."""
        prefixes = str(self.out / "prefixes.jsonl")
        return shlex.join(["rollwise", "calibrate", "--prefixes", prefixes, "--reward", "REWARD"])

    def again(self) -> str:
        """The command of a pilot like this one in another folder, with twice the time."""
        given = ["rollwise", "pilot", *([self.data] if self.data is not None else [])]
        for name in ("world", "policy", "reward", "directions", "budget"):
            value = getattr(self, name)
            if name in self.model_fields_set and value is not None:
                given += [f"--{name}", str(value)]
        more = ["--tokens", f"{2 * self.tokens:.0f}"] if self.tokens else ["--minutes", f"{2 * (self.minutes or 30):g}"]
        return shlex.join([*given, *more, "--out", f"{self.out}-2"])
