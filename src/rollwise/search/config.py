"""Everything that decides a search, as one frozen record. It reads no file; `rollwise.search.parts` does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from rollwise.answers import find_stop_rule
from rollwise.core import Sampling
from rollwise.search.machine import Limits
from rollwise.search.options import ALLOCATION, SAMPLING, SERVER, START, Names, Options, Shown, Texts, validated
from rollwise.search.round import Overlap


def _named_or_made(given: Any) -> Any:
    if (given and isinstance(given, str)) or (not isinstance(given, str) and callable(getattr(given, "open", None))):
        return given
    raise ValueError(f"give a name, or an object that can be opened, not {given!r:.60}")


def _file_or_function(given: Any) -> Any:
    if (given and isinstance(given, str)) or callable(given):
        return given
    raise ValueError(f"give a file made by rollwise calibrate, or a function of rewards and depths, not {given!r:.60}")


def _stop_rule(given: str) -> str:
    rule = find_stop_rule(given)
    if rule.name in ("never", "lossless") or rule.level is not None:
        return rule.name
    raise ValueError(f"{rule.name} needs answers in order, which a search has not: give never, lossless, likely(0.95)")


Part = Annotated[Any, AfterValidator(_named_or_made)]
"""A part of a search: its name, or the part itself."""

Chosen = AfterValidator(lambda given: None if given is None else _named_or_made(given))
"""A part that may be left to the policy."""


class Config(Options):
    """Everything that decides a search. Unknown keys are refused.

    What is left out follows from the rest; `rollwise.search.find_parts` decides it and says so in `Parts.config`. With
    a server's URL as policy the world is "text", the reward is the policy's own confidence, and directions are MiniLM's
    if that is installed, else equal steps. Strategy "auto" is `optimal_directions` if something says what the reward is
    worth, else `dora`. Vote "auto" is `verified` if the world can check answers, else `believed_majority` if a belief
    file says what finished solutions' rewards are worth, else `weighted_majority`.
    """

    policy: Annotated[Part, Shown(START)] = Field(
        default="trained",
        description="The model that writes solutions: the URL of a server (URL,URL for several that serve the same "
        "model), trained, small, large, demonstrator, gsm8k or gsm8k-early (bundled), a causal language model (its "
        "FOLDER, hf:owner/name, a GGUF file, a name of rollwise models list), or your own as file.py:name.",
    )
    world: Annotated[
        str | None, Shown(START, "countdown; gsm8k with that policy; text with a policy's URL or hf: name")
    ] = Field(
        default=None,
        description="Where the question comes from: countdown, stories, stories-even, text for any question, or your "
        "own as file.py:name.",
    )
    strategy: Annotated[Any, Shown(START)] = Field(
        default="auto",
        description="Who gets how many rollouts: temperature (plain sampling), beam, dvts, rebase, dora, "
        "dora_two_stage, optimal, optimal_directions, or your own as file.py:function. auto: optimal_directions if a "
        "belief says what the reward is worth, else dora.",
    )
    budget: Annotated[int, Shown(START)] = Field(
        default=Limits.budget, ge=1, le=100_000, description="N: how many rollouts to spend."
    )
    reward: Annotated[Any, Chosen, Shown(START, "trained; confidence with a policy's URL")] = Field(
        default=None,
        description="What scores partial solutions: trained, weak or gsm8k (bundled), the FOLDER of a reward model, "
        "hf:owner/name, family:FOLDER, family@URL, judge@URL, file.py:function, confidence (the policy's own), sums "
        "(whether sums in the text are right), none (every path the same), dial(SIZE,SHARED) or worth(SIZE,SHARED) "
        "(the truth plus noise).",
    )
    options: Annotated[dict[str, Any], Shown(ALLOCATION, flag="option")] = Field(
        default_factory=dict, description="An option of the strategy as name=value, such as reward_temperature=0.2."
    )
    belief: Annotated[Any, AfterValidator(_file_or_function), Shown(ALLOCATION)] = Field(
        default="auto",
        description="What a reward is worth: a file made by rollwise calibrate; model for what the reward model itself "
        "says; auto: the bundled file for bundled models, else as model.",
    )
    directions: Annotated[
        Any, Chosen, Shown(ALLOCATION, "hidden; with a policy's URL minilm if installed, else text")
    ] = Field(
        default=None,
        description="Which paths share a direction: hidden (states of the policy), state (the world's true state), "
        "text (equal last steps), minilm, an embedder (hf:owner/name, its FOLDER, the URL of a server), or your own as "
        "file.py:name.",
    )
    window: Annotated[str, Shown(ALLOCATION)] = Field(
        default="whole", description="What text is embedded for directions: whole, step or tail(64), counted in words."
    )
    vote: Annotated[str, Shown(ALLOCATION)] = Field(
        default="auto",
        description="How finished paths elect the answer: verified, weighted_majority (by reward), believed_majority "
        "(by the belief about the reward), majority, best_of_n. auto: verified if answers can be checked, else by "
        "belief if there is one, else by reward.",
    )
    votes: Annotated[Names, Shown(ALLOCATION)] = Field(
        default=(),
        description="Further votes over the same paths, such as majority,best_of_n; their winners are reported too.",
    )
    stop_early: Annotated[str, AfterValidator(_stop_rule), Shown(ALLOCATION)] = Field(
        default="lossless",
        description="When to end before all rollouts are spent: never; lossless, once no further path can change the "
        "vote's winner; likely(0.95) or predictive(0.95), once that is unlikely. Paths that were not grown count "
        "neither for coverage nor for support, so a bench spends all unless --set stop_early=lossless.",
    )
    wave: Annotated[int | None, Shown(ALLOCATION, "all at once")] = Field(
        default=None,
        ge=1,
        description="Spend the budget in parts of this many rollouts, and begin the next only if the vote is not "
        "decided. Each part is a search of its own; all finished paths vote. With stop_early it saves most.",
    )
    answer: Annotated[str, Shown(ALLOCATION)] = Field(
        default="auto",
        description="Where the answer stands in a solution: boxed, gsm8k (after ####), answer-is, bold, last-number, "
        "choice (a letter), or a regular expression with one group. auto: boxed; if no path boxes anything, the form "
        "that reads most.",
    )
    grader: Annotated[str, Shown(ALLOCATION)] = Field(
        default="auto",
        description="How answers are graded and grouped: math, integer, number or number(TOLERANCE), choice (A to E), "
        "text (exact), or your own as file.py:function. auto: the world's own check, math for any other question.",
    )
    aggregate: Annotated[str, Shown(ALLOCATION)] = Field(
        default=Limits.aggregate,
        description="How the rewards of its steps make a path's reward: last, min, product or mean.",
    )
    constant_width: Annotated[bool, Shown(ALLOCATION)] = Field(
        default=Limits.constant_width, description="As in the paper: N paths stay active until N have finished."
    )
    seed: Annotated[int, Shown(SAMPLING)] = Field(default=0, ge=0, description="Seeds all randomness of the search.")
    temperature: Annotated[float, Shown(SAMPLING)] = Field(
        default=Sampling.temperature,
        ge=0,
        allow_inf_nan=False,
        description="Sampling temperature of the policy; 0 is greedy.",
    )
    top_p: Annotated[float, Shown(SAMPLING)] = Field(
        default=Sampling.top_p,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Sample among the likeliest tokens of this mass.",
    )
    max_step_tokens: Annotated[int, Shown(SAMPLING)] = Field(
        default=Sampling.max_step_tokens,
        ge=1,
        description="Tokens after which a step is cut; the path goes on with the next.",
    )
    max_tokens: Annotated[int, Shown(SAMPLING)] = Field(
        default=Limits.max_tokens, ge=1, description="Tokens after which a path ends without an answer."
    )
    max_steps: Annotated[int, Shown(SAMPLING)] = Field(
        default=Limits.max_steps, ge=1, description="Steps after which a path ends without an answer."
    )
    calculator: Annotated[bool, Shown(SAMPLING)] = Field(
        default=False,
        description="Put wrong sums of a step right, such as 7*8 = 54, before the path goes on from it.",
    )
    step_rule: Annotated[str | None, Shown(SERVER, "separator")] = Field(
        default=None, description="Where a step ends: separator (the world's), separator(TEXT), sentence or tokens(64)."
    )
    instruction: Annotated[Literal["system", "user", "none"], Shown(SERVER)] = Field(
        default="system",
        description="Where the instruction to box the answer goes: the system message, the user's, or none.",
    )
    template: Annotated[str | None, Shown(SERVER, "the model's own chat template")] = Field(
        default=None,
        description="How a question becomes a prompt: none for plain text, as a base model needs it, or the FILE of a "
        "Jinja chat template.",
    )
    shots: Annotated[str | None, Shown(SERVER)] = Field(
        default=None,
        description="A FILE of worked examples that stand before the question: JSONL with question and answer, or "
        "plain text, with {question} where the question goes.",
    )
    stop: Annotated[Texts, Shown(SERVER, repeatable=True)] = Field(
        default=(), description="A text that ends a solution and is left out of it, such as Problem:."
    )
    concurrency: Annotated[int, Shown(SERVER)] = Field(
        default=64, ge=1, description="Requests that one server gets at the same time."
    )
    tokenizer: Annotated[str | None, Shown(SERVER, "the server's own template")] = Field(
        default=None, description="Folder of the served model's tokenizer, if its server cannot render a chat."
    )
    dtype: Annotated[
        Literal["float64", "float32", "bfloat16", "float16"] | None, Shown(SERVER, "float32, on a GPU the model's own")
    ] = Field(default=None, description="Precision of models in this process: float64, float32, bfloat16 or float16.")
    overlap: Annotated[Overlap, Shown(SERVER)] = Field(
        default="auto",
        description="Score and embed paths while others still grow: always if the parts allow it, never, or auto: not "
        "if both compute in this process.",
    )

    whole: Annotated[Literal["auto", "always", "never"], Shown(SERVER)] = Field(
        default="auto",
        description="Ask vLLM or rollwise serve-model for whole rollouts if the strategy is temperature, which reads "
        "nothing between steps: always, never, or auto: unless an early stop could end the search between them. With "
        "always an early stop cancels the rollouts in flight, so which of them vote depends on which ended first.",
    )

    @classmethod
    def of(cls, **fields: Any) -> Config:
        """A config of the fields given. Raises InputError with the first thing that is wrong."""
        return validated(cls, fields)
