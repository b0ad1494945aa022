"""request → read → validate → build → activate, level-triggered and single-flight."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from liverouter import options
from liverouter.bus import Bus
from liverouter.chat.usage import UsageCounter
from liverouter.config.environment import Environment
from liverouter.config.validate import Validation
from liverouter.engine import reloader
from liverouter.engine.activation import Activation
from liverouter.engine.reloader import Reloader
from liverouter.errors import ConfigError, DatabaseError, Problem
from liverouter.events import ConfigApplied, ConfigRejected, Event, GenerationRetired, LoopFailed, ReadFailed
from liverouter.generation import Generation, ServedModel, Store
from liverouter.loops.reload_requests import ReloadRequests
from liverouter.loops.wakeup import Wakeup
from liverouter.revision import Rows, Snapshot
from liverouter.routing.cooldowns import Cooldowns
from tests.kit.deployments import deployment
from tests.kit.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from liverouter.config.environment import Environment

BAD = Problem("LR101", "bad", "settings.llm_provider", "mend it")


class Steps(Activation):
    """An activation of numbers in place of rows, whose steps the test can have fail."""

    def __init__(self, world: World) -> None:
        nothing: Any = None
        usage = UsageCounter(bus=world.bus)
        super().__init__(keyring=None, usage=usage, io=nothing, store=world.store, bus=world.bus)
        self.world = world

    def validate(self, rows: Rows, environment: Environment) -> Validation:
        """Accept every revision that is not marked invalid; ten of them serve alike."""
        environment.get("openai_api_key")
        if rows.revision in self.world.unforeseen:
            raise RuntimeError("can't start new thread")
        if rows.revision in self.world.invalid:
            return Validation(None, (BAD,), self.world.litellm_enable)
        only = deployment(model=f"m{rows.revision // 10}")
        snapshot = Snapshot(rows.epoch, rows.revision, rows.change_id, rows.committed_at, (only,))
        return Validation(snapshot, (), snapshot.litellm_enable)

    def build(self, snapshot: Snapshot, number: int) -> Generation:
        """Build, or raise what the test prepared."""
        self.world.builds += 1
        self.world.changed.set()
        if error := self.world.unbuildable.get(snapshot.revision):
            raise error
        model = ServedModel(snapshot.models["default"], {snapshot.primary.id: cast("Any", object())}, {}, {})
        return Generation(number, snapshot, {"default": model}, None, Cooldowns())

    def warm(self, generation: Generation) -> None:
        """Load nothing."""


class World:
    """A database of one number, a snapshot file in memory, and an activation that can be told to fail."""

    def __init__(self) -> None:
        self.epoch, self.revision, self.reads, self.builds = "e", 1, 0, 0
        self.invalid: set[int] = set()
        self.unbuildable: dict[int, Exception] = {}
        self.unforeseen: set[int] = set()
        self.unreadable = 0
        self.litellm_enable = False  # of invalid revisions
        self.gate = asyncio.Event()
        self.gate.set()
        self.file: Rows | None = None
        self.written: list[int] = []
        self.events: list[Event] = []
        self.changed = Wakeup()
        self.store, self.bus = Store(), Bus(self.observe)
        self.requests = ReloadRequests(self.bus)
        parts: dict[str, Any] = {
            "repository": self,
            "listener": SimpleNamespace(healthy=True),
            "snapshot_file": SimpleNamespace(read=lambda: self.file, keep=self.keep, confirm=self.confirm),
        }
        self.reloader = Reloader(
            requests=self.requests,
            activation=Steps(self),
            store=self.store,
            options=options.load(database_url="postgresql://nobody@nowhere/none", poll_interval_s=3600),
            bus=self.bus,
            **parts,
        )

    def observe(self, event: Event) -> None:
        """Keep *event* and wake whoever waits."""
        self.events.append(event)
        self.changed.set()

    def raw(self, revision: int) -> Rows:
        """Return what the database holds at *revision*."""
        return Rows(self.epoch, revision, f"c{revision}", datetime(2026, 11, 23, tzinfo=UTC), 0.0, {}, {})

    async def read(self) -> Rows:
        """Read as the repository does; waits at the gate after the number was read."""
        self.reads += 1
        self.changed.set()
        if self.unreadable:
            self.unreadable -= 1
            raise DatabaseError("no answer", code="LR201", where="database")
        revision = self.revision
        await self.gate.wait()
        return self.raw(revision)

    async def keep(self, rows: Rows) -> None:
        """Note which revision would go to the snapshot file."""
        self.written.append(rows.revision)

    async def confirm(self, rows: Rows) -> None:
        """Note nothing."""

    def write(self, revision: int) -> None:
        """Commit *revision* and notify."""
        self.revision = revision
        self.requests.request("notification")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for *condition*, looked at after every event."""
        async with asyncio.timeout(60):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_event(self, kind: type[Event]) -> Any:
        """Wait for the first event of *kind* and return it."""
        await self.until(lambda: any(isinstance(e, kind) for e in self.events))
        return next(e for e in self.events if isinstance(e, kind))

    @property
    def live(self) -> int | None:
        """Return the revision in force."""
        return self.store.current.snapshot.revision if self.store.current else None


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A running reloader that has applied revision 10, or whatever the test set before its first await."""
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    world = World()
    world.revision = 10
    task = asyncio.create_task(world.reloader.run())
    yield world
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class TestLoadAhead:
    @pytest.mark.parametrize("wanted", [True, False])
    async def test_litellm_is_imported_while_the_first_rows_are_mended(
        self, world: World, monkeypatch: pytest.MonkeyPatch, *, wanted: bool
    ) -> None:
        """Once, and only where the rows want it: the native engine never imports it."""
        loads: list[str] = []
        monkeypatch.setattr(reloader, "load", lambda: loads.append("litellm"))
        world.litellm_enable, world.invalid = wanted, {10, 20}
        await world.until_event(ConfigRejected)
        world.write(20)
        await world.until(lambda: sum(isinstance(e, ConfigRejected) for e in world.events) == 2)
        world.write(30)
        await world.until(lambda: world.live == 30)
        await until_async(lambda: loads or not wanted)  # in a thread of its own
        assert loads == ["litellm"] * wanted


class TestActivate:
    async def test_first_read_needs_no_request(self, world: World) -> None:
        """The reloader reads once when it starts."""
        await world.until(lambda: world.live == 10)
        assert world.written == [10]

    async def test_newer_revision_replaces_and_retires_the_former(self, world: World) -> None:
        """The former generation is told to be retired after the swap, never before."""
        await world.until(lambda: world.live == 10)
        world.write(20)
        assert (await world.until_event(GenerationRetired)).generation == 1
        assert world.live == 20
        names = [type(e).__name__ for e in world.events]
        assert names.index("GenerationRetired") > len(names) - 1 - names[::-1].index("ConfigApplied")

    async def test_revision_may_go_back(self, world: World) -> None:
        """A restored backup is followed: revisions are compared for difference, not for size."""
        await world.until(lambda: world.live == 10)
        world.write(5)
        await world.until(lambda: world.live == 5)

    async def test_same_content_keeps_the_built_parts(self, world: World) -> None:
        """A revision that changes nothing that serves is relabelled, not rebuilt, and nothing is retired."""
        await world.until(lambda: world.live == 10)
        chat = world.store.current.chat if world.store.current else None
        world.write(11)
        await world.until(lambda: world.live == 11)
        assert world.builds == 1
        assert world.store.current is not None
        assert world.store.current.chat is chat
        assert not any(isinstance(e, GenerationRetired) for e in world.events)
        assert [e.rebuilt for e in world.events if isinstance(e, ConfigApplied)] == [True, False]

    @pytest.mark.parametrize("change", ["standby promoted", "mounted key replaced"])
    async def test_revision_applied_again_has_no_time_since_its_commit(
        self, world: World, change: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has been live all along: the days since its commit are nobody's latency."""
        await world.until(lambda: world.live == 10)
        world.write(20)
        await world.until(lambda: world.live == 20)
        if change == "standby promoted":
            world.epoch = "f"
        else:
            monkeypatch.setenv("OPENAI_API_KEY", "two")
        world.requests.request("poll")
        await world.until(lambda: sum(isinstance(e, ConfigApplied) for e in world.events) == 3)
        times = [e.commit_to_live_ms for e in world.events if isinstance(e, ConfigApplied) and e.revision == 20]
        assert times[0] is not None
        assert times[1] is None

    async def test_same_revision_is_not_applied_twice(self, world: World) -> None:
        """A doubled notification costs a read and nothing else."""
        await world.until(lambda: world.live == 10)
        world.write(10)
        await world.until(lambda: world.reads == 2)
        world.write(20)
        await world.until(lambda: world.live == 20)
        assert world.builds == 2


class TestSingleFlight:
    async def test_thousand_requests_cost_a_few_reads_and_end_on_the_last(self, world: World) -> None:
        """One wake-up is pending at most, and it is cleared before the read."""
        await world.until(lambda: world.live == 10)
        for revision in range(20, 10_020, 10):
            world.write(revision)
        await world.until(lambda: world.live == 10_010)
        assert world.reads <= 4

    async def test_request_during_a_read_means_a_later_read(self, world: World) -> None:
        """A change between the read and the swap is not lost."""
        await world.until(lambda: world.live == 10)
        world.gate.clear()
        world.write(20)
        await world.until(lambda: world.reads == 2)
        world.write(30)
        world.gate.set()
        await world.until(lambda: world.live == 30)


class TestReject:
    async def test_invalid_revision_keeps_the_last_known_good(self, world: World) -> None:
        """Rejected whole: the store stays as it was and the event says why."""
        await world.until(lambda: world.live == 10)
        world.invalid.add(20)
        world.write(20)
        event = await world.until_event(ConfigRejected)
        assert (event.stage, event.problems, event.kept_generation) == ("validate", (BAD,), 1)
        assert world.live == 10
        assert world.written == [10]

    @pytest.mark.parametrize("error", [ConfigError([BAD]), RuntimeError("sk-abcdefghijklmnop broke")])
    async def test_unbuildable_revision_keeps_the_last_known_good(self, world: World, error: Exception) -> None:
        """Whatever a third party's constructor raises rejects the revision, with secrets masked."""
        await world.until(lambda: world.live == 10)
        world.unbuildable[20] = error
        world.write(20)
        event = await world.until_event(ConfigRejected)
        assert event.stage == "build"
        assert "sk-abcdefghijklmnop" not in str(event)
        assert world.live == 10

    async def test_rejected_revision_is_not_retried_by_itself(self, world: World) -> None:
        """The same revision under the same environment fails once, not at every poll."""
        await world.until(lambda: world.live == 10)
        world.invalid.add(20)
        world.write(20)
        await world.until_event(ConfigRejected)
        reads = world.reads
        world.requests.request("poll")
        await world.until(lambda: world.reads > reads)
        world.write(30)
        await world.until(lambda: world.live == 30)
        assert sum(isinstance(e, ConfigRejected) for e in world.events) == 1

    async def test_changed_environment_retries(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key that arrives in the environment mends a rejection without a new revision."""
        await world.until(lambda: world.live == 10)
        world.invalid.add(20)
        world.write(20)
        await world.until_event(ConfigRejected)
        world.invalid.clear()
        monkeypatch.setenv("OPENAI_API_KEY", "two")
        world.requests.request("poll")
        await world.until(lambda: world.live == 20)

    async def test_forcing_tries_a_rejected_revision_again_and_tells_it_again(self, world: World) -> None:
        """Whoever asks for a reload gets a try and an answer, also where nothing that is known of has changed."""
        await world.until(lambda: world.live == 10)
        world.invalid.add(20)
        world.write(20)
        await world.until_event(ConfigRejected)
        world.requests.request("operator", forced=True)
        await world.until(lambda: sum(isinstance(e, ConfigRejected) for e in world.events) == 2)
        world.invalid.clear()
        world.requests.request("operator", forced=True)
        await world.until(lambda: world.live == 20)

    async def test_forcing_leaves_a_revision_in_force_alone(self, world: World) -> None:
        """What is live already is not activated once more."""
        await world.until(lambda: world.live == 10)
        world.requests.request("operator", forced=True)
        await world.until(lambda: world.reads == 2)
        world.write(20)
        await world.until(lambda: world.live == 20)
        assert sum(isinstance(e, ConfigApplied) for e in world.events) == 2


def missing_package() -> ConfigError:
    """Return what a builder raises where a package is not installed."""
    error = ConfigError([Problem("LR109", "not installed", "settings.llm_provider", "pip install it")])
    error.__context__ = ImportError("no module")
    return error


class TestPassing:
    @pytest.mark.parametrize(
        "error",
        [OSError(24, "Too many files"), RuntimeError("can't start new thread"), ImportError("x"), missing_package()],
        ids=lambda error: type(error).__name__,
    )
    async def test_build_that_failed_for_the_machine_is_tried_again(self, world: World, error: Exception) -> None:
        """What is not of the rows may pass: each poll tries again, the rejection is told once, and then it is live."""
        await world.until(lambda: world.live == 10)
        world.unbuildable[20] = error
        world.write(20)
        await world.until_event(ConfigRejected)
        for builds in (3, 4):
            world.requests.request("poll")
            await world.until(lambda builds=builds: world.builds == builds)  # type: ignore[misc]
        assert world.live == 10
        world.unbuildable.clear()
        world.requests.request("poll")
        await world.until(lambda: world.live == 20)
        assert sum(isinstance(e, ConfigRejected) for e in world.events) == 1

    async def test_another_reason_is_told(self, world: World) -> None:
        """A second try that fails for something else is news."""
        await world.until(lambda: world.live == 10)
        world.unbuildable[20] = OSError(24, "Too many open files")
        world.write(20)
        await world.until_event(ConfigRejected)
        world.unbuildable[20] = ConfigError([BAD])
        world.requests.request("poll")
        await world.until(lambda: sum(isinstance(e, ConfigRejected) for e in world.events) == 2)
        last = [e for e in world.events if isinstance(e, ConfigRejected)][-1]
        assert last.problems == (BAD,)

    async def test_refused_build_is_not_tried_again(self, world: World) -> None:
        """Rows that a builder refuses are refused again: no poll tries."""
        await world.until(lambda: world.live == 10)
        world.unbuildable[20] = ValueError("no such model")
        world.write(20)
        await world.until_event(ConfigRejected)
        reads = world.reads
        world.requests.request("poll")
        await world.until(lambda: world.reads > reads)
        world.write(30)
        await world.until(lambda: world.live == 30)
        assert world.builds == 3


class TestUnreadable:
    async def test_failed_read_is_told_and_retried(self) -> None:
        """A database that does not answer is asked again by itself."""
        world = World()
        world.unreadable = 2
        task = asyncio.create_task(world.reloader.run())
        await world.until(lambda: world.live == 1)
        task.cancel()
        assert [e.attempt for e in world.events if isinstance(e, ReadFailed)] == [1, 2]

    async def test_snapshot_file_serves_until_the_database_answers(self) -> None:
        """A start without the database uses the last-known-good file, then the newer revision."""
        world = World()
        world.unreadable, world.revision = 1, 20
        world.file = replace(world.raw(10), change_id="from the file")
        task = asyncio.create_task(world.reloader.run())
        await world.until(lambda: world.live == 20)
        task.cancel()
        applied = [(e.source, e.revision) for e in world.events if isinstance(e, ConfigApplied)]
        assert applied == [("snapshot_file", 10), ("database", 20)]
        assert world.written == [20]

    async def test_revision_that_met_what_nobody_foresaw_is_tried_again(self, world: World) -> None:
        """An error outside the steps that reject is no verdict on the rows: the next read tries them."""
        await world.until(lambda: world.live == 10)
        world.unforeseen.add(20)
        world.write(20)
        await world.until_event(LoopFailed)
        world.unforeseen.clear()
        world.requests.request("poll")
        await world.until(lambda: world.live == 20)

    async def test_loop_survives_what_nobody_foresaw(self, world: World) -> None:
        """An error outside the known ones is told, and the next request is served."""
        await world.until(lambda: world.live == 10)
        with pytest.MonkeyPatch.context() as fault:
            fault.setattr(world, "read", lambda: 1 / 0)
            world.write(20)
            await world.until_event(LoopFailed)
        world.write(20)
        await world.until(lambda: world.live == 20)
