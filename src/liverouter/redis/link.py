"""One Redis, as a background loop uses it: connected again for ever, and what goes wrong told in words."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from liverouter.loops.wakeup import Backoff
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

COMMAND_S: Final = 2.0  # for one answer of Redis
PROBE_S: Final = 5.0  # of silence, then a ping; of silence again, then the connection is given up
FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 30.0
_FOR_LONG_S: Final = 86_400.0  # until somebody mends it, which takes a restart
_HINT_OPTIONS: Final = "Remove what stands behind the ? in it, or name it as that package does: ?socket_keepalive=1"
_HINT_PACKAGE: Final = "Install it: pip install 'liverouter[redis]'"


class RedisLink:
    """Keeps a loop connected to a Redis.

    Args:
        url: of Redis; nothing that is told shows its password.
        lost: told why there is no connection, and what to do about it ("" where it mends itself); called at each try.
        first_retry_s: seconds before the first reconnect; each pause is longer, up to 30.

    Attributes:
        where: host and port, for people; empty where the URL names none.
    """

    def __init__(self, *, url: str, lost: Callable[[str, str], None], first_retry_s: float = FIRST_RETRY_S) -> None:
        self._url, self._lost, self._backoff = url, lost, Backoff(first_retry_s, _LAST_RETRY_S)
        self.where = urlsplit(url).netloc.rpartition("@")[2]

    async def run(self, use: Callable[[Any], Awaitable[None]]) -> NoReturn:
        """Call *use* with a client, and whenever it failed with a new one, until cancelled.

        Args:
            use: gets a client of the package redis, which connects with its first command; calls `works` once all is
                well. Its errors of Redis and the network are told to `lost`.
        """
        redis = _library()
        while redis is None:
            self._lost("the package 'redis' is not installed", _HINT_PACKAGE)
            await asyncio.sleep(_FOR_LONG_S)
        while not self._is_understood(redis):
            self._lost("its URL holds an option that the package 'redis' does not take", _HINT_OPTIONS)
            await asyncio.sleep(_FOR_LONG_S)
        while True:
            try:
                async with self._client(redis) as client:
                    await use(client)
            except (redis.RedisError, OSError) as exc:  # TimeoutError is an OSError
                self._lost(f"{type(exc).__name__}: {mask(self._blanked(str(exc)))}".removesuffix(": "), "")
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # which a library forgot over a connection that broke at the same moment
            await asyncio.sleep(self._backoff.next())

    def works(self) -> None:
        """Have the next reconnect wait as briefly as the first one."""
        self._backoff.reset()

    @asynccontextmanager
    async def _client(self, redis: Any) -> AsyncIterator[Any]:
        """Yield a client, and close it."""
        client = self._made(redis)
        try:
            yield client
        finally:
            await client.aclose()

    def _made(self, redis: Any) -> Any:
        """Return a client of the package *redis*; it connects with its first command."""
        return redis.Redis.from_url(
            self._url,
            socket_timeout=COMMAND_S,
            socket_connect_timeout=COMMAND_S,
            decode_responses=True,
            encoding_errors="replace",  # anybody may write anything there
        )

    def _is_understood(self, redis: Any) -> bool:
        """Tell whether the package takes the URL's options; the errors it raises repeat them. Opens nothing."""
        try:
            self._made(redis).connection_pool.make_connection()
        except (ValueError, TypeError, AttributeError, redis.RedisError):
            return False
        return True

    def _blanked(self, text: str) -> str:
        """Return *text* without the password: a server that knows no AUTH repeats all that it was sent."""
        parts = urlsplit(self._url)
        for password in (unquote(parts.password or ""), *parse_qs(parts.query).get("password", ())):
            text = text.replace(password, "***") if password else text
        return text


@asynccontextmanager
async def subscribed(client: Any, channel: str) -> AsyncIterator[Any]:
    """Yield an inbox that hears *channel*, and close it."""
    inbox = client.pubsub()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(inbox.aclose)
        await inbox.subscribe(channel)
        yield inbox


async def messages(inbox: Any, probe_s: float) -> AsyncIterator[str | None]:
    """Yield each text that *inbox* brings, and None for each *probe_s* seconds of silence and each answer to a ping.

    Raises:
        TimeoutError: neither a message nor the answer to a ping came in two probes' time.
    """
    asked = False
    while True:
        message = await inbox.get_message(timeout=probe_s)
        if message is None:
            if asked:
                raise TimeoutError(f"silent for {2 * probe_s:g} s")
            await inbox.ping()
        asked = message is None
        yield message["data"] if message is not None and message["type"] == "message" else None


def _library() -> Any:
    """Return the asyncio part of the package redis, None where it is not installed."""
    try:
        return importlib.import_module("redis.asyncio")
    except ImportError:
        return None
