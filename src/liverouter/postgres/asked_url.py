"""A database URL that a function or a file gives, asked for anew at every connect: for passwords that expire."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from liverouter.errors import DatabaseError, LiveRouterError, OptionsError
from liverouter.loops.wakeup import call_soon
from liverouter.postgres.dsn import Dsn

if TYPE_CHECKING:
    from pathlib import Path

UrlFunction: TypeAlias = Callable[[], str | Awaitable[str]]


@dataclass(frozen=True, slots=True)
class UrlFile:
    """A function that returns what a file holds; the whole file is one URL.

    Attributes:
        path: of the file.
        variable: the environment variable that names it.
    """

    path: Path
    variable: str

    def __call__(self) -> str:
        """Return the URL.

        Raises:
            OptionsError: the file cannot be read.
        """
        try:
            return self.path.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise OptionsError(
                f"{self.path} cannot be read: {type(exc).__name__}",
                where=self.variable,
                hint="Name a text file that this user may read, and that holds the URL",
            ) from exc


class AskedUrl:
    """A database whose URL a function gives, whenever a connection is opened; may be used from any thread.

    Args:
        function: returns the URL, or an awaitable of it. It runs in a thread of its own, as it may block, and again for
            each connect: let it keep what is costly to make.
        where: what the function is to the user, for errors.

    Attributes:
        without_password: ``host:port/name`` as the last answer had it; empty before the first.
        ignored, connect_timeout_s: of the last answer, as of `Dsn`.
        told: called with each answer, before it is used, on the loop that connects.
    """

    def __init__(self, function: UrlFunction, where: str = "database_url") -> None:
        self._function, self._where = function, where
        self.without_password = ""
        self.ignored: tuple[str, ...] = ()
        self.connect_timeout_s = 0.0
        self.told: Callable[[Dsn], None] = lambda _: None

    def __repr__(self) -> str:
        """Name the database, as far as it is known."""
        return f"AskedUrl(without_password={self.without_password!r})"

    async def ask(self, timeout_s: float) -> Dsn:
        """Return the database that the function names now, within *timeout_s* seconds.

        Raises:
            DatabaseError: it raised, took too long, or returned no PostgreSQL URL (LR201). Nothing of what it said is
                repeated, as that may hold the password.
        """
        hint = "Mend it: it has to return a URL, postgresql://user:password@host:5432/name"
        failure = ""
        try:
            async with asyncio.timeout(timeout_s):
                answer = await _in_thread(self._function)
                url = await answer if inspect.isawaitable(answer) else answer
                dsn = Dsn.parse(_text(url), self._where)
        except LiveRouterError as exc:
            failure, hint = exc.message, exc.hint
        except TimeoutError:
            failure = f"{self._where} gave no URL within {timeout_s:g} s"
        except Exception as exc:  # noqa: BLE001 - the user's function may raise anything
            failure = f"{self._where} gave no URL: {type(exc).__name__}"
        else:
            self.without_password, self.ignored = dsn.without_password, dsn.ignored
            self.connect_timeout_s = dsn.connect_timeout_s
            self.told(dsn)
            return dsn
        raise DatabaseError(failure, code="LR201", where=self._where, hint=hint)


Url: TypeAlias = str | UrlFunction | Dsn | AskedUrl


def as_database(url: Url) -> Dsn | AskedUrl:
    """Return the database that *url* names, a URL or what gives one.

    Raises:
        OptionsError: a URL cannot be read.
    """
    if isinstance(url, Dsn | AskedUrl):
        return url
    if isinstance(url, UrlFile):
        return AskedUrl(url, url.variable)
    return AskedUrl(url) if callable(url) else Dsn.parse(url)


def _text(answer: object) -> str:
    """Return *answer*, which has to be text; a TypeError else."""
    if not isinstance(answer, str):
        raise TypeError
    return answer


async def _in_thread(function: UrlFunction) -> str | Awaitable[str]:
    """Return what *function* returns, or raise what it raises, from a thread that holds up no end of the process."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[str | Awaitable[str]] = loop.create_future()

    def settle(result: str | Awaitable[str] | None, failure: Exception | None) -> None:
        if answered.done():  # nobody waits any more
            return
        if failure is not None:
            answered.set_exception(failure)
        else:
            answered.set_result(result)  # type: ignore[arg-type]  # None is told by `_text`

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as exc:  # noqa: BLE001 - carried over to the loop, whatever it is
            failure = RuntimeError() if isinstance(exc, StopIteration) else exc  # no future takes that one
        call_soon(loop, settle, result, failure)

    threading.Thread(target=run, name="liverouter-url", daemon=True).start()
    return await answered
