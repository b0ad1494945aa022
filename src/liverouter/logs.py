"""Events to the application's log: to stdlib's `logging` or structlog, whichever it configured, else to standard error.

Where a line goes is decided line by line, so that an application may configure its log whenever it likes. Nothing
global is configured here, and no logger of the standard library is made before the application has handlers: its
`logging.config.dictConfig` would switch that off.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from liverouter.bus import Bus
from liverouter.events import Event, Observer, ReadFailed
from liverouter.secrecy.printable import printable_values
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

    from liverouter.events import Level

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_ROOT: Final = "liverouter"
_AREAS: Final = {  # noun of an event -> what follows in the logger's name; the others are the root's
    "call": "calls",
    "deployment": "calls",
    "history": "calls",
    "config": "config",
    "generation": "config",
    "reload": "config",
    "database": "listener",
    "listener": "listener",
}
_TAKEN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}  # attributes of a LogRecord


class Log:
    """Writes lines, each an event's name and its facts, to where the application's own lines go at that moment.

    1. To the logger ``liverouter.config`` (``.listener``, ``.calls``, or ``liverouter`` itself), where ``liverouter``
       or that one has handlers. The facts are the record's attributes; its text has them as well.
    2. To the structlog logger of that name, where the application configured structlog.
    3. To that logger of the standard library, where the root logger has handlers.
    4. To standard error, readable on a terminal, else as JSON, from the level LIVEROUTER_LOG_LEVEL on (info).

    A level that was set on ``liverouter``, or on the one below, holds for all four.
    """

    def debug(self, event: str, **facts: Any) -> None:
        """Write a line at level debug."""
        self._write("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        """Write a line at level info."""
        self._write("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Write a line at level warning."""
        self._write("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Write a line at level error."""
        self._write("error", event, facts)

    def _write(self, level: Level, event: str, facts: dict[str, Any]) -> None:
        """Write one line."""
        area = _AREAS.get(event.partition(".")[0])
        name = f"{_ROOT}.{area}" if area else _ROOT
        own, structlog = list(_loggers_of(name)), _structlog()
        is_configured = structlog is not None and structlog.is_configured()
        if any(logger.handlers for logger in own) or (logging.root.handlers and not is_configured):
            _to_stdlib(logging.getLogger(name), _LEVELS[level], event, facts)
            return
        least = next((logger.level for logger in own if logger.level), None)
        if is_configured:
            if _LEVELS[level] >= (least or 0):
                getattr(structlog.get_logger(name), level)(event, **facts)
        elif _LEVELS[level] >= (least or _LEVELS.get(os.environ.get("LIVEROUTER_LOG_LEVEL", "").lower(), logging.INFO)):
            if _is_terminal():
                getattr(_to_terminal(colors="NO_COLOR" not in os.environ), level)(event, **facts)
            else:
                bound = structlog.contextvars.get_contextvars() if structlog is not None else {}
                _to_file({**bound, **facts, "event": event, "level": level})


def _structlog() -> Any:
    """Return the package structlog, None where nobody has imported it: then nobody has configured it either."""
    module = sys.modules.get("structlog")
    return module if hasattr(module, "wrap_logger") else None  # else another thread imports it now


def _loggers_of(name: str) -> Iterator[logging.Logger]:
    """Yield the logger *name* and the one above it, as far as somebody has made them."""
    known = logging.root.manager.loggerDict
    for each in dict.fromkeys((name, _ROOT)):
        if isinstance(logger := known.get(each), logging.Logger):
            yield logger


def _to_stdlib(logger: logging.Logger, level: int, event: str, facts: Mapping[str, Any]) -> None:
    """Hand ``event key=value …`` to *logger*; a fact whose name a record uses itself is its attribute ``name_``."""
    if logger.isEnabledFor(level):
        facts = printable_values(facts)
        extra = {f"{key}_" if key in _TAKEN else key: value for key, value in facts.items()}
        text = " ".join([event.replace("%", "%%"), *(f"{key}=%s" for key in facts)])
        logger.log(level, text, *facts.values(), extra={**extra, "event": event})


def _is_terminal() -> bool:
    """Tell whether standard error is a person's terminal."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, None
        return bool(sys.stderr.isatty())
    return False


def _to_file(line: Mapping[str, Any]) -> None:
    """Write *line* as JSON to standard error, with the time."""
    time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    stderr = _Stderr()
    stderr.write(json.dumps({**line, "timestamp": time}, default=str) + "\n")
    stderr.flush()


@functools.cache
def _to_terminal(*, colors: bool) -> Any:
    """Return the structlog logger that writes for people, whatever the application does with structlog."""
    import structlog  # with rich, a sixth of a second

    return structlog.wrap_logger(
        structlog.WriteLogger(_Stderr()),  # type: ignore[arg-type]  # only write and flush are used
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            _fit_for_a_terminal,
            structlog.dev.ConsoleRenderer(colors=colors),
        ],
        wrapper_class=structlog.BoundLogger,
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
        """Write to *log*, by default a `Log`."""
        self._log = log if log is not None else Log()

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
