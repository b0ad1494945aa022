"""Who may use the API: one admin token, sent with each request or traded for a session that this process keeps."""

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
TRIES: Final = 10  # wrong tokens that one visitor may send within WINDOW_S
WINDOW_S: Final = 60.0
SHORTEST: Final = 16  # characters of a token
LONGEST: Final = 1000
_MAX_VISITORS: Final = 10_000
_MAX_SESSIONS: Final = 1000
_EVERYBODY_ELSE: Final = "*"
_TOKEN: Final = re.compile(r"[!-~]+")  # what every client can write into a header
_MAKE_ONE: Final = "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


def admin_token(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token of LIVEROUTER_ADMIN_TOKEN or the file that LIVEROUTER_ADMIN_TOKEN_FILE names; None without one.

    Raises:
        OptionsError: the file cannot be read, or is empty: who names one wants to be asked for a token. Or the token
            can be guessed, or not be sent.
    """
    environ = os.environ if environ is None else environ
    if token := environ.get("LIVEROUTER_ADMIN_TOKEN", "").strip():
        return _checked(token, "LIVEROUTER_ADMIN_TOKEN")
    if not (path := environ.get("LIVEROUTER_ADMIN_TOKEN_FILE", "").strip()):
        return None
    where, hint = "LIVEROUTER_ADMIN_TOKEN_FILE", "Name a text file that this user may read, with the token in it"
    try:
        with Path(path).open(encoding="utf-8") as file:
            token = file.read(LONGEST + 2).strip()
    except (OSError, ValueError) as exc:
        raise OptionsError(f"the file cannot be read: {type(exc).__name__}", where=where, hint=hint) from exc
    if not token:
        raise OptionsError("the file is empty", where=where, hint=hint)
    return _checked(token, where)


def kept_token(path: Path) -> str:
    """Return the token that the file at *path* keeps, in a data folder; both are made on first use.

    Raises:
        OptionsError: it cannot be kept there, or the file is not this user's alone.
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
    """Return *token*, which no error repeats."""
    if len(token) < SHORTEST:
        raise OptionsError(f"the token is shorter than {SHORTEST} characters", where=where, hint=_MAKE_ONE)
    if len(token) > LONGEST or not _TOKEN.fullmatch(token):
        message = f"the token is not one word of at most {LONGEST} ASCII characters, which is what a header can carry"
        raise OptionsError(message, where=where, hint=_MAKE_ONE)
    return token


class AdminToken:
    """Compares tokens in constant time, and keeps the sessions that were bought with the right one.

    A session is a random number that this process remembers: it ends with its time, at sign-out, and with the process.
    """

    def __init__(self, token: str | None, *, clock: Callable[[], float] = time.time) -> None:
        """Guard with *token*; with None everything is open.

        Raises:
            ValueError: the token is empty.
        """
        if token == "":
            raise ValueError("an empty token guards nothing")
        self.closed = token is not None
        self._digest = _digest(secrets.token_hex() if token is None else token)
        self._clock = clock
        self._sessions: OrderedDict[bytes, float] = OrderedDict()  # end by digest of the cookie's value, oldest first

    def admits(self, token: str) -> bool:
        """Tell whether *token* is the admin token."""
        return hmac.compare_digest(_digest(token), self._digest)

    def new_session(self) -> str:
        """Return the value of a session cookie that lasts SESSION_S seconds; of too many sessions, the oldest ends."""
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
    """Counts wrong tokens per visitor, so that who guesses is refused; who is right never is. For one event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a failure."""
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()  # times by visitor, least recent first

    def wait_s(self, address: str) -> float:
        """Return for how many seconds wrong tokens from *address* are not even counted; 0 when they are."""
        failures = self._failures.get(self._counted_as(address))
        if failures is None or len(failures) < TRIES:
            return 0.0
        return max(0.0, failures[0] + WINDOW_S - self._clock())

    def add_failure(self, address: str) -> None:
        """Count one wrong token from *address*."""
        now = self._clock()
        while self._failures and next(iter(self._failures.values()))[-1] + WINDOW_S <= now:
            self._failures.popitem(last=False)
        name = self._counted_as(address)
        self._failures.setdefault(name, deque(maxlen=TRIES)).append(now)
        self._failures.move_to_end(name)

    def _counted_as(self, address: str) -> str:
        """Return the visitor behind *address*; those of whom there are too many count as one."""
        name = visitor(address)
        return name if name in self._failures or len(self._failures) < _MAX_VISITORS else _EVERYBODY_ELSE


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _sessions_in(cookie_header: str) -> Iterator[bytes]:
    """Yield the digest of each session cookie: other ports of this host may have set some of that name, too."""
    # not the standard library's parser: it gives up at a cookie that another application of this host spelt its way
    for part in cookie_header.split(";"):
        name, _, value = part.partition("=")
        if name.strip() == COOKIE:
            yield _digest(value.strip())
