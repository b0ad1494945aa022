"""The contract of LiveRouter and get_chat_model() on a real PostgreSQL, a real Router and real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import liverouter
from liverouter import ClosedError, LiveRouter, NotReadyError, OptionsError, State
from liverouter.engine.activation import Activation
from liverouter.engine.engine import Engine
from liverouter.engine.reporter import Reporter
from liverouter.errors import RolloutError
from liverouter.events import (
    ClientStarted,
    ConfigApplied,
    ConfigRejected,
    Event,
    GenerationRetired,
    ListenerConnected,
    LoopFailed,
    ReadFailed,
)
from liverouter.loops.thread import LoopThread
from liverouter.testing.events import EventLog
from tests.kit.admin import Admin
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from liverouter.generation import Generation
    from liverouter.revision import Snapshot
    from liverouter.testing import StandIn


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-anthropic")


@pytest.fixture
def admin(dsn: str) -> Iterator[Admin]:
    """An admin of this test's database."""
    admin = Admin(dsn)
    yield admin
    admin.connection.close()


@pytest.fixture
def configured(admin: Admin, openai: StandIn, anthropic: StandIn) -> Admin:
    """The same, after a first valid config: openai, then anthropic."""
    admin.set(
        llm_provider="openai",
        llm_model="gpt-4o",
        openai_api_base=openai.base_url,
        anthropic_api_base=anthropic.base_url,
        llm_fallback_config={"provider": "anthropic", "model": "claude-sonnet-4-6"},
    )
    return admin


@pytest.fixture
def events() -> EventLog:
    """What happened."""
    return EventLog()


class TestFollow:
    def test_same_model_object_serves_every_later_revision(self, dsn: str, configured: Admin, events: EventLog) -> None:
        """Built once: a committed row is what the next call of the same object uses."""
        with LiveRouter(database_url=dsn, observers=(events,)) as live:
            model = live.chat_model()
            assert model.invoke("hi").content == "gpt-4o says: hi"
            revision = configured.set(llm_model="gpt-4.1")
            events.wait_for(ConfigApplied, revision=revision)
            answer = model.invoke("hi")
            assert answer.content == "gpt-4.1 says: hi"
            assert answer.response_metadata["liverouter"]["revision"] == revision

    async def test_provider_swap_is_one_whole_set(self, dsn: str, configured: Admin, events: EventLog) -> None:
        """Rows committed together become live together."""
        async with LiveRouter(database_url=dsn, observers=(events,)) as live:
            model = live.chat_model()
            await asyncio.to_thread(events.wait_for, ConfigApplied)
            revision = configured.set(llm_provider="anthropic", llm_model="claude-haiku-4-5", llm_fallback_config=None)
            await asyncio.to_thread(events.wait_for, ConfigApplied, revision=revision)
            answer = await model.ainvoke("hi")
            served = answer.response_metadata["liverouter"]
            assert (served["provider"], served["model"], served["role"]) == ("anthropic", "claude-haiku-4-5", "primary")
            assert (served["failed_over"], served["attempts"]) == (False, 1)
            assert len(events.of(ConfigApplied)) == 2, "one transaction of three rows is one activation"

    def test_swaps_leave_no_router_in_litellms_lists(self, dsn: str, configured: Admin, events: EventLog) -> None:
        """Ten swaps leave nothing in litellm's process-wide callback lists, which take thirty entries."""
        import litellm

        with LiveRouter(database_url=dsn, observers=(events,)) as live:
            model = live.chat_model()
            live.wait_ready()
            for n in range(10):
                events.wait_for(ConfigApplied, revision=configured.set(llm_model=f"gpt-{n}"))
                model.invoke("hi")
            events.wait_for(GenerationRetired, generation=10)
            assert not [c for c in litellm._async_success_callback if "Router" in repr(c)]  # noqa: SLF001 - what leaks

    @pytest.mark.usefixtures("configured")
    def test_two_clients_of_two_databases_live_side_by_side(
        self, dsn: str, new_database: Callable[[str], AbstractContextManager[str]], openai: StandIn
    ) -> None:
        """The explicit form serves several databases in one process."""
        with new_database("other") as other_dsn:
            with contextlib.closing(Admin(other_dsn)) as other:
                other.set(llm_provider="openai", llm_model="other", openai_api_base=openai.base_url)
            with LiveRouter(database_url=dsn) as one, LiveRouter(database_url=other_dsn) as two:
                assert one.chat_model().invoke("hi").content == "gpt-4o says: hi"
                assert two.chat_model().invoke("hi").content == "other says: hi"


class TestReject:
    def test_bad_row_keeps_the_last_known_good_and_is_told(self, dsn: str, configured: Admin, events: EventLog) -> None:
        """Calls go on; status says what is wrong and how to mend it."""
        with LiveRouter(database_url=dsn, observers=(events,), probe_interval_s=60) as live:
            events.wait_for(ConfigApplied)
            events.wait_for(ListenerConnected)
            revision = configured.set(llm_provider="opnai")
            events.wait_for(ConfigRejected, revision=revision)
            assert live.chat_model().invoke("hi").content == "gpt-4o says: hi"
            status = live.status()
            assert (status.state, status.revision, status.desired_revision) == (State.LIVE, revision - 1, revision)
            assert status.last_error is not None
            assert (status.last_error.code, status.last_error.hint) == ("LR101", "Did you mean 'openai'?")
            mended = configured.set(llm_provider="openai", llm_model="gpt-4.1")
            events.wait_for(ConfigApplied, revision=mended)
            assert live.status().last_error is None
            assert live.chat_model().invoke("hi").content == "gpt-4.1 says: hi"

    def test_build_that_fails_for_the_machine_is_tried_again(
        self, dsn: str, configured: Admin, events: EventLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No descriptor left for a moment: the revision is told, and live by the next poll or the next `reload()`."""
        build = Activation.build
        faults: list[Exception] = [OSError(errno.EMFILE, "Too many open files")]  # none or one: as long as it lasts

        def failing(self: Activation, snapshot: Snapshot, number: int) -> Generation:
            for fault in faults:
                if snapshot.revision > 1:
                    raise fault
            return build(self, snapshot, number)

        monkeypatch.setattr(Activation, "build", failing)
        with LiveRouter(database_url=dsn, observers=(events,), poll_interval_s=3600, heartbeat_interval_s=30) as live:
            live.wait_ready()
            events.wait_for(ListenerConnected)
            revision = configured.set(llm_model="gpt-4.1")
            rejected = events.wait_for(ConfigRejected, revision=revision)
            assert "Too many open files" in str(rejected.problems[0])
            faults[:] = [RuntimeError("no new thread")]
            live.reload()
            events.wait_for(ConfigRejected, revision=revision, count=2)
            assert live.chat_model().invoke("hi").content == "gpt-4o says: hi"
            faults.clear()
            live.reload()
            events.wait_for(ConfigApplied, revision=revision)
            assert live.chat_model().invoke("hi").content == "gpt-4.1 says: hi"

    def test_import_that_failed_ahead_of_time_is_repeated(
        self, dsn: str, admin: Admin, openai: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What goes wrong while litellm is imported, beside an admin who mends the first rows, spoils no revision."""
        failed = threading.Event()

        def fail() -> None:
            failed.set()
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr("liverouter.engine.reloader.load", fail)
        with LiveRouter(database_url=dsn, ready_timeout_s=60) as live:
            assert failed.wait(60)
            admin.set(llm_provider="openai", llm_model="gpt-4o", openai_api_base=openai.base_url)
            assert live.chat_model().invoke("hi").content == "gpt-4o says: hi"


class TestNotReady:
    def test_no_settings_list_what_to_set(self, dsn: str, events: EventLog) -> None:
        """An empty database is no crash: entering returns, a call raises with every reason."""
        with LiveRouter(database_url=dsn, ready_timeout_s=0.2, observers=(events,)) as live:
            events.wait_for(ConfigRejected)
            assert live.status().state is State.INITIALIZING
            with pytest.raises(NotReadyError) as caught:
                live.chat_model().invoke("hi")
            assert [p.where for p in caught.value.problems] == ["settings.llm_provider", "settings.llm_model"]
            assert "liverouter set llm_provider" in str(caught.value)

    async def test_waiting_for_the_first_config_leaves_the_callers_loop_free(
        self, dsn: str, admin: Admin, openai: StandIn
    ) -> None:
        """An async call made before there is a config waits without blocking anybody else."""
        async with LiveRouter(database_url=dsn, ready_timeout_s=60) as live:
            call = asyncio.create_task(live.chat_model().ainvoke("hi"))
            await asyncio.sleep(0)  # the call has begun; were it blocking, the next line would wait for it
            admin.set(llm_provider="openai", llm_model="late", openai_api_base=openai.base_url)
            assert (await call).content == "late says: hi"

    def test_unreachable_database_is_named(self, events: EventLog) -> None:
        """No server at that address: the reason and a hint, no traceback of a driver."""
        nowhere = "postgresql://u:secret@127.0.0.1:1/x"
        with LiveRouter(database_url=nowhere, ready_timeout_s=0.2, observers=(events,)) as live:
            events.wait_for(ReadFailed)
            with pytest.raises(NotReadyError) as caught:
                live.wait_ready()
        assert [p.code for p in caught.value.problems] == ["LR201"]
        assert "secret" not in str(caught.value)

    def test_no_database_named_is_an_option_problem(self) -> None:
        """Nothing to connect to is said at once."""
        with pytest.raises(OptionsError, match="LIVEROUTER_DATABASE_URL"):
            LiveRouter()


def ours(before: set[threading.Thread]) -> set[str]:
    """Return the names of the threads of clients that have come since *before*."""
    return {thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("liverouter")}


class TestLife:
    @pytest.fixture(autouse=True)
    def _patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Closing waits as long as a busy machine may take."""
        monkeypatch.setattr("liverouter.client._CLOSE_S", 60.0)

    @pytest.mark.usefixtures("configured")
    def test_close_leaves_no_thread(self, dsn: str) -> None:
        """Both threads end with the client, and calls afterwards say so."""
        before = set(threading.enumerate())
        with LiveRouter(database_url=dsn) as live:
            model = live.chat_model()
            model.invoke("hi")
            assert ours(before) >= {"liverouter-io", "liverouter-engine"}
        assert ours(before) == set()
        with pytest.raises(ClosedError):
            model.invoke("hi")
        assert live.status().state is State.OFFLINE

    @pytest.mark.usefixtures("configured")
    def test_goodbye_that_fails_is_told_and_ends_nothing_less(
        self, dsn: str, events: EventLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What nobody foresaw while the database is told goodbye leaves no thread and no connection behind."""

        async def fail(_: Reporter) -> None:
            raise OverflowError("port of postgresql://ann:s3cret-pass@host:70000")

        monkeypatch.setattr(Reporter, "say_goodbye", fail)
        before = set(threading.enumerate())
        with LiveRouter(database_url=dsn, observers=(events,)) as live:
            live.wait_ready()
        assert ours(before) == set()
        (failed,) = events.of(LoopFailed)
        assert (failed.loop, failed.error) == ("goodbye", "OverflowError: port of postgresql://ann:***@host:70000")
        assert live.status().state is State.OFFLINE

    @pytest.mark.usefixtures("configured")
    def test_close_that_fails_leaves_no_thread(self, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the engine's end raises is raised, after both threads have ended."""
        close = Engine.close

        async def fail(engine: Engine) -> None:
            await close(engine)
            raise RuntimeError("unforeseen")

        before = set(threading.enumerate())
        live = LiveRouter(database_url=dsn)
        live.wait_ready()
        monkeypatch.setattr(Engine, "close", fail)
        with pytest.raises(RuntimeError, match="unforeseen"):
            live.close()
        assert ours(before) == set()
        assert live.status().state is State.OFFLINE

    @pytest.mark.usefixtures("configured")
    def test_listener_is_told(self, dsn: str, events: EventLog) -> None:
        """State is live once notifications arrive."""
        with LiveRouter(database_url=dsn, observers=(events,), probe_interval_s=60) as live:
            events.wait_for(ConfigApplied)
            events.wait_for(ListenerConnected)
            assert (live.status().state, live.status().mode) == (State.LIVE, "listen")

    def test_observer_of_the_start_may_call_the_client(self, dsn: str) -> None:
        """Started again by the observer and by a thread that it waits for, it is one client; closed by it, none."""
        before, started = set(threading.enumerate()), []

        def start_again(event: Event) -> None:
            if isinstance(event, ClientStarted):
                with ThreadPoolExecutor(1) as pool:
                    started.append(pool.submit(live.start).result(60) is live.start())

        def close(event: Event) -> None:
            if isinstance(event, ClientStarted):
                closing.close()

        live = LiveRouter(database_url=dsn, observers=(start_again,))
        with live:
            assert started == [True]
            assert ours(before) == {"liverouter-io", "liverouter-engine"}
        closing = LiveRouter(database_url=dsn, observers=(close,))
        with pytest.raises(ClosedError):
            closing.start()
        assert closing.status().state is State.OFFLINE
        assert ours(before) == set()

    def test_start_that_fails_leaves_no_thread(self, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """No thread is left to be had for the second of the two: the next start may find one."""

        class Refused(LoopThread):
            def __init__(self, name: str) -> None:
                if name == "liverouter-engine":
                    raise RuntimeError("can't start new thread")
                super().__init__(name)

        before, live = set(threading.enumerate()), LiveRouter(database_url=dsn)
        with monkeypatch.context() as patch:
            patch.setattr("liverouter.client.LoopThread", Refused)
            with pytest.raises(RuntimeError, match="can't start"):
                live.start()
        assert ours(before) == set()
        live.start()
        assert ours(before) == {"liverouter-io", "liverouter-engine"}
        live.close()

    def test_raising_observer_hurts_nothing(self, dsn: str, configured: Admin, events: EventLog) -> None:
        """A user's callback that raises stops neither reload nor call, nor the observers behind it."""

        def bad(_: object) -> None:
            raise RuntimeError("mine")

        with LiveRouter(database_url=dsn, observers=(bad, events)) as live:
            events.wait_for(ConfigApplied, revision=configured.set(llm_model="gpt-4.1"))
            assert live.chat_model().invoke("hi").content == "gpt-4.1 says: hi"

    def test_wait_applied_returns_when_every_live_instance_runs_it(self, dsn: str, configured: Admin) -> None:
        """Two clients, one wait."""
        with LiveRouter(database_url=dsn) as one, LiveRouter(database_url=dsn) as two:
            for live in (one, two):
                _ = live.wait_applied(configured.revision, timeout_s=60)
            revision = configured.set(llm_model="gpt-4.1")
            rollout = one.wait_applied(revision, timeout_s=60)
            assert rollout.revision == revision
            assert (one.status().revision, two.status().revision) == (revision, revision)

    def test_wait_applied_of_a_client_that_just_started_waits_for_itself(self, dsn: str, configured: Admin) -> None:
        """A process that the database does not know yet is no reason to call a revision live everywhere."""
        with contextlib.closing(LiveRouter(database_url=dsn)) as live, configured.connection.transaction():
            configured.connection.execute("LOCK TABLE liverouter.processes IN EXCLUSIVE MODE")  # no report gets through
            live.wait_ready()
            with pytest.raises(RolloutError, match="this process has not reported") as refusal:
                _ = live.wait_applied(1, timeout_s=0.2)  # the report is given up after ten seconds
            assert refusal.value.code == "LR404"
        with LiveRouter(database_url=dsn) as live:
            _ = live.wait_applied(1, timeout_s=60)
            assert live.status().revision == 1


class TestDefault:
    def test_get_chat_model_is_one_live_handle_from_any_thread_or_loop(
        self, dsn: str, configured: Admin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Configured by the environment, started by the first call, shared by all."""
        from liverouter import default

        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", dsn)
        monkeypatch.setattr(default, "_client", None)
        monkeypatch.setattr(default, "_model", None)
        with ThreadPoolExecutor(8) as pool:
            models = list(pool.map(lambda _: liverouter.get_chat_model(), range(8)))
        try:
            assert len({id(m) for m in models}) == 1
            assert models[0].invoke("hi").content == "gpt-4o says: hi"
            for _ in range(2):  # a new loop each time
                assert asyncio.run(models[0].ainvoke("hi")).content == "gpt-4o says: hi"
            until(lambda: liverouter.status().revision == configured.revision)
        finally:
            assert default._client is not None  # noqa: SLF001 - the one place that holds it
            default._client.close()  # noqa: SLF001
