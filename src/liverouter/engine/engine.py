"""The engine of one client: makes its parts, wires them, and keeps their loops running."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from liverouter.engine.activation import Activation
from liverouter.engine.alerts import Alerts
from liverouter.engine.probes import Probes
from liverouter.engine.reloader import Reloader
from liverouter.engine.reporter import Reporter
from liverouter.engine.snapshot_file import SnapshotFile
from liverouter.errors import RolloutError
from liverouter.events import DatabaseOptionsIgnored, LoopFailed
from liverouter.loops.reload_requests import ReloadRequests
from liverouter.postgres.asked_url import AskedUrl
from liverouter.postgres.listener import Listener
from liverouter.postgres.repository import SettingsRepository
from liverouter.redis.wake import WakeSubscriber
from liverouter.routing.cooldowns import Cooldowns
from liverouter.routing.shared_cooldowns import SharedCooldowns
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from liverouter.bus import Bus
    from liverouter.chat.usage import UsageCounter
    from liverouter.engine.status import StatusTracker
    from liverouter.generation import Store
    from liverouter.loops.thread import LoopThread
    from liverouter.options import Options
    from liverouter.postgres.dsn import Dsn
    from liverouter.secrecy.sealing import Keyring

_DEGRADED_POLL_S: Final = 2.0  # poll interval while notifications do not arrive
_RESTART_S: Final = 1.0
_GOODBYE_S: Final = 1.0
_TOLD_AGAIN_S: Final = 0.5  # from telling a loop to end to telling it again


class Engine:
    """What runs in the engine's loop. The client makes and starts it, and owns its loop.

    Attributes:
        requests: asks for a read of the settings, from any thread.

    Args:
        client_id: names this process in the database, a UUID.
        options: how this process connects and behaves.
        keyring: opens sealed secrets; None where no key is configured.
        store: where the generation in force is read and written.
        bus: hears of everything that happens.
        usage: counts the calls; the reporter drains it.
        status: where the client stands.
        io: the loop that every provider call runs on.
    """

    def __init__(
        self,
        *,
        client_id: str,
        options: Options,
        keyring: Keyring | None,
        store: Store,
        bus: Bus,
        usage: UsageCounter,
        status: StatusTracker,
        io: LoopThread,
    ) -> None:
        """Wire the parts; nothing is opened before `run`."""
        self._bus, self._options = bus, options
        self._tasks: dict[str, asyncio.Task[None]] = {}  # the loops, by name
        self._ignored: set[tuple[str, ...]] = set()  # options of URLs, that were told of
        cooldowns = Cooldowns()
        self.requests = ReloadRequests(bus)
        self.shared = (
            SharedCooldowns(url=options.redis_url, cooldowns=cooldowns, bus=bus) if options.redis_url else None
        )
        self.listener = self._subscriber() if options.wake_url else self._listener()
        self.repository = SettingsRepository(
            url=options.dsn,
            application_name=f"liverouter/{options.app}"[:63],
            lender=None if options.listen_url else self.listener,  # that URL may be another login's
            **{"idle_s": 0.0} if options.wake_url else {},
        )
        self.reloader = Reloader(
            requests=self.requests,
            repository=self.repository,
            activation=Activation(
                keyring=keyring,
                usage=usage,
                io=io,
                store=store,
                bus=bus,
                cooldowns=cooldowns,
                gc_freeze=options.gc_freeze,
            ),
            store=store,
            listener=self.listener,
            options=options,
            snapshot_file=SnapshotFile(options.snapshot_file, keyring, options=options, bus=bus)
            if options.snapshot_file
            else None,
            bus=bus,
        )
        self.reporter = Reporter(
            repository=self.repository,
            instance=client_id,
            options=options,
            status=status,
            store=store,
            usage=usage,
            requests=self.requests,
            bus=bus,
        )
        self.alerts = Alerts(repository=self.repository, store=store, bus=bus)
        self.probes = Probes(repository=self.repository, store=store, usage=usage, io=io)

    def _listener(self) -> Listener:
        """Return what hears of changes from PostgreSQL."""
        options = self._options
        poll_s, sleeps = options.poll_interval_s, not options.heartbeat_interval_s
        return Listener(
            dsn=options.listen_dsn,
            requests=self.requests,
            bus=self._bus,
            application_name=f"liverouter-listen/{options.app}"[:63],
            probe_interval_s=options.probe_interval_s,
            poll_interval_s=poll_s if sleeps else min(_DEGRADED_POLL_S, poll_s),
            retry_at_least_s=poll_s if sleeps else 0.0,
        )

    def _subscriber(self) -> WakeSubscriber:
        """Return what hears of changes from Redis."""
        return WakeSubscriber(
            url=self._options.wake_url,
            requests=self.requests,
            bus=self._bus,
            poll_interval_s=self._options.poll_interval_s,
        )

    async def run(self) -> None:
        """Run all loops until `close`."""
        for database in (self._options.dsn, self._options.listen_dsn):
            self._tell_ignored(database)
            if isinstance(database, AskedUrl):
                database.told = self._tell_ignored
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "reloader": self.reloader.run,
            "listener": self.listener.run,
            "reporter": self.reporter.run,
        }
        if self._options.heartbeat_interval_s:  # a database that sleeps is not woken for these
            loops |= {"alerts": self.alerts.run, "probes": self.probes.run}
        if self.shared is not None:
            loops["shared cooldowns"] = self.shared.run
        self._tasks = {name: asyncio.create_task(self._supervise(name, run), name=name) for name, run in loops.items()}
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _tell_ignored(self, database: Dsn | AskedUrl) -> None:
        """Tell which options of a URL have no meaning here, once for each set of them."""
        if database.ignored and database.ignored not in self._ignored:
            self._ignored.add(database.ignored)
            self._bus.emit(DatabaseOptionsIgnored(database.ignored))

    async def wait_applied(self, revision: int, timeout_s: float) -> None:
        """Return once every live instance has applied *revision* or a newer one; this process is one of them.

        Raises:
            RolloutError: an instance rejected it, or *timeout_s* seconds were not enough.
            DatabaseError: the database cannot be asked.
        """
        deadline = time.monotonic() + timeout_s
        if not await self.reporter.first_report(timeout_s):
            raise RolloutError(
                f"this process has not reported to the database after {timeout_s:g} s",
                code="LR404",
                where=f"revision {revision}",
                hint="See pg_stat_activity for what holds up liverouter.report",
            )
        await self.repository.wait_applied(revision, max(0.0, deadline - time.monotonic()))

    async def close(self) -> None:
        """End the loops, say goodbye to the database, release its connections.

        The listener ends behind the report that is on its way, perhaps on the connection that it lends: a report would
        count twice if it arrived and nobody heard so.
        """
        await self._end(name for name in self._tasks if name != "listener")
        for step in (self._settle, lambda: self._end(self._tasks), self._say_goodbye, self.repository.close):
            try:
                await step()
            except Exception as exc:  # noqa: BLE001 - the steps that are left are taken all the same
                self._bus.emit(LoopFailed("goodbye", brief(exc)))

    async def _end(self, names: Iterable[str]) -> None:
        """Cancel the loops of *names*, and return when they have ended; one that did not hear it is told again."""
        ending = {self._tasks[name] for name in names}
        while ending:
            for task in ending:
                task.cancel()
            _, ending = await asyncio.wait(ending, timeout=_TOLD_AGAIN_S)

    async def _settle(self) -> None:
        """Wait for the report that is on its way; gives up after `_GOODBYE_S` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self.reporter.settle()

    async def _say_goodbye(self) -> None:
        """Tell the database that this process ends; gives up after `_GOODBYE_S` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self.reporter.say_goodbye()

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run one loop until cancelled; one that ended or raised is started again after `_RESTART_S` seconds."""
        while True:
            try:
                await run()
            except Exception as exc:  # noqa: BLE001 - the top of a loop
                self._bus.emit(LoopFailed(name, brief(exc)))
            await asyncio.sleep(_RESTART_S)
