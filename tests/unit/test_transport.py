"""Calls of the native engine travel by aiohttp, and look to the provider's library as if httpx had made them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from liverouter.routing.transport import by_aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-twice: 1\r\nx-twice: 2\r\n"


@pytest.fixture(params=[name for name in ("httpx", "httpx2") if find_spec(name)])
def library(request: pytest.FixtureRequest) -> Any:
    """Return each library of HTTP that a provider's own is made with."""
    return pytest.importorskip(request.param)


@contextlib.asynccontextmanager
async def answering(*parts: bytes, silent: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve *parts* to each connection, then end it, or with *silent* say no more until the other side ends it.

    Yields the address, and the heads of what was asked.
    """
    asked: list[bytes] = []
    served: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(done := asyncio.get_running_loop().create_future())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.writelines(parts)
            await (reader.read() if silent else writer.drain())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        done.set_result(None)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a%2Fb?c=%20d", asked
        await asyncio.gather(*served)


class TestByAiohttp:
    async def test_answer_comes_as_httpx_gives_it(self, library: Any) -> None:
        """Status, reason, repeated headers and body are the answer's; path and headers of the request are its own."""
        async with answering(HEAD + b"content-length: 5\r\n\r\nwhole") as (url, asked):
            async with by_aiohttp(library.AsyncClient()) as client:
                answer = await client.post(url, content=b"{}", headers={"x-own": "yes", "user-agent": "ours"})
            assert (answer.status_code, answer.reason_phrase, answer.text) == (200, "OK", "whole")
            assert answer.headers.get_list("x-twice") == ["1", "2"]
            assert asked[0].startswith(b"POST /a%2Fb?c=%20d HTTP/1.1\r\n")
            lines = {line.lower() for line in asked[0].split(b"\r\n")}
            assert {b"x-own: yes", b"user-agent: ours", b"content-length: 2"} <= lines

    async def test_body_that_breaks_is_handed_on_until_there(self, library: Any) -> None:
        """What came before the connection broke counts; then the library's own error says that it did."""
        async with (
            answering(HEAD + b"content-length: 99\r\n\r\n", b"half of it") as (url, _),
            by_aiohttp(library.AsyncClient()) as client,
            client.stream("GET", url) as answer,
        ):
            pieces = answer.aiter_raw()
            assert await anext(pieces) == b"half of it"
            with pytest.raises(library.RemoteProtocolError):
                await anext(pieces)

    async def test_failures_are_the_library_s(self, library: Any) -> None:
        """A refused connection, no answer and a header that cannot be sent have httpx's classes."""
        async with answering() as (url, _), by_aiohttp(library.AsyncClient()) as client:
            with pytest.raises(library.RemoteProtocolError):
                await client.get(url)
            with pytest.raises(library.LocalProtocolError):
                await client.get(url, headers={"x": "a\r\nb"})
        with pytest.raises(library.ConnectError):
            async with by_aiohttp(library.AsyncClient()) as client:
                await client.get(url)

    async def test_silence_ends_in_the_library_s_timeout(self, library: Any) -> None:
        """A server that accepts and says nothing is waited for as long as the client's timeout says."""
        async with (
            answering(silent=True) as (url, _),
            by_aiohttp(library.AsyncClient(timeout=library.Timeout(60, read=0.05))) as client,
        ):
            with pytest.raises(library.ReadTimeout):
                await client.get(url)

    async def test_proxies_keep_the_library_s_way(self, library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a variable sends to a proxy arrives there."""
        async with answering(HEAD + b"content-length: 5\r\n\r\nproxy") as (url, asked):
            monkeypatch.setenv("HTTP_PROXY", url)
            async with by_aiohttp(library.AsyncClient()) as client:
                assert (await client.get("http://provider.invalid/v1")).text == "proxy"
            assert asked[0].startswith(b"GET http://provider.invalid/v1 ")

    async def test_settings_of_tls_stay(self, library: Any) -> None:
        """The context that a client was made with is the one that is asked for certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client = by_aiohttp(library.AsyncClient(verify=context))
        assert client._transport._context is context  # noqa: SLF001 - there is no public way to it
        await client.aclose()
