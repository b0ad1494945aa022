"""Who may use the API: one admin token, sent with each request or traded for a session that this process keeps.

Reads the token from the environment, a file or the data folder. Knows nothing of HTTP but the cookie header.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections import OrderedDict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from liverouter.daemon.addresses import visitor
from liverouter.errors import OptionsError
from liverouter.secrecy.private_file import keep, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

COOKIE: Final = "liverouter_session"
SESSION_S: Final = 12 * 3600
MAX_FAILURES: Final = 10  # wrong tokens that one visitor may send within WINDOW_S
WINDOW_S: Final = 60.0
_MIN_LENGTH: Final = 16  # characters of a token
_MAX_LENGTH: Final = 1000
_MAX_VISITORS: Final = 10_000
_MAX_SESSIONS: Final = 1000
_EVERYBODY_ELSE: Final = "*"  # the visitor that all beyond _MAX_VISITORS count as
_TOKEN: Final = re.compile(r"[!-~]+")  # what every client can write into a header
_MAKE_ONE: Final = "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


def admin_token(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token of LIVEROUTER_ADMIN_TOKEN or the file that LIVEROUTER_ADMIN_TOKEN_FILE names; None without one.

    Raises:
        OptionsError: the file cannot be read or is empty; whoever names one wants a token to be asked for. Or the token
            is too short, or a header cannot carry it.
    """
    environ = os.environ if environ is None else environ
    if token := environ.get("LIVEROUTER_ADMIN_TOKEN", "").strip():
        return _checked(token, "LIVEROUTER_ADMIN_TOKEN")
    if not (path := environ.get("LIVEROUTER_ADMIN_TOKEN_FILE", "").strip()):
        return None
    where, hint = "LIVEROUTER_ADMIN_TOKEN_FILE", "Name a text file that this user may read, with the token in it"
    try:
        with Path(path).open(encoding="utf-8") as file:
            token = file.read(_MAX_LENGTH + 2).strip()
    except (OSError, ValueError) as exc:
        raise OptionsError(f"the file cannot be read: {type(exc).__name__}", where=where, hint=hint) from exc
    if not token:
        raise OptionsError("the file is empty", where=where, hint=hint)
    return _checked(token, where)


def kept_token(path: Path) -> str:
    """Return the token that the file at *path* keeps, in a data folder; both are made on first use.

    Raises:
        OptionsError: it cannot be kept there, or others than this user may read the file.
    """
    try:
        make_folder(path.parent)
        token = keep(path, lambda: secrets.token_urlsafe(32))
    except OSError as exc:
        raise OptionsError(
            f"no token is given, and none can be kept in {path.parent}: {exc.strerror or exc}",
            where="LIVEROUTER_ADMIN_TOKEN",
            hint="Set LIVEROUTER_ADMIN_TOKEN (or …_FILE), or name a folder that this user may fill: --data-dir",
        ) from exc
    return _checked(token, str(path))


def _checked(token: str, where: str) -> str:
    """Return *token*, read from *where*.

    Raises:
        OptionsError: it is too short, too long, or no word of printable ASCII; the text does not repeat the token.
    """
    if len(token) < _MIN_LENGTH:
        raise OptionsError(f"the token is shorter than {_MIN_LENGTH} characters", where=where, hint=_MAKE_ONE)
    if len(token) > _MAX_LENGTH or not _TOKEN.fullmatch(token):
        message = (
            f"the token is not one word of at most {_MAX_LENGTH} ASCII characters, which is what a header can carry"
        )
        raise OptionsError(message, where=where, hint=_MAKE_ONE)
    return token


class AdminToken:
    """Compares tokens in constant time, and keeps the sessions that the right one was traded for.

    A session is a random number that this process remembers. It ends after SESSION_S, at sign-out, and with the
    process. For one event loop.

    Attributes:
        required: whether a token or a session is needed at all.
    """

    def __init__(self, token: str | None, *, clock: Callable[[], float] = time.time) -> None:
        """Admit *token*; with None nothing is asked for. *clock* gives Unix time in seconds.

        Raises:
            ValueError: the token is empty.
        """
        if token == "":
            raise ValueError("an empty token guards nothing")
        self.required = token is not None
        self._digest = _digest(secrets.token_hex() if token is None else token)
        self._clock = clock
        # digest of the cookie's value -> when the session ends; oldest first
        self._sessions: OrderedDict[bytes, float] = OrderedDict()

    def admits(self, token: str) -> bool:
        """Tell whether *token* is the admin token."""
        return hmac.compare_digest(_digest(token), self._digest)

    def new_session(self) -> str:
        """Return the cookie's value of a new session, which lasts SESSION_S seconds.

        Where there are _MAX_SESSIONS already, the oldest one ends.
        """
        now, value = self._clock(), secrets.token_urlsafe(32)
        while self._sessions and (len(self._sessions) >= _MAX_SESSIONS or next(iter(self._sessions.values())) <= now):
            self._sessions.popitem(last=False)
        self._sessions[_digest(value)] = now + SESSION_S
        return value

    def knows(self, cookie_header: str) -> bool:
        """Tell whether *cookie_header* carries a session of ours that has not ended."""
        now = self._clock()
        return any(self._sessions.get(digest, 0) > now for digest in _sessions_in(cookie_header))

    def end_session(self, cookie_header: str) -> None:
        """End the sessions that *cookie_header* carries, for every copy of it."""
        for digest in _sessions_in(cookie_header):
            self._sessions.pop(digest, None)


class LoginLimiter:
    """Counts wrong tokens per visitor, so that whoever guesses is refused. Asked about wrong tokens alone.

    For one event loop.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a failure; *clock* gives seconds that never go back."""
        self._clock = clock
        # visitor -> when each of its newest failures was; who failed last comes last
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Return for how many seconds wrong tokens from *address* are refused uncounted; 0 when they are counted."""
        failures = self._failures.get(self._counted_as(address))
        if failures is None or len(failures) < MAX_FAILURES:
            return 0.0
        return max(0.0, failures[0] + WINDOW_S - self._clock())

    def add_failure(self, address: str) -> None:
        """Count one wrong token from *address*."""
        now = self._clock()
        while self._failures and next(iter(self._failures.values()))[-1] + WINDOW_S <= now:
            self._failures.popitem(last=False)
        name = self._counted_as(address)
        self._failures.setdefault(name, deque(maxlen=MAX_FAILURES)).append(now)
        self._failures.move_to_end(name)

    def _counted_as(self, address: str) -> str:
        """Return the visitor behind *address*; new ones beyond _MAX_VISITORS count as one."""
        name = visitor(address)
        return name if name in self._failures or len(self._failures) < _MAX_VISITORS else _EVERYBODY_ELSE


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _sessions_in(cookie_header: str) -> Iterator[bytes]:
    """Yield the digest of each cookie of our name; an application on another port of this host may set one, too."""
    # Not by the standard library's parser, which stops at the first cookie that it finds malformed.
    for part in cookie_header.split(";"):
        name, _, value = part.partition("=")
        if name.strip() == COOKIE:
            yield _digest(value.strip())
