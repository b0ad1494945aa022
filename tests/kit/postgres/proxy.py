"""A TCP proxy that speaks enough of PostgreSQL's protocol to lose, double and forge single messages, on command.

It runs in a thread of its own, so that sync tests, async tests and other processes can all be behind it. Every method
may be called from any thread and returns when the fault is in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

from liverouter.testing.standin.port import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Frames = list[bytes]
    Rewrite = Callable[[bytes], Frames]  # one whole message, type and length included -> what passes on instead

_ENCRYPTION_REQUESTS: Final = (80877103, 80877104)  # SSLRequest, GSSENCRequest
_TIMEOUT_S: Final = 60.0
NOTIFICATION: Final = b"A"


@dataclass(eq=False)
class _Link:
    """One client and its server; *held* says that the client waits for `release`."""

    client: asyncio.StreamWriter
    task: asyncio.Task[None]
    server: asyncio.StreamWriter | None = None
    held: bool = False


class FaultProxy:
    """Stands between clients and one PostgreSQL; passes everything on until a fault is set.

    Attributes:
        accepted: connections so far.
        port: on 127.0.0.1.
    """

    def __init__(self, dsn: str) -> None:
        """Forward to the server that *dsn* names; starts with `with`."""
        self._given = urlsplit(dsn)
        self._target = (self._given.hostname or "127.0.0.1", self._given.port or 5432)
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._links: set[_Link] = set()
        self._port: Port
        self._flow = asyncio.Event()  # cleared: a black hole
        self._released = asyncio.Event()
        self._silent = False  # new connections are accepted and never answered
        self._hold = b""
        self._piece, self._pause_s = 0, 0.0
        self._from_server: Rewrite | None = None
        self._from_client: Callable[[bytes], bytes | None] | None = None
        self.accepted = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._flow.set()
        self._port = Port(0)  # kept while connections are refused, when another program would take it
        self.port = self._port.number
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)
        self._loop.close()

    @property
    def dsn(self) -> str:
        """The DSN that leads through this proxy, without TLS."""
        login = self._given.netloc.rpartition("@")[0]
        return urlunsplit(self._given._replace(netloc=f"{login}@127.0.0.1:{self.port}", query="sslmode=disable"))

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    # -- faults ------------------------------------------------------------------------------------------------

    def black_hole(self) -> None:
        """Let nothing through any more, and tell nobody."""
        self._flow.clear()

    def hang_new(self) -> None:
        """Accept new connections and never answer them; the open ones go on."""
        self._silent = True

    def refuse_new(self) -> None:
        """Refuse new connections; the open ones go on."""
        self._do(self._port.refuse())

    def reset(self) -> None:
        """End every open connection by RST."""
        self._do(self._reset())

    def half_close(self) -> None:
        """Send the clients a FIN and go on reading from them."""
        self._do(self._half_close())

    def split(self, size: int, pause_s: float) -> None:
        """Pass everything on in pieces of *size* bytes, *pause_s* seconds apart."""
        self._piece, self._pause_s = size, pause_s

    def rewrite(self, rewrite: Rewrite | None) -> None:
        """Replace each message of the server by what *rewrite* returns; runs in the proxy's thread."""
        self._from_server = rewrite

    def answer(self, answer: Callable[[bytes], bytes | None] | None) -> None:
        """Answer a client's message where *answer* returns something; the server never sees it then."""
        self._from_client = answer

    def hold(self, text: bytes) -> None:
        """Stop a connection, one way, before it passes on a message that contains *text*, until `release`."""
        self._released.clear()
        self._hold = text

    def release(self) -> None:
        """Let held connections go on, and hold no further ones."""
        self._do(self._release())

    @property
    def is_holding(self) -> bool:
        """Whether a connection is held right now."""
        return any(link.held for link in list(self._links))

    def retarget(self, dsn: str) -> None:
        """Lead new connections to another server, as a virtual address or a DNS change does; the open ones stay."""
        parts = urlsplit(dsn)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)

    def heal(self) -> None:
        """End every fault; what a black hole held back arrives late."""
        self._do(self._heal())

    # -- machinery ---------------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* on the proxy's loop and wait for its end."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_TIMEOUT_S)

    async def _listen(self) -> None:
        await self._port.listen(lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._serve))

    async def _heal(self) -> None:
        self._silent, self._piece, self._from_server, self._from_client = False, 0, None, None
        await self._release()
        self._flow.set()
        await self._listen()

    async def _release(self) -> None:
        self._hold = b""
        self._released.set()

    async def _reset(self) -> None:
        for link in self._links:
            sock = link.client.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.client.transport.abort()

    async def _half_close(self) -> None:
        for link in self._links:
            link.client.write_eof()

    async def _stop(self) -> None:
        await self._port.close()
        for _ in range(5):
            await asyncio.sleep(0)  # a connection accepted just now becomes a link, so that it is ended, too
        tasks = [link.task for link in self._links]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted closes its socket in the next round

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = _Link(writer, task)
        self._links.add(link)
        self.accepted += 1
        try:
            await self._connect(link, reader)
        except* (OSError, asyncio.IncompleteReadError):
            pass  # a broken connection is what this proxy is for
        finally:
            self._links.discard(link)
            for side in (link.client, link.server):
                if side is not None:
                    side.transport.abort()

    async def _connect(self, link: _Link, client: asyncio.StreamReader) -> None:
        """Connect to the server, pass the start-up on, then pump messages both ways until a side ends."""
        if self._silent:
            await client.read()
            return
        server, link.server = await asyncio.open_connection(*self._target)
        await self._flow.wait()
        while True:  # encryption requests, which must be refused, then the start-up message
            head = await client.readexactly(8)
            length, code = struct.unpack("!II", head)
            link.server.write(head + await client.readexactly(length - 8))
            if code not in _ENCRYPTION_REQUESTS:
                break
            link.client.write(await server.readexactly(1))
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(self._pump_client(link, client, link.server))
            pumps.create_task(self._pump_server(link, server))

    async def _pump_client(self, link: _Link, source: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while True:
            frame = await _frame(source)
            await self._flow.wait()
            await self._hold_back(link, frame)
            if self._from_client is not None and (answer := self._from_client(frame)) is not None:
                link.client.write(answer)
                continue
            await self._pass_on(server, frame)

    async def _pump_server(self, link: _Link, source: asyncio.StreamReader) -> None:
        while True:
            frame = await _frame(source)
            await self._flow.wait()
            await self._hold_back(link, frame)
            for changed in [frame] if self._from_server is None else self._from_server(frame):
                await self._pass_on(link.client, changed)

    async def _hold_back(self, link: _Link, frame: bytes) -> None:
        """Wait for `release` where *frame* contains what `hold` named."""
        if self._hold and self._hold in frame:
            link.held = True
            await self._released.wait()
            link.held = False

    async def _pass_on(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Write *data*, in pieces where `split` says so."""
        size = self._piece or len(data)
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            if self._piece:
                await asyncio.sleep(self._pause_s)


async def _frame(source: asyncio.StreamReader) -> bytes:
    """Return the next protocol message, type and length included."""
    head = await source.readexactly(5)
    return head + await source.readexactly(struct.unpack("!I", head[1:])[0] - 4)


def message(kind: bytes, body: bytes) -> bytes:
    """Return one protocol message."""
    return kind + struct.pack("!I", len(body) + 4) + body


def error(sqlstate: str, text: str) -> bytes:
    """Return an ErrorResponse."""
    return message(
        b"E",
        b"".join(
            f + v.encode() + b"\0"
            for f, v in (
                (b"S", "ERROR"),
                (b"V", "ERROR"),
                (b"C", sqlstate),
                (b"M", text),
            )
        )
        + b"\0",
    )


def notification(channel: str, payload: str, pid: int = 1) -> bytes:
    """Return a NotificationResponse."""
    return message(NOTIFICATION, struct.pack("!I", pid) + channel.encode() + b"\0" + payload.encode() + b"\0")


def is_config_notification(frame: bytes) -> bool:
    """Tell whether *frame* is a notification on liverouter's channel, not on a listener's own."""
    return frame[:1] == NOTIFICATION and frame[9:].startswith(b"liverouter\0")
