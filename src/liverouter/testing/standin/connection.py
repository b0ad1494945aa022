"""One client connection: HTTP/1.1 with keep-alive over h11, and the ways a connection can break."""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from liverouter.testing.standin.wire import HttpReply, Incoming

if TYPE_CHECKING:
    from liverouter.testing.standin.recorder import Recorder

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time left: close sends RST


class Handler(Protocol):
    """Answers requests that were read whole."""

    async def __call__(self, request: Incoming, connection: Connection) -> None:
        """Answer through *connection*; cancelled when the client goes."""


class Connection(asyncio.Protocol):
    """Reads requests one after the other and hands each to the handler in a task of its own."""

    def __init__(self, *, number: int, handler: Handler, recorder: Recorder, peers: set[Connection]) -> None:
        """Serve as connection *number*, whose client was accepted; a member of *peers* until it is lost."""
        self.number = number
        self._handler = handler
        self._recorder = recorder
        self._peers = peers
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request  # the one being read
        self._content: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._leaving = False
        self._made, self._lost = asyncio.Event(), asyncio.Event()
        self._transport: asyncio.Transport
        peers.add(self)

    # called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        self._transport = cast("asyncio.Transport", transport)  # as every TCP server's is
        self._made.set()
        self._recorder.count(accepted=1, open_connections=1)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._http.receive_data(data)
        self._advance()

    def eof_received(self) -> bool:
        """Take the client's FIN as its leaving: no provider answers a half-closed connection."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the request in progress; count it as a disconnect unless the stand-in itself hung up."""
        del error
        self._peers.discard(self)
        self._lost.set()
        busy = self._task is not None
        if self._task is not None:
            self._task.cancel()
        self._recorder.count(open_connections=-1, in_flight=-busy, disconnects=int(busy and not self._leaving))

    def _advance(self) -> None:
        """Read the events that have arrived; begin a request once it is whole, end the connection at an HTTP error."""
        try:
            while True:
                match self._http.next_event():
                    case h11.Request() as request:
                        self._request, self._content = request, []
                    case h11.Data(data=data):
                        self._content.append(bytes(data))
                    case h11.EndOfMessage():
                        self._begin()
                    case h11.ConnectionClosed():
                        self._transport.close()
                        return
                    case _:  # NEED_DATA, PAUSED
                        return
        except h11.RemoteProtocolError:
            self._transport.abort()

    def _begin(self) -> None:
        """Hand the request that was read to the handler, in a task of its own."""
        request = self._request
        target = urlsplit(request.target.decode("ascii"))
        incoming = Incoming(
            method=request.method.decode("ascii"),
            path=unquote(target.path),
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers={name.decode("ascii"): value.decode("latin-1") for name, value in request.headers},
            content=b"".join(self._content),
        )
        self._recorder.count(in_flight=1)
        self._task = asyncio.get_running_loop().create_task(self._handler(incoming, self))
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Go on to the client's next request, or close where the answer was not ended properly.

        Raises:
            Exception: what the task raised, for the loop's exception handler; the connection is aborted.
        """
        self._task = None
        if not self._lost.is_set():
            self._recorder.count(in_flight=-1)
        if not task.cancelled() and (error := task.exception()):
            self._leaving = True
            self._transport.abort()
            raise error  # a defect of the stand-in or of a scripted answer: to the loop's exception handler
        if self._transport.is_closing():
            return
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._advance()
        else:
            self.leave()

    # called by the handler

    def send(self, reply: HttpReply) -> None:
        """Send a whole answer."""
        head = self._head(reply, ("Content-Length", str(len(reply.body))))
        self._write(head, h11.Data(data=reply.body), h11.EndOfMessage())

    def send_cut(self, reply: HttpReply) -> None:
        """Send the head and half of the body, then end the connection."""
        head = self._head(reply, ("Content-Length", str(len(reply.body))))
        self._write(head, h11.Data(data=reply.body[: len(reply.body) // 2]))
        self.leave()

    def start_stream(self, content_type: str) -> None:
        """Send the head of a stream."""
        reply = HttpReply(HTTPStatus.OK, b"", content_type, (("Cache-Control", "no-cache"),))
        self._write(self._head(reply, ("Transfer-Encoding", "chunked")))

    def send_chunk(self, data: bytes) -> None:
        """Send a piece of the stream."""
        if data:
            self._write(h11.Data(data=data))

    def end_stream(self) -> None:
        """End the stream properly, as far as HTTP is concerned."""
        self._write(h11.EndOfMessage())

    def leave(self) -> None:
        """Close with FIN after what was written."""
        self._leaving = True
        self._transport.close()

    def reset(self) -> None:
        """Close with RST; what the client has not read is lost to it."""
        self._leaving = True
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    async def leave_if_idle(self) -> None:
        """Close unless a request is in progress."""
        await self._made.wait()
        if self._task is None:
            self.leave()

    async def abort(self) -> None:
        """Close at once and return when nothing of the connection is left."""
        await self._made.wait()
        self._leaving = True
        task = self._task
        self._transport.abort()
        await self._lost.wait()
        if task is not None:
            await asyncio.wait([task])

    @staticmethod
    def _head(reply: HttpReply, framing: tuple[str, str]) -> h11.Response:
        headers = [("Content-Type", reply.content_type), *reply.headers, framing]
        return h11.Response(status_code=reply.status, headers=headers)

    def _write(self, *events: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        self._transport.write(b"".join(self._http.send(event) or b"" for event in events))
