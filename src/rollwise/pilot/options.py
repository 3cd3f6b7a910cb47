"""What a pilot is told."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from rollwise.pilot.decision import WORTHWHILE
from rollwise.search import OUTPUT, QUESTIONS, RUN, START, Limits, Numbers, Options, Shown

MONEY = "Money"
_SEARCHED = ("policy", "reward", "directions")


class PilotOptions(Options):
    """The options of `rollwise pilot`."""

    world: Annotated[str, Shown(START)] = Field(
        default="countdown", description="The world of the questions: countdown, stories, or your own as file.py:name."
    )
    policy: Annotated[str, Shown(START, "the world's own")] = Field(
        default="trained", description="Your model: the URL of its server, or a name as in rollwise solve."
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
        default=Limits.budget,
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
    limit: Annotated[int, Shown(QUESTIONS)] = Field(
        default=100, ge=1, description="The most questions of each level of a world."
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
    in_flight: Annotated[int, Shown(RUN)] = Field(default=4, ge=1, description="Searches at once.")
    dry_run: Annotated[bool, Shown(RUN)] = Field(
        default=False, description="Measure the rate, say what the pilot would take, and stop."
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

    def deciding(self) -> dict[str, Any]:
        """The options that decide what is run, as plain values: they may not change within a folder."""
        shown = {"prices", "prices_larger", "value", "in_flight", "dry_run", "out", "language", "as_json"}
        return self.model_dump(mode="json", exclude=shown)

    @property
    def asked(self) -> str:
        """Where the questions come from."""
        return self.world

    def again(self) -> str:
        """The command of a pilot like this one in another folder."""
        given = ["rollwise", "pilot"]
        for name in ("world", "policy", "reward", "directions", "budget"):
            value = getattr(self, name)
            if name in self.model_fields_set and value is not None:
                given += [f"--{name}", str(value)]
        return shlex.join([*given, "--minutes", f"{2 * (self.minutes or 30):g}", "--out", f"{self.out}-2"])

    def questions(self) -> dict[str, Any]:
        """The fields of a grid that pose the questions."""
        return {name: getattr(self, name) for name in ("world", "limit", "levels", "first_seed")}

    def searched(self) -> dict[str, Any]:
        """The fields of every search."""
        named = {name: getattr(self, name) for name in _SEARCHED if getattr(self, name) is not None}
        return named | self.search
