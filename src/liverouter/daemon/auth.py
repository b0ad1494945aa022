"""Who may use the API: one admin token, sent with each request or traded for a session cookie. Keeps no sessions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.requests import cookie_parser

from liverouter.errors import OptionsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COOKIE: Final = "liverouter_session"
SESSION_S: Final = 12 * 3600
TRIES: Final = 10  # wrong tokens that one address may send within WINDOW_S
WINDOW_S: Final = 60.0
_MAX_ADDRESSES: Final = 10_000


def admin_token(environ: Mapping[str, str] | None = None) -> str:
    """Return the token of LIVEROUTER_ADMIN_TOKEN or the file that LIVEROUTER_ADMIN_TOKEN_FILE names; "" without one.

    Raises:
        OptionsError: the file cannot be read, or is empty: who names one wants to be asked for a token.
    """
    environ = os.environ if environ is None else environ
    if token := environ.get("LIVEROUTER_ADMIN_TOKEN", "").strip():
        return token
    if not (path := environ.get("LIVEROUTER_ADMIN_TOKEN_FILE", "").strip()):
        return ""
    where, hint = "LIVEROUTER_ADMIN_TOKEN_FILE", "Name a text file that this user may read, with the token in it"
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise OptionsError(f"the file cannot be read: {type(exc).__name__}", where=where, hint=hint) from exc
    if not token:
        raise OptionsError("the file is empty", where=where, hint=hint)
    return token


class Gate:
    """Compares tokens in constant time and makes sessions that anybody who holds the token can verify.

    A session is ``<expiry>.<nonce>.<HMAC under the token>``: it outlives a restart, holds for every replica, and ends
    with its expiry or with a new token.
    """

    def __init__(self, token: str, *, clock: Callable[[], float] = time.time) -> None:
        """Guard with *token*; with an empty one everything is open."""
        self._digest = hashlib.sha256(token.encode()).digest()
        self._key = hmac.new(token.encode(), b"liverouter session v1", hashlib.sha256).digest()
        self._clock = clock
        self.closed = bool(token)

    def admits(self, token: str) -> bool:
        """Tell whether *token* is the admin token."""
        return hmac.compare_digest(hashlib.sha256(token.encode("utf-8", "replace")).digest(), self._digest)

    def new_session(self) -> str:
        """Return the value of a session cookie that lasts SESSION_S seconds."""
        claim = f"{int(self._clock()) + SESSION_S}.{secrets.token_urlsafe(12)}"
        return f"{claim}.{self._sign(claim)}"

    def knows(self, cookie_header: str) -> bool:
        """Tell whether *cookie_header* carries a session of ours that has not expired."""
        # not the standard library's parser: it gives up at a cookie that another application of this host spelt its way
        claim, _, signature = cookie_parser(cookie_header).get(COOKIE, "").rpartition(".")
        if not hmac.compare_digest(self._sign(claim).encode(), signature.encode("utf-8", "replace")):
            return False
        return int(claim.partition(".")[0]) > self._clock()

    def _sign(self, claim: str) -> str:
        digest = hmac.new(self._key, claim.encode("utf-8", "replace"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Tries:
    """Counts wrong tokens per address, so that nobody can guess fast. For one event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a failure."""
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Return how many seconds *address* must wait before its next try; 0 when it may try now."""
        failures = self._failures.get(address)
        if failures is None or len(failures) < TRIES:
            return 0.0
        return max(0.0, failures[0] + WINDOW_S - self._clock())

    def add_failure(self, address: str) -> None:
        """Count one wrong token from *address*."""
        self._failures.setdefault(address, deque(maxlen=TRIES)).append(self._clock())
        self._failures.move_to_end(address)
        while len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
