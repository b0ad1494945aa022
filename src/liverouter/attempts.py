"""What one call tried, so that its answer can say who served it and its error who failed. Pure.

A Router picks, retries and fails over inside one call; the call's record is found by a context variable, because that
is the only thing litellm hands through every path.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Attempts:
    """The record of one call."""

    began_at: float = field(default_factory=time.monotonic)  # of the newest attempt, monotonic seconds
    count: int = 0  # attempts begun, the successful one included
    served_by: str = ""  # the Router's id of the deployment that answered; "" while none has
    failed: list[tuple[str, Exception]] = field(default_factory=list)  # in order: the Router's id, its error

    def served(self, identifier: str) -> None:
        """Note that *identifier* answers."""
        self.count += 1
        self.served_by = identifier

    def fail(self, identifier: str, error: Exception) -> None:
        """Note that an attempt at *identifier* ended in *error*."""
        self.count += 1
        self.failed.append((identifier, error))


_current: ContextVar[Attempts | None] = ContextVar("liverouter_attempts", default=None)


def record() -> Attempts:
    """Begin a call's record in the current context and return it."""
    attempts = Attempts()
    _current.set(attempts)
    return attempts


def current() -> Attempts | None:
    """Return the record of the call that is being made here, None outside of one."""
    return _current.get()


def describe(error: BaseException) -> str:
    """Return an error's class, status and text on one line: what an operator wants to know of a failed attempt."""
    name, text = type(error).__name__, " ".join(str(error).split())
    for prefix in (f"litellm.{name}: ", f"{name}: "):
        text = text.removeprefix(prefix)
    status = getattr(error, "status_code", None)
    return f"{name} {status}: {text}" if status else f"{name}: {text}"
