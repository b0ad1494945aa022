"""Why a request got no answer, in words that say what to look at, whichever HTTP library it went by. Pure.

httpx, httpx2 and aiohttp wrap the system's errors, and the providers' libraries say "Connection error." of all of them.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from liverouter.secrecy.leaving import chain
from liverouter.secrecy.redaction import brief, mask

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST: Final = 200  # characters of a reason
_PORTS: Final = {"http": 80, "https": 443}
_NO_WAY: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)
_WHY: Final = ("verify_message", "reason")  # of an error of TLS
_GONE: Final = frozenset({"RemoteProtocolError", "ServerDisconnectedError", "ClientPayloadError"})


@dataclass(frozen=True, slots=True)
class Lost:
    """What became of a request without an answer.

    Attributes:
        text: one clause, which names host and port; "" where a connection was there, and silent.
        is_timeout: a library's own time ran out.
    """

    text: str
    is_timeout: bool = False


def lost_by(error: BaseException, url: str, *, by_proxy: bool = False, answered: bool = False) -> Lost:
    """Return why the request to *url* ended in *error*, an HTTP library's.

    *by_proxy*: it went through a proxy. *answered*: the answer had begun.
    """
    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 0)}"
    via = f"the proxy before {place}" if by_proxy else place
    links = list(chain(error))
    numbers = {link.errno for link in links if isinstance(link, OSError)}
    names = {type(link).__name__ for link in links}
    when = "in the middle of the answer" if answered else "before an answer"
    if any("Timeout" in name for name in names) or errno.ETIMEDOUT in numbers:
        connecting = any("Connect" in name for name in names)
        return Lost(f"no connection to {via}" if connecting else "", is_timeout=True)
    if why := _of_tls(links):
        text = f"TLS with {place} failed: {why}"
    elif unknown := next((link for link in links if isinstance(link, socket.gaierror)), None):
        host = "the proxy's name" if by_proxy else f"the name {parts.hostname}"
        text = f"{host} cannot be resolved: {unknown.strerror}"
    elif errno.ECONNREFUSED in numbers:
        text = f"connection refused by {via}"
    elif number := next(iter(numbers & _NO_WAY), None):
        text = f"no way to {via}: {os.strerror(number).lower()}"
    elif any(isinstance(link, ConnectionResetError | BrokenPipeError) for link in links):
        text = f"connection reset by {place} {when}"
    elif not _GONE.isdisjoint(names):
        text = f"connection closed by {place} {when}"
    else:
        text = f"connection to {place} lost {when}: {mask(brief(links[-1]), _LONGEST)}"
    return Lost(text)


def _of_tls(links: Iterable[BaseException]) -> str:
    """Return why TLS failed, "" where it did not; aiohttp's own errors of it have no reason."""
    errors = [link for link in links if isinstance(link, ssl.SSLError)]
    said = (text for link in errors for name in _WHY if (text := getattr(link, name, None)))
    why = next(said, "for no known reason" if errors else "")
    return mask(str(why).replace("_", " ").lower(), _LONGEST)
