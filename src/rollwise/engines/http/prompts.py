"""The prompts of one question at a server: the chat, rendered once, and the path that a completion continues."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rollwise.core import Path, Problem
from rollwise.engines import Prompting
from rollwise.engines.http import templates
from rollwise.engines.http.client import Endpoint, Fleet
from rollwise.engines.http.exchange import LostError
from rollwise.engines.http.servers import Server
from rollwise.engines.http.shapes import token_ids

Result = TypeVar("Result")


@dataclass(frozen=True)
class Start:
    """A question's prompt as text, as ids, or both."""

    text: str | None
    ids: tuple[int, ...] | None


class Prompts:
    """The prompts of one question. `seed` keys the waits between attempts."""

    def __init__(self, server: Server, fleet: Fleet, problem: Problem, prompting: Prompting, seed: int) -> None:
        self.server, self.fleet, self.problem = server, fleet, problem
        self.prompting, self.seed = prompting, seed
        self._ids: dict[str, tuple[int, ...]] = {}

    async def start(self) -> Start:
        """The question as a prompt. Raises LostError if the server refuses the chat or is lost."""
        if (text := self._plain_text()) is not None:
            return Start(text, await self._plain_ids(text))
        chat = self.prompting.chat(self.problem)
        quiet = self.server.thinking == "off"
        if self.server.tokenizer is not None:
            return self._start_from_tokenizer(self.server.tokenizer, chat, quiet)
        request = templates.chat_request(self.server.template, self.server.model, chat, quiet)
        prompt = await self._post("chat", request, functools.partial(templates.read_prompt, self.server.template))
        if not isinstance(prompt, str):
            return Start(None, prompt)
        return Start(prompt, await self._encoded(prompt, whole=True) if self.server.by_ids else None)

    def _plain_text(self) -> str | None:
        """The question as text that no chat template of the model renders; None if one does."""
        if self.server.tokenizer is None and self.server.template == "plain" and self.prompting.template is None:
            return self.prompting.plain(self.problem)
        return self.prompting.text(self.problem)

    async def _plain_ids(self, text: str) -> tuple[int, ...] | None:
        """The ids of such a text; None if the server takes none, or if nothing can encode the text."""
        if not self.server.by_ids or not (self.server.encodes or self.server.tokenizer):
            return None
        if self.server.tokenizer is not None:
            return templates.plain_ids(self.server.tokenizer, text)
        return await self._encoded(text, whole=True, plain=True)

    def _start_from_tokenizer(self, tokenizer: str, chat: templates.Messages, quiet: bool) -> Start:
        text = templates.local_prompt(tokenizer, chat, quiet)
        if self.server.by_ids:
            return Start(text, templates.local_ids(tokenizer, text))
        return Start(templates.without_start_token(tokenizer, text), None)

    async def continued(self, start: Start, path: Path) -> templates.Prompt:
        """The question and the path, as ids if the server accepts them, else as text."""
        if start.ids is None or not self.server.by_ids:
            return f"{start.text or ''}{path.text}"
        steps = [step.ids or await self._encoded(step.text, whole=False) for step in path.steps]
        return (*start.ids, *itertools.chain.from_iterable(steps))

    async def _encoded(self, text: str, whole: bool, plain: bool = False) -> tuple[int, ...]:
        """The ids of a text. Raises LostError if neither a tokenizer nor the server can encode it."""
        server = self.server
        if server.tokenizer is not None:
            return templates.local_ids(server.tokenizer, text)
        if not server.encodes:
            raise LostError("the ids of this path are not known, and the server has no route that turns text into ids")
        if text not in self._ids:
            request = templates.encode_request(server.native, server.model, text, whole, plain)
            self._ids[text] = await self._post("ids", request, token_ids)
        return self._ids[text]

    async def _post(self, purpose: str, request: templates.Request, read: Callable[[Any], Result]) -> Result:
        """The result of `read` for the reply; a reply that `read` finds broken is retried. Raises LostError."""
        path, body = request

        async def attempt(endpoint: Endpoint, seconds: float) -> Result:
            return read(await self.fleet.post(endpoint, path, body, seconds))

        return await self.fleet.ask(self.problem.id, (self.seed, self.problem.id, purpose), attempt)
