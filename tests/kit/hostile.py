"""Providers that mean harm, over real sockets: what they answer is whatever bytes a test says."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
import uuid
import zlib
from typing import TYPE_CHECKING, Any, Final, Self

from liverouter.testing import MemoryRouter, StandIn, service_account_json
from liverouter.testing.dialects.providers import make_provider
from tests.kit.dialects import DIALECTS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    Script = Callable[["Connection"], None]

MIB: Final = 2**20
ENGINES: Final = {"litellm": True, "native": False}
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EVENTS: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


class Connection:
    """One request and the answer to it."""

    def __init__(self, sock: socket.socket, server: Hostile) -> None:
        """Read a request whole; *head* is empty where the client sent none."""
        self.sock, self._server = sock, server
        self.head, _, rest = self._read_head().partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in self.head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(rest) < length and (more := sock.recv(65_536)):
            rest += more
        self.body = rest

    def _read_head(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data and (more := self.sock.recv(65_536)):
            data += more
        return data

    def send(self, data: bytes) -> None:
        """Send *data*; raises OSError once the client is gone."""
        self.sock.sendall(data)
        self._server.sent += len(data)

    def flood(self, data: bytes, at_most: int = 512 * MIB) -> None:
        """Send *data* again and again, until the client is gone."""
        while self._server.sent < at_most:
            self.send(data)

    def trickle(self, data: bytes) -> None:
        """Send *data* again and again, a byte at a time and twenty a second, until the client or the test has left."""
        while True:
            for number in range(len(data)):
                if self._server.ended.wait(0.05):
                    return
                self.send(data[number : number + 1])

    def wait(self) -> None:
        """Keep the connection open until the client or the test has left."""
        self.sock.settimeout(0.05)
        while not self._server.ended.is_set():
            try:
                if not self.sock.recv(1):
                    return
            except TimeoutError:
                continue
            except ConnectionError:  # it left without reading all that was sent
                return


class Hostile:
    """A server that answers every request by a script.

    Attributes:
        script: called with each connection in a thread of its own; None answers nothing.
        heads: of every request, request line and headers.
        sent: bytes of all answers.
        ended: set when the test leaves.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script = script
        self.heads: list[bytes] = []
        self.sent = 0
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    connection = Connection(self.request, outer)
                    if connection.head:
                        outer.heads.append(connection.head)
                        if outer.script is not None:
                            outer.script(connection)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            block_on_close = True

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def does(self, script: Script) -> None:
        """Answer by *script* from now on, and forget what was."""
        self.script, self.heads, self.sent = script, [], 0

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def google_secrets(self) -> dict[str, str]:
        """Return a service account whose tokens come from here, by its secret's name.

        No other has its project: litellm keeps tokens by that and by where they came from, and ports come again.
        """
        return {"vertex_ai_credentials": service_account_json(self.origin, project=f"project-{uuid.uuid4().hex}")}


class _Place:
    """The addresses that a dialect reads of a stand-in; Google's tokens come from *desk*, a base URL."""

    def __init__(self, provider: str, origin: str, desk: str) -> None:
        self.provider, self.base_url = provider, desk
        self.api_base = origin + make_provider(provider).api_path


@contextlib.contextmanager
def attacked(
    dialect: str,
    engine: str,
    *,
    secrets: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.time,
    **rows: Any,
) -> Iterator[tuple[Hostile, MemoryRouter]]:
    """Yield a hostile provider of *dialect* and the client that asks it; Google's tokens come from a stand-in.

    *secrets* are held beside the provider's, *clock* is that of cooldowns.
    """
    spoken = DIALECTS[dialect]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Hostile())
        desk = stack.enter_context(StandIn("vertex-ai")).base_url if spoken.provider == "vertex-ai" else ""
        place: Any = _Place(spoken.provider, server.origin, desk)
        settings = spoken.rows(place) | {"litellm_enable": ENGINES[engine], "litellm_num_retries": 1} | rows
        held = {spoken.key: spoken.secret_for(place, "primary"), **(secrets or {})}
        yield server, stack.enter_context(MemoryRouter(settings, secrets=held, clock=clock))


def answers(head: bytes, body: bytes = b"") -> Script:
    """Return a script that sends *head*, the body's length and *body*, and ends the connection, as it says."""
    more = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    return lambda connection: connection.send(head + more + body)


def bomb(size: int = 1024 * MIB) -> bytes:
    """Return gzip bytes that unpack to *size* zeros."""
    part = 16 * MIB
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(part)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + block * (size // part)
