"""Answers that several callers wait for: equal questions are asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class Shared(Generic[Question, Answer]):
    """Calls `ask` once for each question and gives the answer to every caller, until it is forgotten."""

    def __init__(self, ask: Callable[[Question], Awaitable[Answer]]) -> None:
        self._ask = ask
        self._asked: dict[Question, asyncio.Future[Answer]] = {}

    async def get(self, question: Question) -> Answer:
        """The answer. Raises what `ask` raises."""
        if question not in self._asked:
            self._asked[question] = asyncio.ensure_future(self._ask(question))
        return await asyncio.shield(self._asked[question])  # a caller that is cancelled does not cancel the others

    def forget(self) -> None:
        """Forget the answers that have arrived."""
        self._asked = {question: answer for question, answer in self._asked.items() if not answer.done()}

    async def close(self) -> None:
        """Cancel the calls that still run."""
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            answer.cancel()
        await asyncio.gather(*asked.values(), return_exceptions=True)
