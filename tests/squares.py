"""What the workers of a cluster do in tests: a module of its own, because they have to import it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from rollwise.errors import InputError


def squares(folder: Path, seconds: float) -> Callable[[int], Awaitable[int]]:
    """A worker that notes its start. It squares numbers, fails on 13, and dies on 666."""
    (folder / f"worker-{os.getpid()}").touch()

    async def square(number: int) -> int:
        await asyncio.sleep(seconds)
        if number == 13:
            raise ValueError("bad luck")
        if number == 666:
            with (folder / "deaths").open("a") as deaths:
                deaths.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2

    return square


def unprepared() -> Callable[[int], Awaitable[int]]:
    raise InputError("the belief is missing")
