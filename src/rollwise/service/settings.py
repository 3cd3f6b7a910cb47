"""What a service is told: its limits, its keys and its routes, from flags and a TOML file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from rollwise.database import is_server
from rollwise.database import is_url as is_database_url
from rollwise.engines.http import addresses, is_url
from rollwise.errors import InputError
from rollwise.registry import find_strategy
from rollwise.search import RUN, SERVER, START, Config, Options, Shown, settled, validated

FORWARD = "forward"
"""The rule that searches nothing: requests go to the upstream as they are."""
KEYS_VARIABLE = "ROLLWISE_SERVICE_KEYS"
"""The environment variable with further keys of clients: NAME=SHA256,NAME=SHA256."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Rule(Options):
    """One way to answer a route's requests: fields of a search that differ from the route's. `search` is None for the
    rule that forwards.
    """

    name: str
    search: dict[str, Any] | None = None


def _rule(given: Any) -> Any:
    if isinstance(given, str):
        return {"name": given, "search": None if given == FORWARD else {"strategy": given}}
    if isinstance(given, Mapping) and "search" not in given:
        fields = {name: value for name, value in given.items() if name != "name"}
        return {"name": given.get("name"), "search": fields}
    return given


class Gate(Options):
    """What a rule has to show before it may advance. See docs/serve.md for the test."""

    golden: Path
    """JSONL with `question` and `answer` on each line."""
    samples: Annotated[int, Field(ge=2)] = 30
    """The fewest questions that both rules have answered."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """The level of the interval of the difference in accuracy."""
    least_gain: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """The lower end of the interval has to be at least this."""
    most_cost: Annotated[float, Field(gt=0)] = 2.0
    """The candidate may generate at most this many times the tokens of the current rule."""


class Band(Options):
    """When a canary falls back by itself: the bounds of its latest searches."""

    window: Annotated[int, Field(ge=1)] = 50
    """How many searches of the candidate count."""
    least: Annotated[int, Field(ge=1)] = 5
    """Below this many, only a server that is down reverts."""
    most_errors: Annotated[float, Field(ge=0, le=1)] = 0.05
    """The largest share of searches that may fail."""
    most_seconds: Annotated[float, Field(gt=0)] = 120.0
    """The longest that 95 % of the searches may take."""
    most_cost: Annotated[float, Field(gt=0)] = 4.0
    """The largest ratio of mean generated tokens, candidate to current rule."""
    least_agreement: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The smallest share of shadow searches that give the current rule's answer."""


class Alarms(Options):
    """From when on a figure of a route is an alarm. None watches a figure without a bound. docs/runbook.md says what to
    do about each.
    """

    window: Annotated[int, Field(ge=10, le=10_000)] = 500
    """How many searches of each rule count: the latest."""
    samples: Annotated[int, Field(ge=2)] = 50
    """Below this many no figure is an alarm."""
    reference: Annotated[int, Field(ge=10, le=10_000)] = 500
    """How many questions are the yardstick of the input's drift: the first ones of the route."""
    least_accuracy: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    """Of golden questions, and of answers that clients judged."""
    least_agreement: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    """Of the candidate's shadow searches with the current rule's answers."""
    most_errors: Annotated[float, Field(ge=0, le=1)] | None = 0.05
    """The share of searches that fail."""
    most_unanswered: Annotated[float, Field(ge=0, le=1)] | None = 0.2
    """The share of searches that find no answer."""
    most_seconds: Annotated[float, Field(gt=0)] | None = 60.0
    """The 95th percentile of the seconds of a search."""
    most_tokens: Annotated[float, Field(gt=0)] | None = None
    """Generated tokens for each answer."""
    most_money: Annotated[float, Field(gt=0)] | None = None
    """Money for each answer."""
    least_return: Annotated[float, Field(ge=0)] | None = 0.01
    """Money of the first rule for a right answer, over that of the rule."""
    least_saved: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of rollouts that early stops spare."""
    least_directions: Annotated[float, Field(ge=0)] | None = 1.5
    """The effective number of directions of a round."""
    most_calibration_drift: Annotated[float, Field(ge=0, le=1)] | None = 0.1
    """By how much the calibration error of the rewards may have grown."""
    most_input_drift: Annotated[float, Field(ge=0)] | None = 0.25
    """The population stability index of a property of the questions."""


class Shadow(Options):
    """Searches of the candidate rule that run beside those of the current rule. Their answers are not sent."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of requests. 0 only computes the candidate's counts on recorded rounds, which costs nothing."""
    tokens: Annotated[int, Field(ge=0)] = 1_000_000
    """The cap: generated tokens after which a stage starts no further such searches."""


class Price(Options):
    """Money for a million tokens of the policy."""

    generated: Annotated[float, Field(ge=0)] = 0.0
    prefilled: Annotated[float, Field(ge=0)] = 0.0
    cached: Annotated[float, Field(ge=0)] = 0.0


class Route(Config):
    """A route: the fields of `rollwise.Config`, where requests are forwarded to, and the rules it is moved through."""

    upstream: Annotated[str | None, Shown(START, "the policy's first URL")] = Field(
        default=None, description="The server that gets what is not searched."
    )
    model: Annotated[str | None, Shown(START)] = Field(
        default=None, description="Another name by which requests may ask for this route, such as the upstream's model."
    )
    rules: Annotated[tuple[Annotated[Rule, BeforeValidator(_rule)], ...], Shown(RUN)] = Field(
        default=(), description="The rules in the order of their introduction; the first one answers at the start."
    )
    canary: Annotated[tuple[Annotated[float, Field(gt=0, lt=100)], ...], Shown(RUN)] = Field(
        default=(5.0, 25.0), description="The shares of requests, in percent, that a candidate gets before all."
    )
    most_budget: Annotated[int, Shown(RUN)] = Field(
        default=1024, ge=1, le=100_000, description="The largest budget that a request may ask for."
    )
    gate: Annotated[Gate | None, Shown(RUN)] = Field(default=None, description="What a rule has to show to advance.")
    band: Annotated[Band, Shown(RUN)] = Field(default=Band(), description="When a canary falls back by itself.")
    alarms: Annotated[Alarms, Shown(RUN)] = Field(default=Alarms(), description="When a figure is an alarm.")
    shadow: Annotated[Shadow, Shown(RUN)] = Field(default=Shadow(), description="Searches beside the current rule's.")
    price: Annotated[Price, Shown(RUN)] = Field(default=Price(), description="Money for a million tokens.")

    @model_validator(mode="after")
    def _rules_are_distinct(self) -> Route:
        names = [rule.name for rule in self.ladder]
        if len(set(names)) < len(names):
            raise ValueError(f"the rules {', '.join(names)} need different names")
        if FORWARD in names and self.forwards_to is None:
            raise ValueError("the rule forward needs an upstream: give its URL")
        return self

    @property
    def ladder(self) -> tuple[Rule, ...]:
        """The rules in order; a route without rules has one, its own search."""
        return self.rules or (Rule(name="search", search={}),)

    def rule(self, name: str) -> Rule:
        """The rule of a name. Raises InputError if there is none."""
        for rule in self.ladder:
            if rule.name == name:
                return rule
        known = ", ".join(rule.name for rule in self.ladder)
        raise InputError(f"the route has no rule {name!r}; its rules are: {known}")

    @property
    def forwards_to(self) -> str | None:
        """The base URL of the upstream, without /v1; None if there is none."""
        given = self.upstream or (self.policy if is_url(self.policy) else None)
        return None if given is None else addresses(given)[0].url

    def config(self, rule: Rule) -> Config:
        """The config of a rule's search. Raises InputError if a field is wrong."""
        own = {name: getattr(self, name) for name in self.model_fields_set if name in Config.model_fields}
        fields = own | (rule.search or {})
        served = is_url(fields.get("policy"))
        return Config.of(**({"concurrency": AT_ONCE} if served else {}) | fields)


AT_ONCE = 256
"""Requests that a route's policy server gets at the same time, unless the route says otherwise: as many sequences as
vLLM decodes together. A search alone needs fewer, so the default of `rollwise.Config` is lower.
"""


def _place(given: Any) -> Any:
    """A URL as it is, and anything else as the path of a file."""
    return Path(given) if isinstance(given, str) and not is_database_url(given) else given


class ServiceOptions(Options):
    """The options of `rollwise serve`."""

    config: Annotated[Path | None, Shown(START, argument=True)] = Field(
        default=None, description="A TOML file of these options, of keys and of routes; flags override it."
    )
    port: Annotated[int, Shown(START)] = Field(
        default=8080, ge=0, le=65535, description="Port to listen at; 0 takes a free port."
    )
    host: Annotated[str, Shown(START)] = Field(default="127.0.0.1", description="Address to listen at.")
    store: Annotated[Path | str, BeforeValidator(_place), Shown(START)] = Field(
        default=Path("rollwise-service.db"),
        repr=False,
        description="Where searches, stages and the audit log are kept: an SQLite file, or a URL such as "
        "postgresql+psycopg://user@host/name. The password comes from PGPASSWORD or a passfile.",
    )
    workers: Annotated[int, Shown(SERVER)] = Field(
        default=1, ge=1, le=256, description="Processes that serve at the address and share the limits."
    )
    searches: Annotated[int, Shown(SERVER)] = Field(default=64, ge=1, description="Searches to run at the same time.")
    queue: Annotated[int, Shown(SERVER)] = Field(
        default=256, ge=0, description="Searches that may wait; a further request gets status 429."
    )
    deadline: Annotated[float, Shown(SERVER)] = Field(
        default=600.0, gt=0, description="Seconds after which a search answers with the vote so far."
    )
    body_bytes: Annotated[int, Shown(SERVER)] = Field(
        default=4_194_304, ge=1024, description="The longest body of a request."
    )
    drain: Annotated[float, Shown(SERVER)] = Field(
        default=30.0, ge=0, description="Seconds that searches in flight get after SIGTERM."
    )
    probe: Annotated[float, Shown(SERVER)] = Field(
        default=2.0, gt=0, description="Seconds between two looks at whether the servers answer."
    )
    ui: Annotated[bool, Shown(SERVER)] = Field(default=True, description="Serve the dashboard at /ui.")
    keep_text: Annotated[bool, Shown(RUN)] = Field(
        default=False, description="Keep prompts and solutions in the store, not only their digests."
    )
    retention_days: Annotated[float, Shown(RUN)] = Field(
        default=0.0, ge=0, description="Days after which kept texts are erased; 0 keeps them."
    )
    log: Annotated[bool, Shown(RUN)] = Field(
        default=False, description="Write a JSON line for each search to standard error, without prompts and keys."
    )


class Settings(ServiceOptions):
    """All settings of a service: its options, the digests of the keys of its clients by name, and its routes."""

    keys: Annotated[dict[str, str], Shown(RUN)] = Field(
        default_factory=dict, description="Keys that clients may send: a name and the SHA-256 of the key."
    )
    ui_keys: Annotated[tuple[str, ...], Shown(RUN, "all")] = Field(
        default=(), description="Names of the keys that open the dashboard, which shows the searches of all clients."
    )
    routes: Annotated[dict[str, Route], Shown(RUN)] = Field(
        default_factory=lambda: {"countdown": Route()}, description="The routes by name."
    )

    @property
    def shared(self) -> bool:
        """Whether other processes may serve from the store too, so that all keep its limits together."""
        return self.workers > 1 or is_server(self.store)

    @model_validator(mode="after")
    def _names_are_usable(self) -> Settings:
        for name, digest in self.keys.items():
            if not _DIGEST.fullmatch(digest):
                raise ValueError(f"keys.{name}: give the SHA-256 of the key: printf %s KEY | sha256sum")
        if unknown := sorted(set(self.ui_keys) - set(self.keys)):
            raise ValueError(f"ui_keys: no key is called {unknown[0]!r}")
        if not self.routes:
            raise ValueError("give at least one route")
        for name in self.routes:
            if not _NAME.fullmatch(name):
                raise ValueError(f"routes: {name!r} is no name: give letters, digits, dots, - and _")
        return self


def read_settings(given: Mapping[str, Any], check_rules: bool = True) -> Settings:
    """The settings of a TOML file (`given["config"]`), with the other given fields before those of the file.

    Raises InputError if the file cannot be read or says something wrong.
    """
    file = given.get("config")
    told = {} if file is None else _read(Path(file))
    routes = {name: _route(name, table) for name, table in _table(told, "routes").items()}
    tables = {"keys": _table(told, "keys") | _environment_keys()} | ({"routes": routes} if routes else {})
    settings = validated(Settings, told | dict(given) | tables)
    if check_rules:
        for name, route in settings.routes.items():
            _check_rules(name, route)
    return settings


def _route(name: str, table: Any) -> Route:
    if not isinstance(table, dict):
        raise InputError(f"routes.{name}: give a table, [routes.{name}]")
    try:
        return validated(Route, table)
    except InputError as error:
        raise InputError(f"routes.{name}: {str(error).removeprefix(': ')}") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; give the TOML file of a service") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is no TOML: {error}") from None


def _table(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = told.get(name, {})
    if not isinstance(table, dict):
        raise InputError(f"{name}: give a table of names and values")
    return table


def _environment_keys() -> dict[str, str]:
    pairs = [part.strip() for part in os.environ.get(KEYS_VARIABLE, "").split(",") if part.strip()]
    if any("=" not in pair for pair in pairs):
        raise InputError(f"{KEYS_VARIABLE}: give NAME=SHA256, with commas between several")
    return dict(pair.split("=", 1) for pair in pairs)


def _check_rules(name: str, route: Route) -> None:
    for rule in route.ladder:
        if rule.search is not None:
            try:
                find_strategy(settled(route.config(rule)).strategy)
            except InputError as error:
                raise InputError(f"routes.{name}, rule {rule.name}: {error}") from None
