"""Which connections may stay, and for how long. Wraps uvicorn's protocol, which has no limits of its own.

A new connection must send something within `patience_s`, a request must arrive whole within `patience_s` of its first
byte, and what is sent must be read within that time. Where an address, or the daemon, has all the connections that it
may have, the one that has waited longest for its request makes room for the new one. So nobody can keep others out by
holding connections.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from liverouter.daemon.addresses import visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_STATE: Final = "liverouter.connection"  # the key of a request's scope["state"] that holds its Connection
_MOST_CONNECTIONS: Final = 10_000
_FEWEST_CONNECTIONS: Final = 16
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 10\r\nConnection: close\r\n\r\n"


def _share_of_descriptors() -> int:
    """Return half of the descriptors that this process may open: files, database and providers need the rest."""
    try:
        import resource  # not there on Windows
    except ImportError:
        return _MOST_CONNECTIONS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(_FEWEST_CONNECTIONS, min(limit // 2, _MOST_CONNECTIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server grants.

    Attributes:
        patience_s: seconds for a request to arrive, or for sent bytes to be read.
        per_visitor: connections of one IPv4 address or one IPv6 network of /64.
        in_all: connections of all together, by default half of this process's limit of descriptors.
    """

    patience_s: float = 10.0
    per_visitor: int = 100
    in_all: int = field(default_factory=_share_of_descriptors)

    @property
    def backlog(self) -> int:
        """Return how many connections may wait to be accepted; asyncio accepts them all before any is counted."""
        return max(8, min(128, self.in_all // 8))


class Connections:
    """All connections of one server. For its event loop."""

    def __init__(self, limits: Limits) -> None:
        """Start without one."""
        self.limits = limits
        self._ending = False
        # Sets in the order in which their members began to wait for a request: of all, and of each visitor.
        self._all: dict[Connection, None] = {}
        self._of: dict[str, dict[Connection, None]] = {}

    def protocol(self, *, app_state: Mapping[str, Any], **uvicorns: Any) -> asyncio.Protocol:
        """Return the protocol of a new connection; uvicorn calls this with its own arguments, *uvicorns*."""
        return Connection(self, lambda own: H11Protocol(app_state={**app_state, _STATE: own}, **uvicorns))

    def admit(self, new: Connection) -> bool:
        """Tell whether *new* may stay, and count it where it may; another one may be ended for it."""
        if self._ending:
            return False
        own = self._of.get(new.visitor, {})
        if len(own) >= self.limits.per_visitor and not self._make_room(own):
            return False
        if len(self._all) >= self.limits.in_all and not self._make_room(self._all):
            return False
        self._all[new] = self._of.setdefault(new.visitor, {})[new] = None
        return True

    def close(self) -> None:
        """Admit no connection from now on; those that were admitted are not touched."""
        self._ending = True

    def wait(self, connection: Connection) -> None:
        """Note that *connection* now begins to wait for its next request."""
        if connection in self._all:
            self.remove(connection)
            self._all[connection] = self._of.setdefault(connection.visitor, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget *connection*."""
        self._all.pop(connection, None)
        own = self._of.get(connection.visitor, {})
        own.pop(connection, None)
        if not own:
            self._of.pop(connection.visitor, None)

    def _make_room(self, among: Iterable[Connection]) -> bool:
        """End the one of *among* that has waited longest for its request; False where all are being answered."""
        longest = next((connection for connection in among if not connection.serving), None)
        if longest is not None:
            self.remove(longest)
            longest.abort()
        return longest is not None


class Connection(asyncio.Protocol):
    """One connection: hands everything to uvicorn's protocol, and ends what takes too long.

    Attributes:
        visitor: what limits count its address as, see `addresses.visitor`.
        serving: whether a request has arrived whole and is being answered.
        deadline: when a request that arrives now must be whole; the loop's time, in seconds.
    """

    def __init__(self, connections: Connections, make: Callable[[Connection], asyncio.Protocol]) -> None:
        """Belong to *connections*; *make* returns the protocol that speaks HTTP."""
        self._connections, self._make = connections, make
        self._patience_s = connections.limits.patience_s
        self._inner: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None  # ends it where a request does not arrive in time
        self._reading: asyncio.TimerHandle | None = None  # ends it where sent bytes are not read in time
        self._answering = False  # between `begin` and `end`
        self._begun = False  # bytes of a request came
        self.visitor, self.serving, self.deadline = "", False, 0.0

    # what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request where there is room; else answer 503 and close."""
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.visitor = visitor(str(peer[0])) if isinstance(peer, tuple) else ""
        if not self._connections.admit(self):
            self._transport.write(_FULL)
            self._transport.close()
            return
        self._inner = self._make(self)
        self._inner.connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Hand *data* on; with a request's first bytes its time begins."""
        if self._inner is None:
            return
        if not self._begun and not self._answering:
            self._begun = True
            self._wait()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand the end of what the other side sends on."""
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        """Begin the time within which the other side must read."""
        if self._inner is not None:
            self._reading = self._loop.call_later(self._patience_s, self.abort)
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """End that time: the other side has read."""
        if self._inner is not None:
            _cancel(self._reading)
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, give the place up, and hand *exc* on."""
        _cancel(self._timer)
        _cancel(self._reading)
        self._connections.remove(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)
            self._inner = None

    # what the application tells

    def begin(self) -> None:
        """The application has the head of a request, and sees to it that the body is there by `deadline`."""
        self._answering = True
        _cancel(self._timer)

    def arrived(self) -> None:
        """The request is whole: from now on the connection makes no room for others."""
        self.serving = True

    def end(self) -> None:
        """The request is answered; the time for the next one begins."""
        self._answering = self._begun = self.serving = False
        if self._inner is not None:
            self._connections.wait(self)
            self._wait()

    def abort(self) -> None:
        """End the connection at once, whatever is not sent yet."""
        self._transport.abort()

    def _wait(self) -> None:
        """Begin the time within which a request must arrive, anew where it runs already."""
        _cancel(self._timer)
        self.deadline = self._loop.time() + self._patience_s
        self._timer = self._loop.call_at(self.deadline, self.abort)


def connection_of(scope: Mapping[str, Any]) -> Connection:
    """Return the connection that a request came through."""
    return cast("Connection", scope["state"][_STATE])


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
