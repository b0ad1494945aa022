"""Waiting for what happened instead of sleeping."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from liverouter.events import Event

E = TypeVar("E", bound="Event")


class EventLog:
    """An observer that keeps every event and lets a test wait for one. Thread-safe.

    >>> events = EventLog()
    >>> live = LiveRouter(database_url=dsn, observers=(events,))     # doctest: +SKIP
    >>> events.wait_for(ConfigApplied, revision=7)                   # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = threading.Condition(threading.RLock())

    def __call__(self, event: Event) -> None:
        """Keep *event*."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def of(self, kind: type[E], **fields: Any) -> list[E]:
        """Return the events of *kind* so far whose attributes equal *fields*, oldest first."""
        with self._changed:
            return [e for e in self._events if isinstance(e, kind) and _matches(e, fields)]

    def wait_for(self, kind: type[E], *, timeout_s: float = 60.0, count: int = 1, **fields: Any) -> E:
        """Return the *count*-th event of *kind* whose attributes equal *fields*, waiting up to *timeout_s* seconds.

        Raises:
            TimeoutError: it did not happen; lists what did.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            while len(found := self.of(kind, **fields)) < count:
                if not self._changed.wait(end - time.monotonic()):
                    names = ", ".join(e.name for e in self._events) or "nothing"
                    wanted = f"{kind.__name__}({', '.join(f'{k}={v!r}' for k, v in fields.items())})"
                    raise TimeoutError(f"{wanted} did not happen within {timeout_s:g} s; what did: {names}")
            return found[count - 1]


def _matches(event: Event, fields: dict[str, Any]) -> bool:
    """Whether *event* has every one of *fields* with that value."""
    return all(getattr(event, name, None) == value for name, value in fields.items())
