"""The models that a server serves, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from rollwise.engines.local import LocalPolicy, Prefixes
from rollwise.model_server.embedding import Embedder
from rollwise.model_server.step_scores import StepScorer
from rollwise.openai_format import RequestError, bad_request


@dataclass(frozen=True)
class Models:
    """A policy called `name`, and, if they are served, a reward model (`scorer`) and an embedder.

    `prefixes` is what the policy keeps between requests; `started` is the time of the start in seconds since 1970;
    `tasks` maps each model's name to its task: "generate", "token_classify" or "embed".
    """

    name: str
    policy: LocalPolicy
    prefixes: Prefixes
    scorer: StepScorer | None = None
    embedder: Embedder | None = None
    started: int = 0
    tasks: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        tasks = {self.name: "generate"}
        if self.scorer is not None:
            tasks[self.scorer.name] = "token_classify"
        if self.embedder is not None:
            tasks[self.embedder.name] = "embed"
        object.__setattr__(self, "tasks", tasks)

    def model_for(self, task: str, name: str | None, route: str) -> str:
        """The name of the model for a task. A request may leave the name out.

        Raises RequestError if no model has the task, or if the request names another model.
        """
        model = next((known for known, its_task in self.tasks.items() if its_task == task), None)
        if model is None:
            raise RequestError(
                HTTPStatus.NOT_FOUND, f"this server has no model for {route}: start it with such a model"
            )
        if name is not None:
            self.check_name(name)
        if name is not None and name != model:
            raise bad_request(f"{name} is not for {route}: send 'model': {model!r}", "model")
        return model

    def check_name(self, name: str) -> None:
        """Raise RequestError if no model has this name."""
        if name not in self.tasks:
            known = ", ".join(self.tasks)
            raise RequestError(HTTPStatus.NOT_FOUND, f"no model is called {name!r}; this server has: {known}", "model")

    def tokenizer_and_context(self, name: str | None) -> tuple[Any, int]:
        """The tokenizer and the context of the reward model if a request names it, else of the policy. Raises
        RequestError for any other name.
        """
        if self.scorer is not None and name == self.scorer.name:
            return self.scorer.tokenizer, self.scorer.context
        self.model_for("generate", name, "/tokenize")
        return self.policy.tokenizer, self.policy.context

    def cards(self) -> list[dict[str, Any]]:
        """The entries of `GET /v1/models`."""
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
            for name, task in self.tasks.items()
        ]

    def _context(self, task: str) -> int:
        if task == "token_classify" and self.scorer is not None:
            return self.scorer.context
        if task == "embed" and self.embedder is not None:
            return self.embedder.context
        return self.policy.context
