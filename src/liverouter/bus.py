"""The way of an event from whoever emits it to whoever observes."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.events import Event, Observer


class Bus:
    """Hands every event to every observer, in the order of emission, from whichever thread emits.

    An observer that raises is not allowed to hurt the engine: its error is handed to *on_error* once per observer.
    """

    def __init__(self, *observers: Observer, on_error: Callable[[Observer, Exception], None] | None = None) -> None:
        """Start with *observers*."""
        self._observers: tuple[Observer, ...] = observers
        self._lock = threading.RLock()  # one emission at a time, so that every observer hears events in one order
        self._on_error = on_error
        self._complained: set[int] = set()

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Add *observer*; the returned function removes it."""
        with self._lock:
            self._observers = (*self._observers, observer)
        return functools.partial(self.unsubscribe, observer)

    def unsubscribe(self, observer: Observer) -> None:
        """Remove *observer*; harmless where it is not there."""
        with self._lock:
            self._observers = tuple(o for o in self._observers if o is not observer)

    def emit(self, event: Event) -> None:
        """Hand *event* to every observer; never raises."""
        with self._lock:
            for observer in self._observers:
                try:
                    observer(event)
                except Exception as exc:  # noqa: BLE001 - a user's callback; its first error is told, the engine goes on
                    if id(observer) not in self._complained and self._on_error is not None:
                        self._complained.add(id(observer))
                        with contextlib.suppress(Exception):  # most often it is the log that failed, and fails again
                            self._on_error(observer, exc)
