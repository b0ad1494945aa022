"""request → read → validate → build → activate. Level-triggered, single flight: the one writer of the store."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from liverouter.errors import ConfigError, DatabaseError, LiveRouterError, Problem
from liverouter.events import (
    Bus,
    ConfigApplied,
    ConfigRead,
    ConfigRejected,
    DatabaseRecovered,
    GenerationRetired,
    LoopFailed,
    ReadFailed,
    ReloadRequested,
)
from liverouter.redaction import mask
from liverouter.store import Generation, Store

if TYPE_CHECKING:
    from liverouter.config import Validation
    from liverouter.environment import Environment
    from liverouter.raw import RawConfig
    from liverouter.snapshot import Snapshot

Build = Callable[["Snapshot", int], Awaitable[tuple[Generation, float, float]]]
_QUIET_S: Final = 0.02  # nothing asked for during this: a short burst is over
_LONGEST_PAUSE_S: Final = 2.0  # between two reloads of one burst
_FIRST_RETRY_S: Final = 0.1
_LAST_RETRY_S: Final = 5.0
Source = Literal["database", "snapshot_file"]


class Reloader:
    """Keeps the store on the newest valid revision.

    `request` may be called from any thread, as often as one likes: at most one wake-up is pending. Everything else
    runs in the engine's loop. A revision that cannot be applied leaves the store as it was, and is tried again once it,
    the environment or, where that was the fault, the machine has changed.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Awaitable[RawConfig]],
        environment: Callable[[], Environment],
        validate: Callable[[RawConfig, Environment], Validation],
        build: Build,  # (snapshot, number) -> generation, build_ms, warm_ms
        store: Store,
        bus: Bus,
        poll_interval_s: Callable[[], float],  # asked before each wait; shorter while notifications fail
        read_file: Callable[[], RawConfig | None] | None = None,  # last-known-good for a start without the database
        activated: Callable[[RawConfig], Awaitable[None]] | None = None,  # after each activation from the database
    ) -> None:
        """Wire the steps; nothing runs before `run`."""
        self._read, self._environment, self._validate = read, environment, validate
        self._build, self._store, self._bus = build, store, bus
        self._poll_interval_s, self._read_file, self._activated = poll_interval_s, read_file, activated
        self._wanted = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seen: tuple[str, int, str] | None = None  # epoch, revision, change id of the last revision handled
        self._seen_environment: Environment | None = None
        self._rejected: tuple[Problem, ...] = ()  # of the revision seen last; empty where it is in force
        self._may_pass = False  # it was rejected for what is not of the rows: every poll tries again
        self._insisted = False  # somebody asked to have it tried again
        self._failed_reads = 0
        self._generations = 0
        self._started = time.monotonic()

    def request(self, reason: str, *, insist: bool = False) -> None:
        """Ask for a read, soon; returns at once. Callable from any thread.

        Who *insists* has a rejected revision tried again, and told again, though nothing changed.
        """
        self._insisted = self._insisted or insist
        self._bus.emit(ReloadRequested(reason))
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody is left to serve
                loop.call_soon_threadsafe(self._wanted.set)

    async def run(self) -> None:
        """Serve requests until cancelled; reads once at the start and at every poll interval."""
        self._loop = asyncio.get_running_loop()
        self._wanted.set()
        crowded = 0  # how many more reloads lately ended with the next already asked for than did not
        while True:
            wait_s = self._poll_interval_s() * random.uniform(0.8, 1.2)  # noqa: S311 - spreads a fleet, guards nothing
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wanted.wait()
            self._wanted.clear()  # before the read: a later request must mean a later read
            try:
                await self._reload()
            except Exception as exc:  # noqa: BLE001 - the top of the loop: whatever happens, the next request is served
                self._bus.emit(LoopFailed("reloader", f"{type(exc).__name__}: {mask(str(exc))}"))
            if self._wanted.is_set() and not self._failed_reads:
                await self._let_pass(min(_LONGEST_PAUSE_S, _QUIET_S * 2**crowded))
                crowded = min(crowded + 1, 10)
            else:
                crowded = max(crowded - 1, 0)

    async def _let_pass(self, pause_s: float) -> None:
        """Wait for the end of a burst of requests, at most *pause_s*: thousands of edits cost a handful of rebuilds."""
        loop = asyncio.get_running_loop()
        end, quiet_s = loop.time() + pause_s, max(_QUIET_S, pause_s / 4)
        with contextlib.suppress(TimeoutError):
            while (left := end - loop.time()) > 0:
                self._wanted.clear()
                async with asyncio.timeout(min(left, quiet_s)):
                    await self._wanted.wait()
        self._wanted.set()

    async def _reload(self) -> None:
        started = time.monotonic()
        try:
            raw = await self._read()
        except DatabaseError as exc:
            await self._read_failed(exc)
            return
        read_at = time.monotonic()
        if self._failed_reads:
            self._bus.emit(DatabaseRecovered(self._failed_reads))
            self._failed_reads = 0
        self._bus.emit(ConfigRead(raw.epoch, raw.revision, (read_at - started) * 1000))
        environment = self._environment()
        key = (raw.epoch, raw.revision, raw.change_id)
        former, insisted, self._insisted = self._seen_environment, self._insisted, False
        known = key == self._seen and former is not None and not environment.differs(former)
        if known and not self._may_pass and not (insisted and self._rejected):
            return
        if insisted or not known:
            self._rejected = ()  # to be told, though it be the same again
        self._seen, self._seen_environment, self._may_pass = key, environment, False
        if await self._apply(raw, environment, "database", started, read_at) and self._activated is not None:
            await self._activated(raw)

    async def _read_failed(self, exc: DatabaseError) -> None:
        self._failed_reads += 1
        retry_s = random.uniform(0, min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(self._failed_reads, 10)))  # noqa: S311 - jitter
        self._bus.emit(ReadFailed(exc.problem, self._failed_reads, retry_s))
        if self._store.current is None and self._read_file is not None and self._failed_reads == 1:
            await self._start_from_file()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(retry_s):
                await self._wanted.wait()
        self._wanted.set()

    async def _start_from_file(self) -> None:
        now = time.monotonic()
        raw = self._read_file() if self._read_file is not None else None
        if raw is not None:
            await self._apply(raw, self._environment(), "snapshot_file", now, now)

    async def _apply(
        self, raw: RawConfig, environment: Environment, source: Source, started: float, read_at: float
    ) -> bool:
        """Validate, build and swap *raw* in; on any failure keep the generation in force and say why."""
        validation = self._validate(raw, environment)
        validated_at = time.monotonic()
        if validation.snapshot is None:
            self._reject(raw, "validate", validation.problems)
            return False
        former = self._store.current
        try:
            generation, build_ms, warm_ms = await self._next(validation.snapshot, former)
        except ConfigError as exc:
            self._reject(raw, "build", exc.problems, may_pass=_may_pass(exc))
            return False
        except LiveRouterError as exc:
            self._reject(raw, "build", (exc.problem,))
            return False
        except Exception as exc:  # noqa: BLE001 - a third party's constructor; the revision is rejected, the process serves on
            may_pass = _may_pass(exc)
            hint = "It is tried again at every poll" if may_pass else "Check provider and model"
            problem = Problem("LR301", f"{type(exc).__name__}: {mask(str(exc))}", "settings", hint)
            self._reject(raw, "build", (problem,), may_pass=may_pass)
            return False
        self._store.activate(generation)
        self._rejected = ()
        now = time.monotonic()
        live_ms = raw.age_ms + (now - read_at) * 1000
        again = former is not None and former.snapshot.change_id == raw.change_id  # a standby promoted, a key replaced
        unheard = live_ms > (now - self._started) * 1000  # committed before this process could hear of it
        snapshot = generation.snapshot
        self._bus.emit(
            ConfigApplied(
                epoch=raw.epoch,
                revision=raw.revision,
                generation=generation.number,
                primary=snapshot.primary.label,
                fallbacks=tuple(d.label for d in snapshot.fallbacks),
                litellm_enable=snapshot.litellm_enable,
                source=source,
                read_ms=(read_at - started) * 1000,
                validate_ms=(validated_at - read_at) * 1000,
                build_ms=build_ms,
                warm_ms=warm_ms,
                commit_to_live_ms=None if again or unheard or source == "snapshot_file" else live_ms,
                rebuilt=former is None or generation.chat is not former.chat,
                warnings=validation.warnings,
            )
        )
        if former is not None and former.chat is not generation.chat:
            self._bus.emit(GenerationRetired(former.number))
        return True

    async def _next(self, snapshot: Snapshot, former: Generation | None) -> tuple[Generation, float, float]:
        """Return the next generation: built anew, or the former one relabelled when nothing that serves changed."""
        number = self._generations + 1
        if former is not None and snapshot.serves_like(former.snapshot):
            built = replace(
                former, number=number, snapshot=snapshot, deployments={d.id: d for d in snapshot.deployments}
            )
            self._generations = number
            return built, 0.0, 0.0
        result = await self._build(snapshot, number)
        self._generations = number
        return result

    def _reject(
        self,
        raw: RawConfig,
        stage: Literal["validate", "build", "warm"],
        problems: tuple[Problem, ...],
        *,
        may_pass: bool = False,
    ) -> None:
        told, self._rejected, self._may_pass = self._rejected, problems, may_pass
        if problems != told:  # of one revision once, however often it is tried again
            kept = self._store.current
            self._bus.emit(ConfigRejected(raw.epoch, raw.revision, stage, problems, kept.number if kept else None))


def _may_pass(exc: BaseException) -> bool:
    """Tell a failure that is not of the rows: files, threads, memory or a package may be there at the next try."""
    if isinstance(exc, ConfigError):  # says what it came from in the words of the rows
        return exc.__context__ is not None and _may_pass(exc.__context__)
    return isinstance(exc, OSError | RuntimeError | ImportError | MemoryError)
