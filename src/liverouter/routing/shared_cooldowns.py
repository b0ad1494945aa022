"""Cooldowns of several processes, shared by one Redis: what one process learns, the others need not find out.

No call ever waits for Redis: calls read the cooldowns in memory, and this loop exchanges them in the background. It
subscribes first and reads then, after every reconnect again, so that nothing is missed in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from liverouter.errors import Problem
from liverouter.events import SharedCooldownsChanged
from liverouter.loops.wakeup import Backoff, Wakeup
from liverouter.routing.causes import Cause
from liverouter.routing.cooldowns import Cooldown, Cooldowns
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from liverouter.bus import Bus

NAME: Final = "liverouter:cooldowns"  # of the hash (deployment id -> cooldown) and of the channel
_COMMAND_S: Final = 2.0  # for one answer of Redis
_PROBE_S: Final = 5.0  # of silence, then a ping; of silence again, then the connection is given up
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 30.0
_LONGEST_S: Final = 86_400  # the longest cooldown there is; the hash is gone after that
_HINT: Final = "Calls go on, each process with its own cooldowns; Redis is taken up again when it answers."
_HINT_OPTIONS: Final = "Remove what stands behind the ? in it, or name it as that package does: ?socket_keepalive=1"


class SharedCooldowns:
    """Exchanges the cooldowns of this process with those of all others on one Redis."""

    def __init__(
        self,
        *,
        url: str,
        cooldowns: Cooldowns,
        bus: Bus,
        wall: Callable[[], float] = time.time,
        probe_s: float = _PROBE_S,
        first_retry_s: float = _FIRST_RETRY_S,
    ) -> None:
        """Share *cooldowns* by the Redis at *url*; nothing is opened before `run`.

        Args:
            url: of Redis; no event shows its password.
            cooldowns: those of this process.
            bus: hears when sharing begins, and once when it is lost.
            wall: the clock of *cooldowns*: unix seconds.
            probe_s: seconds of silence before a ping; after as many again the connection is given up.
            first_retry_s: seconds before the first reconnect; each pause is longer, up to 30.
        """
        self._url, self._cooldowns, self._bus, self._wall = url, cooldowns, bus, wall
        self._probe_s, self._backoff = probe_s, Backoff(first_retry_s, _LAST_RETRY_S)
        self._untold: dict[str, Cooldown] = {}  # deployment id -> what began here and Redis does not have yet
        self._news = Wakeup()
        self._offset_s = 0.0  # Redis's clock minus ours
        self._telling = False  # what begins now is told: a connection is there, and its catching up has begun
        self._attached: bool | None = None  # as the last event said; None before the first
        cooldowns.on_begin(self._tell_soon)

    async def run(self) -> None:
        """Share until cancelled; connects again for ever, and says once that it cannot."""
        redis = _library()
        while redis is None:
            self._say_lost("the package 'redis' is not installed", "Install it: pip install 'liverouter[redis]'")
            await asyncio.sleep(_LONGEST_S)
        lost = (redis.RedisError, OSError, TimeoutError)
        while not self._is_understood(redis):
            self._say_lost("its URL holds an option that the package 'redis' does not take", _HINT_OPTIONS)
            await asyncio.sleep(_LONGEST_S)
        while True:
            try:
                await self._share(self._client(redis))
            except lost as exc:
                self._say_lost(f"{type(exc).__name__}: {mask(self._blanked(str(exc)))}".removesuffix(": "), _HINT)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # which a library forgot over a connection that broke at the same moment
            await asyncio.sleep(self._backoff.next())

    def _client(self, redis: Any) -> Any:
        """Return a client of the package *redis*; it connects with its first command."""
        return redis.Redis.from_url(
            self._url,
            socket_timeout=_COMMAND_S,
            socket_connect_timeout=_COMMAND_S,
            decode_responses=True,
            encoding_errors="replace",  # anybody may write anything there
        )

    def _is_understood(self, redis: Any) -> bool:
        """Tell whether the package takes the URL's options; the errors it raises repeat them. Opens nothing."""
        try:
            self._client(redis).connection_pool.make_connection()
        except (ValueError, TypeError, AttributeError, redis.RedisError):
            return False
        return True

    def _blanked(self, text: str) -> str:
        """Return *text* without the password: a server that knows no AUTH repeats all that it was sent."""
        parts = urlsplit(self._url)
        for password in (unquote(parts.password or ""), *parse_qs(parts.query).get("password", ())):
            text = text.replace(password, "***") if password else text
        return text

    async def _share(self, client: Any) -> None:
        """Connect, catch up, then hear and tell until the connection fails."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(client.aclose)
            inbox = client.pubsub()
            stack.push_async_callback(inbox.aclose)
            await inbox.subscribe(NAME)
            self._telling = True  # before the look at what is active, so that nothing begins between the two
            stack.callback(self._tell_no_more)
            await self._catch_up(client)
            self._backoff.reset()
            if not self._attached:
                self._attached = True
                self._bus.emit(SharedCooldownsChanged(attached=True))
            telling = asyncio.create_task(self._tell(client), name="shared cooldowns, telling")
            stack.callback(telling.cancel)
            await self._hear(inbox, telling)

    async def _catch_up(self, client: Any) -> None:
        """Take what others know, tell what they cannot know yet, and drop what is over."""
        sent_at = self._wall()
        seconds, micros = await client.time()
        self._offset_s = seconds + micros / 1e6 - (sent_at + self._wall()) / 2
        known: Mapping[str, str] = await client.hgetall(NAME)
        over = [identifier for identifier, text in known.items() if not self._take(identifier, text)]
        if over:
            await client.hdel(NAME, *over)
        for identifier, cooldown in self._cooldowns.active().items():
            if identifier not in known or identifier in over:
                await self._put(client, identifier, cooldown)

    async def _hear(self, inbox: Any, telling: asyncio.Task[None]) -> None:
        """Take what *inbox* brings until *telling* ends, and raise its error.

        Raises:
            TimeoutError: neither a message nor the answer to a ping came in two probes' time.
        """
        asked = False
        while not telling.done():
            message = await inbox.get_message(timeout=self._probe_s)
            if message is None:
                if asked:
                    raise TimeoutError(f"silent for {2 * self._probe_s:g} s")
                await inbox.ping()
            elif message["type"] == "message":
                identifier, _, text = message["data"].partition("\n")
                self._take(identifier, text)
            asked = message is None
        await telling  # its error is the reason

    async def _tell(self, client: Any) -> None:
        """Put what began here into Redis, as it begins, until cancelled or until Redis fails."""
        while True:
            while self._untold:
                await self._put(client, *self._untold.popitem())
            await self._news.wait()
            self._news.clear()

    def _tell_soon(self, identifier: str, cooldown: Cooldown) -> None:
        """Tell the others of *cooldown*; called by whoever made the call that began it. Not connected: told later."""
        if self._telling:
            self._untold[identifier] = cooldown
            self._news.set()

    def _tell_no_more(self) -> None:
        """Leave what begins from now on to the next catching up, which tells all that is active."""
        self._telling = False

    async def _put(self, client: Any, identifier: str, cooldown: Cooldown) -> None:
        """Store *cooldown* in the hash and publish it, by Redis's clock."""
        text = json.dumps(
            {
                "began_at": round(cooldown.began_at + self._offset_s, 3),
                "length_s": round(cooldown.length_s, 3),
                "cause": cooldown.cause.name,
                "status": cooldown.cause.status,
            }
        )
        commands = client.pipeline(transaction=False)
        commands.hset(NAME, identifier, text)
        commands.expire(NAME, _LONGEST_S)
        commands.publish(NAME, f"{identifier}\n{text}")
        await commands.execute()

    def _take(self, identifier: str, text: str) -> bool:
        """Adopt a cooldown that Redis holds, and return whether it is one that is still on."""
        try:
            told = json.loads(text)
            began_at, length_s = float(told["began_at"]) - self._offset_s, float(told["length_s"])
            cause = Cause(str(told["cause"])[:100], int(told["status"]))
        except (ValueError, TypeError, KeyError):
            return False  # not ours
        now = self._wall()
        if not (length_s <= _LONGEST_S and began_at <= now + _COMMAND_S and began_at + length_s > now):
            return False
        self._cooldowns.adopt(identifier, Cooldown(began_at, length_s, cause))
        return True

    def _say_lost(self, why: str, hint: str) -> None:
        """Emit that sharing is off (LR306), unless that was said last."""
        if self._attached is False:
            return
        self._attached = False
        where = urlsplit(self._url).netloc.rpartition("@")[2] or "LIVEROUTER_REDIS_URL"
        message = f"shared cooldowns are off: Redis at {where} does not answer ({why})"
        problem = Problem("LR306", message, "LIVEROUTER_REDIS_URL", hint, "warning")
        self._bus.emit(SharedCooldownsChanged(attached=False, problem=problem))


def _library() -> Any:
    """Return the asyncio part of the package redis, None where it is not installed."""
    try:
        return importlib.import_module("redis.asyncio")
    except ImportError:
        return None
