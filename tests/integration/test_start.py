"""A first start: whom a caller waits for, for how long, and where it is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from liverouter import ClosedError, LiveRouter, NotReadyError, State
from liverouter.engine.snapshot_file import write_snapshot_file
from liverouter.engine.starting import Step
from liverouter.errors import ConfigError, Problem
from liverouter.events import ConfigApplied, ConfigRejected, ReadFailed, StartAdvanced, StartDelayed
from liverouter.revision import Rows
from liverouter.secrecy.sealing import Keyring, generate_key
from liverouter.testing.events import EventLog
from tests.kit import patience
from tests.kit.admin import Admin
from tests.kit.postgres.emptied import one_database
from tests.kit.waiting import until
from tests.kit.world import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from liverouter.generation import Generation
    from liverouter.testing import StandIn

emptied, dsn, db = one_database()

patient = patience.patient

NOWHERE = "postgresql://user@127.0.0.1:1/x"
PATIENCE_S = 200.0  # that no test waits out
INSTANCE = "SELECT state, error_code, error FROM liverouter.instances"
CALLERS = pytest.mark.parametrize("how", ["sync", "async"])


@pytest.fixture
def admin(dsn: str, openai: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    """An admin of this test's database, after a first valid config."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    admin = Admin(dsn)
    admin.set(llm_provider="openai", llm_model="gpt-4o", openai_api_base=openai.base_url)
    yield admin
    admin.connection.close()


@pytest.fixture
def events() -> EventLog:
    """What happened."""
    return EventLog()


@pytest.fixture
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    """No litellm, which would be imported while somebody mends the settings."""
    monkeypatch.setenv("LITELLM_ENABLE", "false")


class Import:
    """The import of litellm, held until `end`; the native engine stands in then, so that no test takes seconds."""

    def __init__(self) -> None:
        """Hold it."""
        self.begun, self.end = threading.Event(), threading.Event()

    def load(self) -> NoReturn:
        """Stand in for `litellm_setup.load`."""
        self.begun.set()
        assert self.end.wait(60)
        raise ConfigError([Problem("LR309", "litellm is left out", "settings.litellm_enable", "")])


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """The import of litellm, which takes as long as a test wants."""
    held = Import()
    monkeypatch.setattr("liverouter.engine.activation.loaded", lambda: None)
    monkeypatch.setattr("liverouter.engine.activation.load", held.load)
    yield held
    held.end.set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which callers wait."""
    clock = Clock()
    monkeypatch.setattr("liverouter.engine.readiness.time", SimpleNamespace(monotonic=clock))
    return clock


def first(live: LiveRouter, how: str) -> Generation:
    """Return the first generation, as a sync or an async caller waits for it."""
    return asyncio.run(live.async_generation()) if how == "async" else live.generation()


def _later(live: LiveRouter, clock: Clock, seconds: float) -> bool:
    """Let *seconds* pass, have callers look at the clock, and return True."""
    clock.tick(seconds)
    live.reload()
    return True


def _leap(live: LiveRouter, seconds: float) -> None:
    """Let *seconds* pass at once for all that waits on the engine's loop of *live*."""
    loop: Any = live._running.loop._loop  # type: ignore[union-attr]  # noqa: SLF001 - whose clock it is
    loop.call_soon_threadsafe(setattr, loop, "time", lambda: time.monotonic() + seconds)


class TestOwnWork:
    @CALLERS
    def test_import_longer_than_the_timeout_is_waited_for(
        self, admin: Admin, held: Import, clock: Clock, how: str
    ) -> None:
        """A busy machine takes its time: what it does itself takes nothing of the caller's seconds."""
        live = LiveRouter(database_url=admin.dsn, ready_timeout_s=30)
        with contextlib.closing(live), ThreadPoolExecutor(1) as pool:
            caller = pool.submit(first, live, how)
            assert held.begun.wait(60)
            clock.tick(200)
            held.end.set()
            assert caller.result(60).snapshot.primary.model == "gpt-4o"

    @CALLERS
    def test_import_without_an_end_is_given_up(self, admin: Admin, held: Import, clock: Clock, how: str) -> None:
        """After as many minutes as seconds; the error names the step, and what to do about it."""
        live = LiveRouter(database_url=admin.dsn, ready_timeout_s=30)
        with contextlib.closing(live), ThreadPoolExecutor(1) as pool:
            caller = pool.submit(first, live, how)
            assert held.begun.wait(60)
            until(lambda: _later(live, clock, 60 * 30 + 1) and caller.done())
            with pytest.raises(NotReadyError, match="waiting for: importing litellm, since") as caught:
                caller.result(60)
            held.end.set()
        assert "liverouter.preload()" in caught.value.hint
        assert "first read" not in str(caught.value)

    def test_seconds_that_a_caller_names_are_all_it_waits(
        self, admin: Admin, held: Import, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A probe that gives it a second gets its answer after a second, whatever is under way."""
        live = LiveRouter(database_url=admin.dsn)
        with contextlib.closing(live), ThreadPoolExecutor(1) as pool:
            live.start()
            assert held.begun.wait(60)
            hurried = SimpleNamespace(monotonic=itertools.count(step=30).__next__)  # each look is 30 s later
            monkeypatch.setattr("liverouter.engine.readiness.time", hurried)
            with pytest.raises(NotReadyError, match=r"after \d\d s, waiting for: importing litellm"):  # not 25 min
                pool.submit(live.wait_ready, 25).result(60)
            held.end.set()

    def test_delay_is_told_in_log_status_and_sql(self, admin: Admin, held: Import, events: EventLog) -> None:
        """Once, by the step that it waits for; and no more once a config is live."""
        live = LiveRouter(database_url=admin.dsn, ready_timeout_s=PATIENCE_S, observers=(events,))
        with contextlib.closing(live):
            live.start()
            assert held.begun.wait(60)
            assert events.of(StartDelayed) == []
            _leap(live, PATIENCE_S)
            delayed = events.wait_for(StartDelayed)
            assert (delayed.name, delayed.level, delayed.step) == ("start.delayed", "warning", Step.IMPORTING)
            assert "liverouter.preload()" in delayed.hint
            row = until(lambda: admin.ask(f"{INSTANCE} WHERE error LIKE '%%importing litellm'"))
            assert row == ("initializing", "LR401", "no config is live yet, waiting for: importing litellm")
            status = live.status()
            assert (status.state, status.step, status.last_error) == (State.INITIALIZING, Step.IMPORTING, None)
            held.end.set()
            events.wait_for(ConfigApplied)
            assert live.status().step is None
            assert live.status().error is None
            assert until(lambda: admin.ask(f"{INSTANCE} WHERE state <> 'initializing'"))[1:] == (None, None)
        assert len(events.of(StartDelayed)) == 1
        assert [event.step for event in events.of(StartAdvanced)] == [Step.IMPORTING, Step.BUILDING, Step.WARMING]


class TestOthers:
    @CALLERS
    def test_database_that_does_not_answer_is_waited_for(self, clock: Clock, events: EventLog, how: str) -> None:
        """It may come; the seconds count, and the error names the step beside the database's own reason."""
        live = LiveRouter(database_url=NOWHERE, ready_timeout_s=30, observers=(events,))
        with contextlib.closing(live), ThreadPoolExecutor(1) as pool:
            caller = pool.submit(first, live, how)
            events.wait_for(ReadFailed)
            assert not caller.done()
            until(lambda: _later(live, clock, 31) and caller.done())
            with pytest.raises(NotReadyError, match="waiting for: reading the settings, since") as caught:
                caller.result(60)
        assert [problem.code for problem in caught.value.problems] == ["LR201"]

    @CALLERS
    def test_rejected_settings_are_told_at_once(self, admin: Admin, events: EventLog, how: str) -> None:
        """Nothing but a change of them would help; after one the client is live as ever."""
        admin.set(llm_provider="opnai", litellm_enable=False)
        with LiveRouter(database_url=admin.dsn, ready_timeout_s=PATIENCE_S, observers=(events,)) as live:
            with pytest.raises(NotReadyError) as caught:
                first(live, how)
            assert [problem.code for problem in caught.value.problems] == ["LR101"]
            assert "waiting for" not in str(caught.value)
            mended = admin.set(llm_provider="openai")
            events.wait_for(ConfigApplied, revision=mended)
            assert first(live, how).snapshot.revision == mended

    @pytest.mark.usefixtures("_native")
    def test_nothing_stored_yet_is_waited_for(self, dsn: str, events: EventLog) -> None:
        """Somebody may be about to: the error that comes in the end says that, and what to set."""
        with LiveRouter(database_url=dsn, ready_timeout_s=0.1, observers=(events,)) as live:
            events.wait_for(ConfigRejected)
            assert live.status().step is Step.SETTINGS
            with pytest.raises(NotReadyError, match="waiting for: the first settings") as caught:
                live.wait_ready()
        assert [problem.code for problem in caught.value.problems] == ["LR100", "LR100"]

    @pytest.mark.usefixtures("_native")
    def test_rejected_snapshot_file_leaves_the_database_to_wait_for(self, tmp_path: Path, events: EventLog) -> None:
        """What was good when it was filed lacks its key now; the database may have better settings, or come back."""
        key, file = generate_key(), tmp_path / "last.snapshot"
        rows = Rows("e", 7, "c", datetime.now(UTC), 0.0, {"llm_provider": "openai", "llm_model": "gpt-4o"}, {})
        options = {"snapshot_file": file, "secret_keys": key, "ready_timeout_s": PATIENCE_S}
        live = LiveRouter(database_url=NOWHERE, observers=(events,), **options)
        write_snapshot_file(file, rows, Keyring.from_text(key), database=live.options.database_name)
        with live:
            events.wait_for(ConfigRejected, revision=7)
            assert live.status().step is Step.READING
            with pytest.raises(NotReadyError, match="waiting for: reading the settings") as caught:
                live.wait_ready(0.01)
        assert [problem.code for problem in caught.value.problems] == ["LR102"]

    @CALLERS
    def test_close_ends_the_wait(self, events: EventLog, how: str) -> None:
        """Whoever waits while the client is closed is told so, not after the timeout."""
        live = LiveRouter(database_url=NOWHERE, ready_timeout_s=PATIENCE_S, observers=(events,))
        with ThreadPoolExecutor(1) as pool:
            caller = pool.submit(first, live, how)
            events.wait_for(ReadFailed)
            live.close()
            with pytest.raises(ClosedError):
                caller.result(60)
