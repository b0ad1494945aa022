"""What vendors put before a PostgreSQL: an end of TLS, a socket in a folder, a proxy that refuses start-up settings.

It runs in a thread of its own and passes everything on to a real server.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit.postgres.proxy import error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TLS: Final = 80877103  # SSLRequest
_GSS: Final = 80877104  # GSSENCRequest
_TIMEOUT_S: Final = 60.0
# What every client of the protocol sends, and asyncpg's encoding.
PLAIN: Final = frozenset(("user", "database", "client_encoding"))


class Front:
    """Stands before one PostgreSQL, on a loopback port, or as a socket in *folder*.

    Args:
        dsn: of the real server.
        tls: with it, clients have to speak TLS.
        refuse: returns the SQLSTATE by which a start-up is refused, for its parameters; None admits it.
        folder: where the socket is made, with PostgreSQL's name for port 5432.

    Attributes:
        startups: the parameters of each start-up, in the order they came.
        names: the server names that clients asked for by TLS.
        port: on 127.0.0.1; 0 where it is a socket.
    """

    def __init__(
        self,
        dsn: str,
        *,
        tls: ssl.SSLContext | None = None,
        refuse: Callable[[dict[str, str]], str | None] = lambda _: None,
        folder: Path | None = None,
    ) -> None:
        """Prepare; starts with `with`."""
        parts = urlsplit(dsn)
        self._login, self._path = parts.netloc.rpartition("@")[0], parts.path
        self._target = (parts.hostname or "", parts.port or 5432)
        self._tls, self._refuse, self._folder = tls, refuse, folder
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.names.append(name or "")
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="front", daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server
        self.startups: list[dict[str, str]] = []
        self.names: list[str] = []
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)
        self._loop.close()

    def url(self, options: str = "", *, host: str = "127.0.0.1") -> str:
        """The URL of the database through it, with *options* after the ``?``."""
        if self._folder is not None:
            return f"postgresql://{self._login}@{self._path}?host={self._folder}{options and '&'}{options}"
        return f"postgresql://{self._login}@{host}:{self.port}{self._path}{options and '?'}{options}"

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_TIMEOUT_S)

    async def _listen(self) -> None:
        if self._folder is not None:
            self._server = await asyncio.start_unix_server(self._serve, self._folder / ".s.PGSQL.5432")
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._pass_on(reader, writer)
        writer.transport.abort()
        self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the request for TLS, look at the start-up, then pump both ways."""
        is_plain = True
        while True:
            head = await reader.readexactly(8)
            length, code = struct.unpack("!II", head)
            body = await reader.readexactly(length - 8)
            if code == _TLS and self._tls is not None:
                writer.write(b"S")
                await writer.start_tls(self._tls)
                is_plain = False
            elif code in (_TLS, _GSS):
                writer.write(b"N")
            else:
                break
        words = body.decode().split("\0")
        startup = dict(zip(words[::2], words[1::2], strict=False))
        startup.pop("", None)
        self.startups.append(startup)
        state = "28000" if is_plain and self._tls is not None else self._refuse(startup)
        if state is not None:
            writer.write(error(state, "not so"))
            await writer.drain()
            return
        server_reader, server = await asyncio.open_connection(*self._target)
        server.write(head + body)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, server))
                pumps.create_task(_pump(server_reader, writer))
        finally:
            server.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what *reader* has until its end, which ends the other way, too."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise ConnectionError


def refusing(state: str, *allowed: str) -> Callable[[dict[str, str]], str | None]:
    """Return how a proxy refuses by *state* every start-up parameter beside `PLAIN` and *allowed*."""
    return lambda startup: state if startup.keys() - PLAIN - set(allowed) else None


def make_certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """Return the TLS of a server with a certificate for *names*, made by itself, and the file that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "root.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context, certificate


def _alternative(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)
