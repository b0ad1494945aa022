"""The engine of one client: wires listener, reloader and reporter, builds generations, and keeps the loops running."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from liverouter.builder import Builder
from liverouter.config import Validation, validate
from liverouter.cooldowns import Cooldowns
from liverouter.environment import Environment
from liverouter.errors import LiveRouterError
from liverouter.events import Bus, LoopFailed, SnapshotFileIgnored, SnapshotFileWritten
from liverouter.listener import Listener
from liverouter.redaction import mask
from liverouter.reloader import Reloader
from liverouter.reporter import Reporter
from liverouter.repository import SettingsRepository
from liverouter.router import collecting_later, cooling, freeze, load
from liverouter.shared_cooldowns import SharedCooldowns
from liverouter.snapshot_file import CONFIRM_EVERY_S, read_snapshot_file, write_snapshot_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from liverouter.errors import Problem
    from liverouter.loop_thread import LoopThread
    from liverouter.options import Options
    from liverouter.raw import Head, RawConfig
    from liverouter.sealing import Keyring
    from liverouter.snapshot import Snapshot
    from liverouter.state import Status
    from liverouter.store import Generation, Store
    from liverouter.usage import UsageCounter

_DEGRADED_POLL_S: Final = 2.0  # poll interval while notifications do not arrive
_RESTART_S: Final = 1.0  # pause before a background loop that ended is run again
_GOODBYE_S: Final = 1.0
_REFILE_S: Final = 60.0  # a snapshot file that could not be written is tried again by the first read after this


@dataclass(frozen=True, slots=True)
class _Filing:
    """One write of the snapshot file."""

    head: Head
    at: float  # monotonic seconds
    problem: Problem | None = None  # why the file does not hold it

    def is_due(self, head: Head) -> bool:
        """Tell whether to write again though the database still holds the same: its age tells when that was seen."""
        wait_s = CONFIRM_EVERY_S if self.problem is None else _REFILE_S
        return head == self.head and time.monotonic() - self.at > wait_s


class Engine:
    """What runs in the engine's loop. Made and started by `client`, which owns the loops."""

    def __init__(
        self,
        *,
        client_id: str,
        options: Options,
        keyring: Keyring | None,
        store: Store,
        bus: Bus,
        usage: UsageCounter,
        status: Callable[[], Status],
        io: LoopThread,
    ) -> None:
        """Wire the parts; nothing is opened before `run`."""
        self._client_id, self._options, self._keyring, self._io = client_id, options, keyring, io
        self._store, self._bus, self._usage, self._status = store, bus, usage, status
        self._tasks: list[asyncio.Task[None]] = []
        self._litellm: asyncio.Task[None] | None = None
        self._filing: _Filing | None = None  # the last one
        cooldowns = Cooldowns()
        self.builder = Builder(client_id=client_id, usage=usage, io=io, cooldowns=cooldowns)
        self.shared = (
            SharedCooldowns(url=options.redis_url, cooldowns=cooldowns, bus=bus) if options.redis_url else None
        )
        self.repository = SettingsRepository(
            url=options.database_url, application_name=f"liverouter/{options.app}"[:63]
        )
        self.reloader = Reloader(
            read=self._read,
            environment=lambda: Environment(api_bases=options.api_bases),
            validate=self._validate,
            build=self._build,
            store=self._store,
            bus=self._bus,
            poll_interval_s=self._poll_interval_s,
            read_file=self._read_file if options.snapshot_file else None,
            activated=self._write_file if options.snapshot_file else None,
        )
        self.listener = Listener(
            dsn=options.listen_dsn,
            on_change=self.reloader.request,
            bus=self._bus,
            application_name=f"liverouter-listen/{options.app}"[:63],
            probe_interval_s=options.probe_interval_s,
            poll_interval_s=min(_DEGRADED_POLL_S, options.poll_interval_s),
        )
        self.reporter = Reporter(
            send=self.repository.report,
            instance=client_id,
            options=options,
            status=status,
            generation=lambda: self._store.current,
            cooling=_cooling,
            usage=self._usage.drain,
            unsent_usage=self._usage.restore,
            on_head=self._compare_head,
            bus=self._bus,
        )

    async def run(self) -> None:
        """Run all loops until `close`."""
        self._litellm = asyncio.create_task(_import_litellm(), name="litellm import")
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "reloader": self.reloader.run,
            "listener": self.listener.run,
            "reporter": self.reporter.run,
        }
        if self.shared is not None:
            loops["shared cooldowns"] = self.shared.run
        self._tasks = [asyncio.create_task(self._supervise(name, run), name=name) for name, run in loops.items()]
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """End the loops, say goodbye to the database, release its connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for step in (self._say_goodbye, self.repository.close):
            try:
                await step()
            except Exception as exc:  # noqa: BLE001 - whatever it is, what is left to end is ended
                self._bus.emit(LoopFailed("goodbye", f"{type(exc).__name__}: {mask(str(exc))}"))

    async def _say_goodbye(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self.reporter.say_goodbye()

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run one loop for ever: an error nobody foresaw is told and the loop started again."""
        while True:
            try:
                await run()
            except Exception as exc:  # noqa: BLE001 - the top of a loop
                self._bus.emit(LoopFailed(name, f"{type(exc).__name__}: {mask(str(exc))}"))
            await asyncio.sleep(_RESTART_S)

    def _poll_interval_s(self) -> float:
        interval_s = self._options.poll_interval_s
        return interval_s if self.listener.healthy else min(interval_s, _DEGRADED_POLL_S)

    def _compare_head(self, head: Head) -> None:
        status = self._status()
        if (head.epoch, head.revision) != (status.epoch, status.desired_revision):
            self.reloader.request("the heartbeat saw another revision")

    def _validate(self, raw: RawConfig, environment: Environment) -> Validation:
        return validate(raw, environment=environment, keyring=self._keyring)

    async def _build(self, snapshot: Snapshot, number: int) -> tuple[Generation, float, float]:
        """Return a generation that is ready to serve its first call, and what building and warming took."""
        if snapshot.litellm_enable and self._litellm is not None:
            await asyncio.shield(self._litellm)
        with collecting_later():
            started = time.monotonic()
            generation = await asyncio.to_thread(self.builder.build, snapshot, number)
            built_at = time.monotonic()
            await asyncio.to_thread(self.builder.warm, generation)
            warmed_at = time.monotonic()
        if self._options.gc_freeze:
            freeze()
        return generation, (built_at - started) * 1000, (warmed_at - built_at) * 1000

    async def _read(self) -> RawConfig:
        raw = await self.repository.read()
        if self._filing is not None and self._filing.is_due(raw.head):
            await self._write_file(raw, told=self._filing.problem)
        return raw

    def _read_file(self) -> RawConfig | None:
        path = self._options.snapshot_file or Path()
        try:
            return read_snapshot_file(path, self._keyring, database=self._options.database_name)
        except LiveRouterError as exc:
            self._bus.emit(SnapshotFileIgnored(str(path), exc.problem))
            return None

    async def _write_file(self, raw: RawConfig, *, told: Problem | None = None) -> None:
        """Write *raw* to the snapshot file; say why that cannot be done, unless that was *told*."""
        path = self._options.snapshot_file or Path()
        try:
            await asyncio.to_thread(write_snapshot_file, path, raw, self._keyring, database=self._options.database_name)
        except LiveRouterError as exc:
            self._filing = _Filing(raw.head, time.monotonic(), exc.problem)
            if exc.problem != told:
                self._bus.emit(SnapshotFileIgnored(str(path), exc.problem))
            return
        self._filing = _Filing(raw.head, time.monotonic())
        self._bus.emit(SnapshotFileWritten(str(path), raw.revision))


async def _import_litellm() -> None:
    with contextlib.suppress(Exception):  # whoever builds a Router imports it again, and tells what fails
        await asyncio.to_thread(load)


def _cooling(generation: Generation) -> dict[str, float]:
    return cooling(generation.router) if generation.router is not None else {}
