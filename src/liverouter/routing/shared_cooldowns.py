"""Cooldowns of several processes, shared by one Redis: what one process learns, the others need not find out.

No call ever waits for Redis: calls read the cooldowns in memory, and this loop exchanges them in the background. It
subscribes first and reads then, after every reconnect again, so that nothing is missed in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import Problem
from liverouter.events import SharedCooldownsChanged
from liverouter.loops.wakeup import Wakeup
from liverouter.redis.link import FIRST_RETRY_S, PROBE_S, RedisLink, messages, subscribed
from liverouter.routing.causes import Cause
from liverouter.routing.cooldowns import Cooldown, Cooldowns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from liverouter.bus import Bus

NAME: Final = "liverouter:cooldowns"  # of the hash (deployment id -> cooldown) and of the channel
_APART_S: Final = 2.0  # that two clocks may differ
_LONGEST_S: Final = 86_400  # the longest cooldown there is; the hash is gone after that
_HINT: Final = "Calls go on, each process with its own cooldowns; Redis is taken up again when it answers."


class SharedCooldowns:
    """Exchanges the cooldowns of this process with those of all others on one Redis."""

    def __init__(
        self,
        *,
        url: str,
        cooldowns: Cooldowns,
        bus: Bus,
        wall: Callable[[], float] = time.time,
        probe_s: float = PROBE_S,
        first_retry_s: float = FIRST_RETRY_S,
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
        self._cooldowns, self._bus, self._wall, self._probe_s = cooldowns, bus, wall, probe_s
        self._link = RedisLink(url=url, lost=self._say_lost, first_retry_s=first_retry_s)
        self._untold: dict[str, Cooldown] = {}  # deployment id -> what began here and Redis does not have yet
        self._news = Wakeup()
        self._offset_s = 0.0  # Redis's clock minus ours
        self._telling = False  # what begins now is told: a connection is there, and its catching up has begun
        self._attached: bool | None = None  # as the last event said; None before the first
        cooldowns.on_begin(self._tell_soon)

    async def run(self) -> None:
        """Share until cancelled; connects again for ever, and says once that it cannot."""
        await self._link.run(self._share)

    async def _share(self, client: Any) -> None:
        """Connect, catch up, then hear and tell until the connection fails."""
        async with contextlib.AsyncExitStack() as stack:
            inbox = await stack.enter_async_context(subscribed(client, NAME))
            self._telling = True  # before the look at what is active, so that nothing begins between the two
            stack.callback(self._tell_no_more)
            await self._catch_up(client)
            self._link.works()
            if not self._attached:
                self._attached = True
                self._bus.emit(SharedCooldownsChanged(attached=True))
            telling = asyncio.create_task(self._tell(client), name="shared cooldowns, telling")
            telling.add_done_callback(lambda told: told.cancelled() or told.exception())  # somebody has looked at it
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
        """Take what *inbox* brings until *telling* ends, and raise its error."""
        async for text in messages(inbox, self._probe_s):
            if text is not None:
                identifier, _, cooldown = text.partition("\n")
                self._take(identifier, cooldown)
            if telling.done():
                break
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
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return False  # not ours; the last two are of an endless number and of arrays in arrays in arrays
        now = self._wall()
        if not (length_s <= _LONGEST_S and began_at <= now + _APART_S and began_at + length_s > now):
            return False
        self._cooldowns.adopt(identifier, Cooldown(began_at, length_s, cause))
        return True

    def _say_lost(self, why: str, hint: str) -> None:
        """Emit that sharing is off (LR306) and *why*, unless that was said last."""
        if self._attached is False:
            return
        self._attached = False
        where = self._link.where or "LIVEROUTER_REDIS_URL"
        message = f"shared cooldowns are off: Redis at {where} does not answer ({why})"
        problem = Problem("LR306", message, "LIVEROUTER_REDIS_URL", hint or _HINT, "warning")
        self._bus.emit(SharedCooldownsChanged(attached=False, problem=problem))
