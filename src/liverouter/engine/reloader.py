"""request → read → activate: level-triggered, single flight. In a client, nothing else calls `activation`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from liverouter.config.environment import Environment
from liverouter.engine.activation import Activation, Prepared, Reading, Rejected
from liverouter.engine.starting import Step
from liverouter.errors import DatabaseError, Problem
from liverouter.events import ConfigRead, DatabaseRecovered, LoopFailed, ReadFailed, StartDelayed
from liverouter.loops.wakeup import Backoff, jittered
from liverouter.routing.litellm_setup import load
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.bus import Bus
    from liverouter.engine.snapshot_file import SnapshotFile
    from liverouter.generation import Store
    from liverouter.loops.reload_requests import ReloadRequests
    from liverouter.options import Options
    from liverouter.postgres.listener import Listener
    from liverouter.postgres.repository import SettingsRepository
    from liverouter.redis.wake import WakeSubscriber
    from liverouter.revision import Head, Rows

_QUIET_S: Final = 0.02  # without a request: a short burst is over
_LONGEST_PAUSE_S: Final = 2.0  # between two reloads of one burst
_FIRST_RETRY_S: Final = 0.1
_LAST_RETRY_S: Final = 5.0
_SILENTLY: Final = Problem(
    "LR214",
    "rows were written past the triggers, so that they are no revision: no history has them, no rollback leads back",
    "settings",
    "Make them one: liverouter repair",
    "warning",
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The revision handled last.

    Attributes:
        rows: what it said.
        environment: what was read of the environment then.
        rejection: why it is not in force; None where it is.
    """

    rows: Rows
    environment: Environment
    rejection: Rejected | None


class Reloader:
    """Keeps the store on the newest valid revision.

    It runs in the engine's loop. A revision that cannot be applied leaves the store as it was, and is tried again once
    it, the environment or, where that was the fault, the machine has changed.

    Args:
        requests: who wants a read, beside the poll.
        repository: reads the rows.
        activation: makes a generation of them and activates it.
        store: tells whether a generation is in force.
        listener: tells whether changes are heard of, and how often to poll while they are not.
        options: the poll's interval, and the base URLs that this process trusts.
        snapshot_file: the last-known-good for a start without the database; None where none is configured.
        bus: hears of reads.
    """

    def __init__(
        self,
        *,
        requests: ReloadRequests,
        repository: SettingsRepository,
        activation: Activation,
        store: Store,
        listener: Listener | WakeSubscriber,
        options: Options,
        snapshot_file: SnapshotFile | None,
        bus: Bus,
    ) -> None:
        self._requests, self._repository, self._activation, self._store = requests, repository, activation, store
        self._listener, self._options, self._file, self._bus = listener, options, snapshot_file, bus
        self._seen: _Seen | None = None
        self._silently: Head | None = None  # the revision under which rows changed past the triggers
        self._retry = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S)  # counts the reads that failed since one succeeded
        self._litellm: asyncio.Task[None] | None = None
        self._burst_length = 0  # up with each read that ended with the next asked for, down with each that did not

    async def run(self) -> None:
        """Serve requests until cancelled; reads once at the start and at every poll interval."""
        pause_s = 0.0
        while True:
            await self._requests.wait(pause_s)
            pause_s = await self._reload()
            if await self._let_burst_pass():
                pause_s = 0.0

    async def _reload(self) -> float:
        """Read, and activate what is new; return the seconds after which to read again unasked."""
        try:
            try:
                await self._read_and_apply()
            except DatabaseError as exc:
                retry_s = self._retry.next()
                self._bus.emit(ReadFailed(exc.problem, self._retry.failures, retry_s))
                await self._start_from_file()
                return retry_s
        except Exception as exc:  # noqa: BLE001 - the top of the loop: whatever happens, the next request is served
            self._bus.emit(LoopFailed("reloader", brief(exc)))
        listener = self._listener
        return jittered(self._options.poll_interval_s if listener.healthy else listener.poll_interval_s)

    async def _read_and_apply(self) -> None:
        """Read the rows, and apply them where they or the environment are not as they were at the last read.

        Rows may differ under the same revision: a data-only restore, a replica role, a disabled trigger. Then every
        process applies them, with a warning.

        Rows that were rejected are applied again where that was forced, or the fault was not in them. What is raised on
        the way leaves them unseen, so that the next read applies them.

        Raises:
            DatabaseError: they cannot be read.
        """
        started = time.monotonic()
        rows = await self._repository.read()
        read_at = time.monotonic()
        if self._retry.failures:
            self._bus.emit(DatabaseRecovered(self._retry.failures))
            self._retry.reset()
        read_ms = (read_at - started) * 1000
        self._bus.emit(ConfigRead(rows.epoch, rows.revision, read_ms))
        if self._file is not None:
            await self._file.confirm(rows)
        seen, forced = self._seen, self._requests.take_forced()
        environment = Environment(api_bases=self._options.api_bases)
        known = seen is not None and rows.head == seen.rows.head and not environment.differs(seen.environment)
        if seen is not None and rows.head == seen.rows.head and not rows.says_what(seen.rows):
            known, self._silently = False, rows.head
        told = seen.rejection if seen is not None and known else None
        if known and not (told is not None and (told.retryable or forced)):
            return
        reading = Reading(source="database", read_ms=read_ms, read_at=read_at)
        rejection = await self._apply(rows, environment, reading, told=None if forced else told)
        self._seen = _Seen(rows, environment, rejection)
        if rejection is None and self._file is not None:
            await self._file.keep(rows)

    async def _apply(
        self, rows: Rows, environment: Environment, reading: Reading, *, told: Rejected | None = None
    ) -> Rejected | None:
        """Activate *rows*, or return why that cannot be.

        Args:
            rows: one revision, whole.
            environment: where values come from that no row gives.
            reading: where *rows* come from.
            told: the rejection of these rows that the bus has heard of; told again only where its problems differ.
        """
        with self._watched():
            outcome = await asyncio.to_thread(self._activation.prepare, rows, environment)
        match outcome:
            case Prepared() as prepared:
                if rows.head == self._silently:
                    prepared = prepared.with_warning(_SILENTLY)
                self._activation.activate(prepared, rows, reading)
                return None
            case Rejected() as rejected:
                self._activation.tell(_awaited_after(rows, reading))
                if told is None or rejected.problems != told.problems:
                    self._activation.reject(rejected, rows)
                if self._store.current is None and rejected.validation.litellm_enable and self._litellm is None:
                    self._litellm = asyncio.create_task(_load_litellm(), name="litellm import")
                return rejected

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Tell once where the block, which makes the first generation, takes longer than callers wait for others."""
        began, limit_s = time.monotonic(), self._options.ready_timeout_s

        def tell() -> None:
            if (step := self._activation.step) is not None:
                self._bus.emit(StartDelayed(step, time.monotonic() - began, step.hint))

        if self._store.current is not None or not limit_s:
            yield
            return
        timer = asyncio.get_running_loop().call_later(limit_s, tell)
        try:
            yield
        finally:
            timer.cancel()

    async def _start_from_file(self) -> None:
        """Activate the snapshot file's rows where no generation is in force; after the first failed read, once."""
        if self._file is None or self._store.current is not None or self._retry.failures > 1:
            return
        if (rows := await asyncio.to_thread(self._file.read)) is not None:
            reading = Reading(source="snapshot_file", read_ms=0.0, read_at=time.monotonic())
            await self._apply(rows, Environment(api_bases=self._options.api_bases), reading)

    async def _let_burst_pass(self) -> bool:
        """Wait until a burst of requests pauses, so that thousands of edits cost a handful of rebuilds.

        It is a burst where a read was asked for during the last one. The wait ends once none was asked for during a
        quarter of it, 20 ms at least. Its limit doubles with each read of the burst, up to 2 s.

        Returns:
            Whether there was a burst, so that the next read is due at once.
        """
        if not self._requests.pending or self._retry.failures:
            self._burst_length = max(self._burst_length - 1, 0)
            return False
        pause_s = min(_LONGEST_PAUSE_S, _QUIET_S * 2**self._burst_length)
        self._burst_length = min(self._burst_length + 1, 10)
        end_s, quiet_s = time.monotonic() + pause_s, max(_QUIET_S, pause_s / 4)
        while (left_s := end_s - time.monotonic()) > 0 and await self._requests.wait(min(left_s, quiet_s)):
            pass
        return True


def _awaited_after(rows: Rows, reading: Reading) -> Step | None:
    """Return what a start waits for whose *rows* were rejected; None where somebody has to mend something."""
    if reading.source == "snapshot_file":
        return Step.READING
    return Step.SETTINGS if rows.revision == 0 else None


async def _load_litellm() -> None:
    """Load litellm while somebody mends the first rows; whoever builds a Router waits for it, and raises what fails."""
    with contextlib.suppress(Exception):
        await asyncio.to_thread(load)
