"""The address that the daemon serves: resolved once, bound, and told as a URL."""

from __future__ import annotations

import socket

from liverouter.daemon.addresses import resolve
from liverouter.errors import LiveRouterError


def numeric_of(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """Return the family and the numeric address that *host* stands for here.

    Raises:
        LiveRouterError: the name is not known here (LR610).
    """
    try:
        return resolve(host, port)
    except OSError as exc:
        raise _unusable(host, port, exc) from exc


def bind(host: str, port: int, bind_to: tuple[socket.AddressFamily, str]) -> socket.socket:
    """Return a socket that listens on the address *bind_to*, and not on *host*, which may resolve to another by now.

    Raises:
        LiveRouterError: the address is taken (LR610).
    """
    family, address = bind_to
    try:
        return socket.create_server((address, port), family=family)
    except (OSError, OverflowError) as exc:
        raise _unusable(host, port, exc) from exc


def _unusable(host: str, port: int, exc: Exception) -> LiveRouterError:
    return LiveRouterError(
        f"port {port} of {host} cannot be used: {getattr(exc, 'strerror', None) or exc}",
        code="LR610",
        where="liverouter serve",
        hint="End what listens there, or choose another: --port 8485",
    )


def url_of(host: str, listener: socket.socket) -> str:
    """Return the page's URL, with the port that *listener* got."""
    name = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}/"
