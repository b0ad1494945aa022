"""Waits, with a bound, for what another process or thread will do and no event tells of."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_PAUSE_S = 0.01


def until(ask: Callable[[], T], timeout_s: float = 60.0, what: str = "", *, pause_s: float = _PAUSE_S) -> T:
    """Return the first true answer of *ask*, with *pause_s* seconds between one and the next.

    Raises:
        TimeoutError: none came in time; carries the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what or ask} after {timeout_s:g} s; the last answer was {answer!r}")
        time.sleep(pause_s)
    return answer


async def until_async(ask: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until *ask*, a function or a coroutine function, answers something true; the loop stays free."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = ask()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(_PAUSE_S)
