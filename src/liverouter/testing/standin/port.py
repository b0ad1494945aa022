"""A loopback port that stays ours whatever happens to its listener: served, refused, or a black hole."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_HOST = "127.0.0.1"
_BACKLOG = 512
_FILLERS = 16  # a backlog of 0 takes one or two connections, depending on the system
_FILLED_AFTER_S = 0.05  # a loopback connect that takes longer is not going to be completed


class Port:
    """Reserves one port by a bound socket that never listens; the listener shares it and comes and goes."""

    def __init__(self, number: int) -> None:
        """Reserve port *number*, 0 for any.

        Raises:
            OSError: the port is taken.
        """
        if number:
            self._refuse_if_taken(number)
        self._holder = self._bound(number, reuse_address=False)  # so that nobody can share the port by accident
        self.number: int = self._holder.getsockname()[1]
        self._fillers: list[socket.socket] = []
        self._swallower: socket.socket | None = None
        self._server: asyncio.Server | None = None

    @staticmethod
    def _refuse_if_taken(number: int) -> None:
        """Raise OSError where somebody listens; the probe has no SO_REUSEPORT, by which it would share the port."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_HOST, number))

    @staticmethod
    def _bound(number: int, *, reuse_address: bool = True) -> socket.socket:
        """Return a socket bound to port *number*, which further sockets of this process can share."""
        sock = socket.socket(proto=socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's delay on
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_address)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((_HOST, number))
        except OSError:
            sock.close()
            raise
        return sock

    async def listen(self, make: Callable[[], asyncio.Protocol]) -> None:
        """Serve new connections by the protocol that *make* returns; a port that listens goes on as it is."""
        if self._server is None:
            await self.refuse()
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(make, sock=self._bound(self.number), backlog=_BACKLOG)

    async def refuse(self) -> None:
        """Refuse new connections; open ones are not touched."""
        if self._server is not None:
            server, self._server = self._server, None
            await close_server(server)
        for sock in (*self._fillers, *([self._swallower] if self._swallower else [])):
            sock.close()
        self._fillers, self._swallower = [], None

    async def swallow(self) -> None:
        """Let new connections hang in connect. Blocks for about 50 ms.

        A listener that accepts nothing has its queue filled, after which the system drops every SYN. Where a system
        does not, the connection is made and nobody ever reads it.
        """
        await self.refuse()
        self._swallower = self._bound(self.number)
        self._swallower.listen(0)
        for _ in range(_FILLERS):
            filler = socket.socket()
            filler.settimeout(0)
            filler.connect_ex((_HOST, self.number))
            self._fillers.append(filler)
            connected = select.poll()  # select.select takes no descriptor above 1 023
            connected.register(filler, select.POLLOUT)
            if not connected.poll(1000 * _FILLED_AFTER_S):
                return

    async def close(self) -> None:
        """Give the port back."""
        await self.refuse()
        self._holder.close()


async def close_server(server: asyncio.Server) -> None:
    """Close *server*, whose loop is a selector's; connections that it has accepted, even just now, are not touched.

    asyncio loses a connection, and its descriptor, where a server is closed in the round in which it was accepted:
    Python 3.11 makes no transport for a server that has no sockets.
    """
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    await asyncio.sleep(0)  # what was accepted gets its protocol and its transport in the next round
    server.close()
