"""Wake-ups by Redis, for more processes than a PostgreSQL has connections: `serve` tells, every process hears.

What is told is epoch and revision and nothing else: a hint, that is compared with what was read last. The settings are
read from PostgreSQL, and polled for, whatever Redis says.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from liverouter.errors import Problem
from liverouter.events import ConfigRead, Event, ListenerConnected, ListenerLost
from liverouter.loops.wakeup import Backoff, Wakeup
from liverouter.redis.link import FIRST_RETRY_S, PROBE_S, RedisLink, messages, subscribed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from liverouter.bus import Bus
    from liverouter.events import PollCause
    from liverouter.loops.reload_requests import ReloadRequests

CHANNEL: Final = "liverouter:wake"
_SPREAD_S: Final = 1.0  # over which the processes that one true message wakes spread their reads
_TOLD: Final = re.compile(r"([\w-]{1,100}) (\d{1,19})", re.ASCII)  # epoch and revision


class WakeSubscriber:
    """Asks for a read whenever Redis tells of another revision than was read last; stands in the listener's place.

    It runs in the engine's loop. Of what Redis says nothing is believed: a message that names another revision costs a
    read, within a second, drawn anew by each process. After one that brought nothing new the next waits for twice as
    long, up to the poll's interval, so that whoever writes to Redis cannot have a fleet fall upon PostgreSQL.

    Args:
        url: of Redis.
        requests: takes the requests for a read.
        bus: hears that Redis answers, and once that it does not; tells of each read.
        poll_interval_s: seconds between two polls, whether Redis answers or not: a fleet that lost it asks no more
            often than before.
        probe_s: seconds of silence before a ping; after as many again the connection is given up.
        first_retry_s: seconds before the first reconnect; each pause is longer, up to 30.

    Attributes:
        mode: "listen" while Redis answers.
        cause: why `mode` is not "listen", once that is known.
        poll_interval_s: as given.
    """

    def __init__(
        self,
        *,
        url: str,
        requests: ReloadRequests,
        bus: Bus,
        poll_interval_s: float,
        probe_s: float = PROBE_S,
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        """Wire; nothing is opened before `run`."""
        self._requests, self._bus, self._probe_s = requests, bus, probe_s
        self._link = RedisLink(url=url, lost=self._say_lost, first_retry_s=first_retry_s)
        self._connects = self._failures = 0
        self._due: asyncio.TimerHandle | None = None
        self._pauses = Backoff(_SPREAD_S / 2, poll_interval_s)
        self._read: tuple[str, int] | None = None  # epoch and revision, as they were read last
        self._asked_at: tuple[str, int] | None = None  # the same, as a read was asked for last
        self.poll_interval_s = poll_interval_s
        self.mode: Literal["listen", "poll_only"] = "poll_only"
        self.cause: PollCause | None = None

    @property
    def healthy(self) -> bool:
        """Tell whether Redis answers, as far as the last ping knows."""
        return self.mode == "listen"

    async def run(self) -> None:
        """Hear until cancelled."""
        end = self._bus.subscribe(self._observe)
        try:
            await self._link.run(self._hear)
        finally:
            end()
            if self._due is not None:
                self._due.cancel()

    async def _hear(self, client: Any) -> None:
        """Subscribe, have everything read that was missed, then take messages until Redis fails."""
        async with subscribed(client, CHANNEL) as inbox:
            self._link.works()
            self.mode, self.cause, self._failures = "listen", None, 0
            self._bus.emit(ListenerConnected(0, self._connects))
            self._connects += 1
            self._ask_soon("wake-ups arrive")
            async for text in messages(inbox, self._probe_s):
                told = _TOLD.fullmatch(text or "")
                if told is not None and (told[1], int(told[2])) != self._read:
                    self._ask_soon("wake-up")

    def _ask_soon(self, reason: str) -> None:
        """Ask for a read after a pause of this process's own, unless one is due."""
        if self._due is not None:
            return
        if self._read != self._asked_at:  # the last read was worth it
            self._asked_at = self._read
            self._pauses.reset()
        self._due = asyncio.get_running_loop().call_later(self._pauses.next(), self._ask, reason)

    def _observe(self, event: Event) -> None:
        """Note what *event* says was read."""
        if isinstance(event, ConfigRead):
            self._read = event.epoch, event.revision

    def _ask(self, reason: str) -> None:
        self._due = None
        self._requests.request(reason)

    def _say_lost(self, why: str, hint: str) -> None:
        """Tell that Redis does not answer (LR221), unless that was told last."""
        self._failures += 1
        if self.cause is not None:
            return
        self.mode, self.cause = "poll_only", "redis"
        problem = Problem(
            "LR221",
            f"Redis at {self._link.where or 'LIVEROUTER_WAKE_URL'} passes no wake-ups on ({why})",
            "LIVEROUTER_WAKE_URL",
            hint or "Changes are found by polling meanwhile; Redis is taken up again when it answers",
            "warning",
        )
        self._bus.emit(ListenerLost("redis", self._failures, FIRST_RETRY_S, problem))

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[None]:
        """Yield None: there is no connection to PostgreSQL to lend."""
        yield None


class WakePublisher:
    """Passes on what its process reads: epoch and revision, to whoever hears the channel.

    It is told again with each read, so that who missed it hears it then.

    Args:
        url: of Redis.
        lost: told why Redis does not answer, and what to do about it; called at each try.
    """

    def __init__(self, *, url: str, lost: Callable[[str, str], None]) -> None:
        self._link, self._news = RedisLink(url=url, lost=lost), Wakeup()
        self._newest = ""

    def observe(self, event: Event) -> None:
        """Pass on what *event* says was read; from any thread."""
        if isinstance(event, ConfigRead):
            self._newest = f"{event.epoch} {event.revision}"
            self._news.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        await self._link.run(self._tell)

    async def _tell(self, client: Any) -> None:
        """Tell the newest, then whatever comes, until Redis fails; what was not told then is told after that."""
        await client.ping()
        self._link.works()
        while True:
            if self._newest:
                await client.publish(CHANNEL, self._newest)
            await self._news.wait()
            self._news.clear()
