"""How litellm sends, where that is not ours to choose: what is patched here holds within an attempt of ours alone.

Whatever else the process asks litellm for goes on as litellm made it. Importing this module imports litellm.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn

import litellm
from litellm.constants import _DEFAULT_TTL_FOR_HTTPX_CLIENTS
from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.llms.openai.common_utils import BaseOpenAILLM

from liverouter.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

_SESSION: Final = "liverouter_session"  # in litellm's cache of clients: by event loop, and closed with it
_LONGEST_MASKED: Final = 4_000  # characters, of which 2,000 leave
_FOR_EVER_S: Final = 1e9
attempt_timeout_s: Final[ContextVar[float | None]] = ContextVar("liverouter_timeout_s", default=None)


def shared_client(timeout_s: float) -> AsyncHTTPHandler:
    """Return litellm's HTTP client of the running loop for every provider but OpenAI and Azure."""
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
        session = _without_netrc(transport.get_valid_client_session)
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


@functools.cache
def guard_clients() -> None:
    """Have each HTTP client that litellm makes for an attempt of ours admit answers as `guard` does; once per process.

    litellm's clients follow redirects, key and prompt included, and read what comes. Some are made deep inside:
    OpenAI's and Azure's, and those of models that it serves through another API than the one it was asked for.
    """
    create_client, get_async_http_client = AsyncHTTPHandler.create_client, BaseOpenAILLM._get_async_http_client  # noqa: SLF001 - litellm has no switch for it

    def create(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _guarded(create_client(self, *args, **kwargs))

    def get(*args: Any, **kwargs: Any) -> Any:
        client = get_async_http_client(*args, **kwargs)
        return client if client is None or client is litellm.aclient_session else _guarded(client)

    AsyncHTTPHandler.create_client = create
    BaseOpenAILLM._get_async_http_client = staticmethod(get)  # noqa: SLF001


def _guarded(client: Any) -> Any:
    if attempt_timeout_s.get() is None:
        return client
    transport = client._transport  # noqa: SLF001 - httpx has no public way in
    if isinstance(transport, LiteLLMAiohttpTransport):
        transport.get_valid_client_session = functools.partial(_without_netrc, transport.get_valid_client_session)
    return guarded(client)


def _without_netrc(session_of: Callable[[], Any]) -> Any:
    """Return a session that sends nothing of ~/.netrc, which AIOHTTP_TRUST_ENV has aiohttp do.

    The proxies, for which people set it, litellm looks up by itself.
    """
    session = session_of()
    session._trust_env = False  # noqa: SLF001 - aiohttp takes it when a session is made, and litellm makes it
    return session


@functools.cache
def shorten_masking() -> None:
    """Have litellm mask the beginning of a text alone, within an attempt of ours; once per process.

    Its pattern takes the square of a text's length: 12 s for an error of 64 kB, in which no other call goes on. What
    leaves a call of ours is shorter than what it keeps, and masked by us.
    """
    try:
        redaction = importlib.import_module("litellm.litellm_core_utils.secret_redaction")
    except ImportError:  # a litellm that masks nothing
        return
    if (pattern := getattr(redaction, "_SECRET_RE", None)) is not None:
        redaction._SECRET_RE = _Shortened(pattern)  # type: ignore[attr-defined]  # noqa: SLF001


class _Shortened:
    """A pattern, of which litellm calls one method."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def sub(self, replacement: Any, text: str) -> str:
        kept = text if attempt_timeout_s.get() is None else text[:_LONGEST_MASKED]
        return str(self._pattern.sub(replacement, kept))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pattern, name)
