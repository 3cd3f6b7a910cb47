"""Everything that decides a search, checked, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rollwise.answers import BELIEVED
from rollwise.engines.http import is_url
from rollwise.errors import InputError
from rollwise.registry import default_directions, default_strategy
from rollwise.search.round import Overlap

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """A model of the fields given. Raises InputError with the first thing that is wrong."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = f"; there are: {', '.join(model.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise InputError(f"{name}: {first['msg'].removeprefix('Value error, ')}{known}") from None


def _named_or_made(given: Any) -> Any:
    if (given and isinstance(given, str)) or (not isinstance(given, str) and callable(getattr(given, "open", None))):
        return given
    raise ValueError(f"give a name, or an object that can be opened, not {given!r:.60}")


Part = Annotated[Any, AfterValidator(_named_or_made)]
"""A part of a search: its name, or the part itself."""


def _file_or_function(given: Any) -> Any:
    if (given and isinstance(given, str)) or callable(given):
        return given
    raise ValueError(f"give a file made by rollwise calibrate, or a function of rewards and depths, not {given!r:.60}")


_DECIDING_STRATEGY = ("belief", "world", "policy", "reward")


class Config(BaseModel):
    """Everything that decides a search. Unknown keys are refused; as JSON, infinity is the text "Infinity".

    `belief` is a file that `rollwise calibrate` made, or a function as in `rollwise.core.Believe`; "auto" is the one
    that a world has for its own policy and reward, else, as with "model", what the reward model itself says of how sure
    it is. Strategies that need a belief read it, and votes by belief. Strategy "auto" is `optimal_directions` where
    there is a belief, else `dora`; a config holds the one of them that it is. Vote "auto" is `verified` where the world
    can check answers, else `believed_majority` where a belief file says what finished solutions' rewards are worth,
    else `weighted_majority`; `votes` are further ones whose winners are told too.
    Where the policy is a server's URL, the world is "text" unless another is named, the reward the policy's own
    confidence, and directions are minilm's where that is installed, else equal steps. `step_rule` is where a step ends
    (separator, separator(TEXT), sentence, tokens(64)), `instruction` where a problem's instruction stands (system,
    user, none), `window` what is embedded (whole, step, tail(64)); `concurrency` bounds the requests at one server;
    `tokenizer` is the folder of a tokenizer with a chat template, for servers that have none to tell. `overlap` says
    whether paths are scored and embedded while others still grow: see `rollwise.search.round.Grower`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, ser_json_inf_nan="strings")

    world: str = "countdown"
    strategy: Any = "auto"
    options: dict[str, Any] = Field(default_factory=dict)
    budget: int = Field(64, ge=1, le=100_000)
    seed: int = Field(0, ge=0)
    temperature: float = Field(0.8, ge=0, allow_inf_nan=False)
    top_p: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    max_step_tokens: int = Field(256, ge=1)
    max_tokens: int = Field(2048, ge=1)
    max_steps: int = Field(40, ge=1)
    constant_width: bool = False
    aggregate: str = "last"
    vote: str = "auto"
    votes: tuple[str, ...] = ()
    policy: Part = "trained"
    reward: Part = "trained"
    directions: Part = "hidden"
    belief: Annotated[Any, AfterValidator(_file_or_function)] = "auto"
    dtype: Literal["float64", "float32", "bfloat16", "float16"] | None = None
    step_rule: str | None = None
    instruction: Literal["system", "user", "none"] = "system"
    window: str = "whole"
    concurrency: int = Field(64, ge=1)
    tokenizer: str | None = None
    overlap: Overlap = "auto"

    @model_validator(mode="before")
    @classmethod
    def _of_its_policy(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        served = is_url(given.get("policy"))
        defaults = {"world": "text", "directions": default_directions()} if served else {}
        if served or given.get("world") == "text":
            defaults["reward"] = "confidence"
        fields = defaults | given
        if fields.get("strategy", "auto") == "auto":
            named = {name: fields.get(name, cls.model_fields[name].default) for name in _DECIDING_STRATEGY}
            fields["strategy"] = default_strategy(**named)
        return fields

    @property
    def may_vote_by_belief(self) -> bool:
        """Whether a vote is asked for that reads a belief, or reads one if there is any."""
        return not {"auto", BELIEVED}.isdisjoint((self.vote, *self.votes))

    @classmethod
    def of(cls, **fields: Any) -> Config:
        """A config of the fields given. Raises InputError with the first thing that is wrong."""
        return validated(cls, fields)
