"""Events to structlog: one line per fact, JSON unless a person looks at a terminal. Configures nothing global."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from liverouter.bus import Bus
from liverouter.events import Event, Observer, ReadFailed
from liverouter.secrecy.printable import printable_values
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def logger() -> Any:
    """Return the application's structlog logger where it configured one, else our own on standard error.

    `LIVEROUTER_LOG_LEVEL` (debug, info, warning, error) filters ours; the default is info.
    """
    if structlog.is_configured():
        return structlog.get_logger("liverouter")
    terminal = sys.stderr.isatty()
    level = _LEVELS.get(os.environ.get("LIVEROUTER_LOG_LEVEL", "info").lower(), logging.INFO)
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ)
        if terminal
        else structlog.processors.JSONRenderer(default=str)
    )
    return structlog.wrap_logger(
        structlog.WriteLogger(_Stderr()),  # type: ignore[arg-type]  # only write and flush are used
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
            *([_fit_for_a_terminal] if terminal else []),  # JSON escapes by itself
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )


def _fit_for_a_terminal(_log: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Return *event* with every text printable: a provider's error may hold escape sequences. A structlog processor."""
    return {name: printable_values(value) for name, value in event.items()}


class _Stderr:
    """Standard error as it is when something is written; what cannot be written is dropped.

    Tests and daemons replace `sys.stderr`, and it is closed when a process exits.
    """

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a full disk, closed, None
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()


class LogObserver:
    """Writes each event as a log line ``noun.past_verb key=value …`` at the event's level."""

    def __init__(self, log: Any = None) -> None:
        """Write to *log*, by default `logger()`."""
        self._log = log if log is not None else logger()

    def __call__(self, event: Event) -> None:
        """Write *event*; of a database that stays away, the 1st, 2nd, 4th, 8th, … failed read."""
        if isinstance(event, ReadFailed) and event.attempt & (event.attempt - 1):
            return
        facts = printable_values(event.facts())  # an application's own log may write them to a terminal as they are
        getattr(self._log, event.level)(event.name, **facts)


def logging_bus(*observers: Observer, log: LogObserver | None = None) -> Bus:
    """Return a Bus that logs, then tells *observers*; one that raises is logged once and stays subscribed."""
    log = log or LogObserver()

    def complain(observer: Observer, exc: Exception) -> None:
        target = getattr(observer, "__qualname__", type(observer).__name__)
        log._log.error("observer.failed", observer=target, error=brief(exc))  # noqa: SLF001 - of this module

    return Bus(log, *observers, on_error=complain)
