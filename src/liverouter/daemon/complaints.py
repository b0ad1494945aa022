"""What asyncio and uvicorn complain of, in our log: each complaint once a minute, on one line, masked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVERY_S: Final = 60.0
_MAX_KINDS: Final = 100  # beyond them, all others count as one
_FORGOTTEN_S: Final = 3600.0  # after which a kind that was not said makes room for another
_LOGGERS: Final = {"uvicorn.error": "http.complained", "asyncio": "asyncio.complained"}
_MOST_READ: Final = 2000  # characters of a complaint
_NUMBERS: Final = re.compile(r"0x[0-9a-f]{1,16}|\d{1,20}")


def one_line(text: str) -> str:
    """Return what *text* says, masked and without any character that a terminal would obey."""
    shown = mask(text[:_MOST_READ])
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


class Complaints:
    """Writes complaints to *log*; for any thread. A line that stands for several says so by `times`."""

    def __init__(self, log: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing said."""
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}  # when a kind was last said, and how often not since

    def say(self, event: str, text: str, exc: BaseException | None = None, *, level: str = "warning") -> None:
        """Write *text* and what *exc* is, unless the same was said within a minute: then count it."""
        first = text[:_MOST_READ].strip().partition("\n")[0]
        kind = _NUMBERS.sub("#", f"{event} {first} {type(exc).__name__ if exc else ''}")
        with self._lock:
            now = self._clock()
            if kind not in self._said and len(self._said) >= _MAX_KINDS:
                self._said = {name: said for name, said in self._said.items() if now < said[0] + _FORGOTTEN_S}
                if len(self._said) >= _MAX_KINDS:
                    kind = event
            last, unsaid = self._said.get(kind, (None, 0))
            if last is not None and now < last + _EVERY_S:
                self._said[kind] = (last, unsaid + 1)
                return
            self._said[kind] = (now, 0)
        message = one_line(first + (f": {type(exc).__name__}: {exc}".removesuffix(": ") if exc else ""))
        getattr(self._log, level)(event, message=message, **({"times": unsaid + 1} if unsaid else {}))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Be the one whom the running loop, asyncio and uvicorn complain to."""
        loop = asyncio.get_running_loop()
        former = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: self._take(context))
        with contextlib.ExitStack() as stack:
            stack.callback(loop.set_exception_handler, former)
            for name, event in _LOGGERS.items():
                stack.enter_context(_diverted(logging.getLogger(name), _Handler(event, self)))
            yield

    def _take(self, context: dict[str, Any]) -> None:
        """Say what the loop's *context* is about, and none of the objects in it: they show what a request held."""
        self.say("asyncio.complained", str(context.get("message") or "an error"), context.get("exception"))


class _Handler(logging.Handler):
    """Hands the records of one logger on, without their tracebacks: one could show what a request held."""

    def __init__(self, event: str, complaints: Complaints) -> None:
        super().__init__(logging.WARNING)
        self._event, self._complaints = event, complaints

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        exc = record.exc_info[1] if record.exc_info else None
        self._complaints.say(self._event, record.getMessage(), exc)


@contextlib.contextmanager
def _diverted(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    former, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = former
