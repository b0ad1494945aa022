"""What asyncio and uvicorn complain of, in our log: each kind once a minute, on one line, masked.

Two complaints are of one kind where they differ in numbers and addresses alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from liverouter.secrecy.redaction import brief, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVERY_S: Final = 60.0  # between two lines of one kind
_MAX_KINDS: Final = 100  # further ones count as one kind per event
_FORGOTTEN_S: Final = 3600.0  # after its last line a kind makes room for another
_LOGGERS: Final = {"uvicorn.error": "http.complained", "asyncio": "asyncio.complained"}  # logger -> our event
_MOST_READ: Final = 2000  # characters of a complaint
_NUMBERS: Final = re.compile(r"0x[0-9a-f]{1,16}|\d{1,20}")


def one_line(text: str) -> str:
    """Return the first _MOST_READ characters of *text*, masked, with what is not printable escaped."""
    shown = mask(text[:_MOST_READ])
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


class Complaints:
    """Writes complaints to a log; for any thread. A line that stands for several says so by `times`."""

    def __init__(self, log: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to *log*, a `logs.Log`; *clock* gives seconds that never go back."""
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        # kind -> when its last line was written, and how many complaints came since that none was written for
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, event: str, text: str, exc: BaseException | None = None, *, level: str = "warning") -> None:
        """Write the first line of *text*, and *exc*; where a line of this kind is younger than a minute, count it."""
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
        message = one_line(first + (f": {brief(exc)}" if exc else ""))
        getattr(self._log, level)(event, message=message, **({"times": unsaid + 1} if unsaid else {}))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take what the running loop, asyncio's logger and uvicorn's logger complain of, instead of who did before."""
        loop = asyncio.get_running_loop()
        former = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: self._take(context))
        with contextlib.ExitStack() as stack:
            stack.callback(loop.set_exception_handler, former)
            for name, event in _LOGGERS.items():
                stack.enter_context(_diverted(logging.getLogger(name), _Handler(event, self)))
            yield

    def _take(self, context: dict[str, Any]) -> None:
        """Say message and exception of the loop's *context*; the repr of its other objects may hold a secret."""
        self.say("asyncio.complained", str(context.get("message") or "an error"), context.get("exception"))


class _Handler(logging.Handler):
    """Hands the records of one logger on, without their tracebacks, which may hold a secret of a request."""

    def __init__(self, event: str, complaints: Complaints) -> None:
        super().__init__(logging.WARNING)
        self._event, self._complaints = event, complaints

    def emit(self, record: logging.LogRecord) -> None:
        """Say *record*."""
        exc = record.exc_info[1] if record.exc_info else None
        self._complaints.say(self._event, record.getMessage(), exc)


@contextlib.contextmanager
def _diverted(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    """Have *handler* take the records of *logger*, and the handlers of its parents not."""
    former, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = former
