"""The HTTP clients by which litellm makes our calls: kept by litellm for each event loop, and closed with it.

Importing this module imports litellm.
"""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn

import litellm
from litellm.constants import _DEFAULT_TTL_FOR_HTTPX_CLIENTS
from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

if TYPE_CHECKING:
    from collections.abc import Callable

_SESSION: Final = "liverouter_session"  # in litellm's cache of clients: by event loop, and closed with it
_FOR_EVER_S: Final = 1e9
attempt_timeout_s: Final[ContextVar[float | None]] = ContextVar("liverouter_timeout_s", default=None)


def shared_client(timeout_s: float) -> AsyncHTTPHandler:
    """Return litellm's HTTP client of the running loop for every provider but OpenAI and Azure.

    *timeout_s*: the client's timeout in seconds; there is one client for each.
    """
    cache = litellm.in_memory_llm_clients_cache  # by event loop; closes what it drops, once nobody can use it
    key = f"liverouter_{timeout_s}"
    if (client := cache.get_cache(key)) is None:
        client = _SingleSend(timeout=timeout_s)
        cache.set_cache(key, client, ttl=_DEFAULT_TTL_FOR_HTTPX_CLIENTS, litellm_owned_client=True)
    return client


def connections() -> Any:
    """Return the pool of connections of the running loop, made as litellm makes them; None where it uses httpx's."""
    cache = litellm.in_memory_llm_clients_cache
    session = cache.get_cache(_SESSION)
    if session is None or session.closed:
        transport = AsyncHTTPHandler.create_async_transport()
        if not isinstance(transport, LiteLLMAiohttpTransport):
            return None
        session = without_netrc(transport.get_valid_client_session)
        cache.set_cache(_SESSION, session, ttl=_FOR_EVER_S)
    return session


class _SingleSend(AsyncHTTPHandler):  # type: ignore[misc]  # litellm has no types
    """litellm's HTTP client without its resend, which would double the tries and close a stream that it reopened."""

    async def single_connection_post_request(self, *_: Any, **__: Any) -> NoReturn:
        """Raise the connection error that litellm is about to answer with a second request."""
        raise sys.exception() or RuntimeError("litellm resends without an error")


async def close_clients() -> None:
    """On the I/O loop, at its end: close the clients that litellm cached for it, so that no socket is left behind.

    litellm finds them by ``id(loop)``, which another loop may get later.
    """
    loop = asyncio.get_running_loop()
    cache = litellm.in_memory_llm_clients_cache
    for key in [key for key in cache.cache_dict if key.endswith(f"-{id(loop)}")]:
        client = cache.cache_dict.pop(key)
        cache.ttl_dict.pop(key, None)
        if (close := getattr(client, "aclose", None) or getattr(client, "close", None)) is not None:
            await close()


def without_netrc(session_of: Callable[[], Any]) -> Any:
    """Return a session that sends nothing of ~/.netrc, which AIOHTTP_TRUST_ENV has aiohttp do.

    The proxies, for which people set it, litellm looks up by itself.
    """
    session = session_of()
    session._trust_env = False  # noqa: SLF001 - aiohttp takes it when a session is made, and litellm makes it
    return session
