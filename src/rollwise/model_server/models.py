"""What a server serves: models by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from rollwise.engines.local import LocalPolicy, Prefixes
from rollwise.model_server.embedding import Embedder
from rollwise.model_server.errors import RequestError, bad_request
from rollwise.model_server.judging import Judge


@dataclass(frozen=True)
class Models:
    """A policy, and a reward model and an embedder where they are served; `name` is the policy's. `prefixes` are what
    the policy keeps between requests.
    """

    name: str
    policy: LocalPolicy
    prefixes: Prefixes
    judge: Judge | None = None
    embedder: Embedder | None = None
    started: int = 0
    names: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        names = {self.name: "generate"}
        if self.judge is not None:
            names[self.judge.name] = "token_classify"
        if self.embedder is not None:
            names[self.embedder.name] = "embed"
        object.__setattr__(self, "names", names)

    def check(self, name: str | None, task: str, route: str) -> str:
        """The name of the model for a task; a request may leave it out. Raises RequestError for one that is not
        served, or serves another task.
        """
        mine = next((one for one, its in self.names.items() if its == task), None)
        if mine is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"this server has no model for {route}: start it with one")
        if name is not None:
            self.check_name(name)
        if name is not None and name != mine:
            raise bad_request(f"{name} is not for {route}: send 'model': {mine!r}", "model")
        return mine

    def check_name(self, name: str) -> None:
        """Raise RequestError for a name that no model has."""
        if name not in self.names:
            known = ", ".join(self.names)
            raise RequestError(HTTPStatus.NOT_FOUND, f"no model is called {name!r}; this server has: {known}", "model")

    def reader(self, name: str | None) -> tuple[Any, int]:
        """The tokenizer and the context of a model that reads text: the reward model where it is named, else the
        policy. Raises RequestError for a name that is neither's.
        """
        if self.judge is not None and name == self.judge.name:
            return self.judge.tokenizer, self.judge.context
        self.check(name, "generate", "/tokenize")
        return self.policy.tokenizer, self.policy.context

    def cards(self) -> list[dict[str, Any]]:
        """What `GET /v1/models` lists."""
        return [
            {
                "id": name,
                "object": "model",
                "created": self.started,
                "owned_by": "rollwise",
                "root": name,
                "parent": None,
                "task": task,
                "max_model_len": self._context(task),
            }
            for name, task in self.names.items()
        ]

    def _context(self, task: str) -> int:
        if task == "token_classify" and self.judge is not None:
            return self.judge.context
        if task == "embed" and self.embedder is not None:
            return self.embedder.context
        return self.policy.context
