"""Around the client: its process, its callers, its providers, its clock, its disk."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import psutil
import pytest

from liverouter import LiveRouter, NotReadyError, State
from liverouter.engine.snapshot_file import read_snapshot_file
from liverouter.events import (
    ConfigApplied,
    ConfigRead,
    Event,
    ListenerConnected,
    SnapshotFileIgnored,
    SnapshotFileWritten,
)
from liverouter.secrecy.sealing import Keyring, generate_key
from liverouter.testing import StandIn
from liverouter.testing.events import EventLog
from tests.faults.bounds import AT_ONCE, CLOSED, EXITED, GONE, REFILED, RETRIED, UNDER_LOAD
from tests.kit.follower import QUICK, UNPOLLED, Follower, Load
from tests.kit.processes import Worker
from tests.kit.waiting import until, until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.admin import Admin
    from tests.kit.postgres.proxy import FaultProxy

ROOT = Path(__file__).parents[2]
DAY_S = 86_400.0
_SINCE_HEARTBEAT = "clock_timestamp() - heartbeat_at"


class TestCallers:
    async def test_blocked_event_loop_of_the_caller(self, admin: Admin) -> None:
        """An application that blocks its own event loop does not keep the config from being followed."""
        with Follower(admin, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            follower.applies(admin.set(llm_model="meanwhile"), within_s=AT_ONCE.limit)  # this blocks the running loop
            answer = await follower.live.chat_model().ainvoke("hi")
            assert answer.content == "meanwhile says: hi"

    def test_raising_observer(self, admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
        """A user's callback that raises on every event is told once, and stops nothing."""

        def bad(_: Event) -> NoReturn:
            raise RuntimeError("a user's mistake")

        with Follower(admin, **UNPOLLED, observers=(bad,)) as follower:
            follower.events.wait_for(ListenerConnected)
            follower.applies(admin.set(llm_model="regardless"), within_s=AT_ONCE.limit)
            follower.until_status(state=State.LIVE)
        told = [line for line in caplog.messages if "observer.failed" in line]
        assert len(told) == 1
        assert "a user's mistake" in told[0]

    async def test_swap_under_more_calls_than_connections(
        self, admin: Admin, standin: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Calls are in flight, and others wait for a connection, when the config changes: each ends on its revision."""
        connections = 40  # litellm's own limit is 500
        monkeypatch.setattr("litellm.llms.custom_httpx.http_handler.AIOHTTP_CONNECTOR_LIMIT_PER_HOST", connections)
        with Follower(admin, **UNPOLLED, threads=1) as follower:
            follower.events.wait_for(ListenerConnected)
            follower.load.stop()
            model = follower.live.chat_model()
            with standin.hold():
                flying = [asyncio.create_task(model.ainvoke("hi")) for _ in range(3 * connections)]
                await standin.wait_until_async(lambda s: s.in_flight >= connections, 150)
                revision = admin.set(llm_model="second")
                await asyncio.to_thread(follower.applies, revision, UNDER_LOAD.limit)
                assert standin.in_flight == connections, "the others wait"
            answers = await asyncio.gather(*flying)
            assert {str(a.content) for a in answers} == {"first says: hi"}
            assert {a.response_metadata["liverouter"]["revision"] for a in answers} == {revision - 1}
            assert (await model.ainvoke("hi")).content == "second says: hi"


class TestProviders:
    def test_provider_dies_mid_swap(self, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
        """The primary dies while the config is moved away from it: the fallback carries every call over the gap."""
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-fault")
        with StandIn("openai") as dying, StandIn("anthropic") as steady:
            admin.set(
                openai_api_base=dying.api_base,
                anthropic_api_base=steady.api_base,
                llm_fallback_config={"provider": "anthropic", "model": "claude-sonnet-4-6"},
            )
            with LiveRouter(database_url=admin.dsn, **QUICK) as live:
                live.wait_ready()
                load = Load(live.chat_model(), pause_s=0.0)
                try:
                    load.go_on()
                    dying.fail("refused")
                    revision = admin.set(
                        llm_provider="anthropic", llm_model="claude-haiku-4-5", llm_fallback_config=None
                    )
                    until(lambda: live.status().revision == revision, AT_ONCE.limit)
                    load.serve("claude-haiku-4-5")
                    load.go_on(10)
                finally:
                    load.stop()
                assert not load.failures, load.failures[0]


class TestClock:
    # litellm drops its idle HTTP clients, unclosed, when it believes that an hour has passed
    @pytest.mark.filterwarnings("ignore:.*nclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("shift_s", [DAY_S, -DAY_S])
    def test_wall_clock_moved_a_day(self, admin: Admin, monkeypatch: pytest.MonkeyPatch, shift_s: float) -> None:
        """Intervals are measured by the monotonic clock, times are told by the database's."""
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            follower.applies(admin.set(llm_model="before"), within_s=AT_ONCE.limit)
            clock = time.time
            monkeypatch.setattr(time, "time", lambda: clock() + shift_s)
            applied = follower.applies(admin.set(llm_model="after"), within_s=AT_ONCE.limit)
            assert applied.commit_to_live_ms is not None
            assert 0 <= applied.commit_to_live_ms < 1000 * AT_ONCE.limit
            follower.load.go_on(20)
            admin.execute("SELECT pg_terminate_backend(%s)", follower.status.backend_pid)
            follower.events.wait_for(ListenerConnected, count=2)
            revision = admin.set(llm_model="later")
            follower.applies(revision, within_s=AT_ONCE.limit)
            follower.reports(state="live", applied_revision=revision)
            (age_s,) = admin.ask(
                "SELECT extract(epoch FROM clock_timestamp() - applied_at)::float FROM liverouter.instances_detail"
                " WHERE instance = %s",
                follower.live.client_id,
            )
            assert 0 <= age_s < 3600, "not a day"
        gc.collect()  # what was dropped warns here, not in another test


class TestProcess:
    def test_process_stopped_and_resumed_then_sigterm_during_a_reload(self, admin: Admin, proxy: FaultProxy) -> None:
        """A process that stood still for ten heartbeats, and whose connections were ended meanwhile, catches up.

        Told to end while it reads, it ends in good order, soon and silent, and says goodbye.
        """
        with Worker(proxy.dsn) as worker:
            worker.wait(event="listener.connected")
            worker.signal(signal.SIGSTOP)
            revision = [admin.set(llm_model=f"missed-{n}") for n in range(3)][-1]
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'liverouter%%'"
                " AND datname = current_database()"
            )
            until(lambda: admin.ask(f"SELECT {_SINCE_HEARTBEAT} > interval '5 s' FROM liverouter.processes")[0])
            worker.signal(signal.SIGCONT)
            worker.wait(event="config.applied", revision=revision, timeout_s=RETRIED.limit)
            worker.wait(event="listener.connected", count=2, timeout_s=RETRIED.limit)
            until(lambda: (told := worker.ask())["state"] == "live" and told["last"] == "missed-2")
            assert worker.ask()["failures"] == []
            proxy.hold(b"llm_model")
            admin.set(llm_model="never-read")
            until(lambda: proxy.is_holding)
            worker.signal(signal.SIGTERM)
            assert worker.ended(CLOSED.limit) == 0
            assert worker.errors == ""
            until(lambda: not proxy.open_connections)
            assert admin.ask("SELECT count(*) FROM liverouter.instances_detail")[0] == 0, "it said goodbye"

    @pytest.mark.usefixtures("native")  # litellm's import costs seconds
    def test_interpreter_exit_is_quick_and_silent(self, admin: Admin) -> None:
        """A script that never closes anything ends as quickly and silently as one that does, and says goodbye."""
        script = (
            "import time, liverouter\n"
            "import liverouter.client, liverouter.engine.engine\n"
            "liverouter.client._CLOSE_S = liverouter.engine.engine._GOODBYE_S = 20.0  # s, for the goodbye\n"
            "print(liverouter.get_chat_model().invoke('hi').content)\n"
            "print(time.monotonic(), flush=True)\n"
        )
        environ = os.environ | {"LIVEROUTER_DATABASE_URL": admin.dsn, "LIVEROUTER_LOG_LEVEL": "error"}
        environ["LIVEROUTER_READY_TIMEOUT_S"] = "120"
        argv = [sys.executable, "-W", "error", "-c", script]
        done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=150, check=False)
        answer, last = done.stdout.split("\n")[:2]
        assert (done.returncode, answer, done.stderr) == (0, "first says: hi", "")
        assert time.monotonic() - float(last) < EXITED.limit
        assert admin.ask("SELECT count(*) FROM liverouter.instances_detail")[0] == 0, "it said goodbye"

    def test_close_leaves_nothing(self, admin: Admin, recwarn: pytest.WarningsRecorder) -> None:
        """No thread, task, socket or warning is left of a client that was closed."""
        process = psutil.Process()
        with Follower(admin) as warm:  # what litellm keeps for the process is not the client's
            warm.events.wait_for(ListenerConnected)
        gc.collect()
        threads, descriptors = set(threading.enumerate()), process.num_fds()
        for _ in range(3):
            with Follower(admin) as follower:
                follower.events.wait_for(ListenerConnected)
                follower.applies(admin.set(llm_model=f"m{admin.revision}"), within_s=AT_ONCE.limit)
        gc.collect()
        until(lambda: set(threading.enumerate()) <= threads, GONE.limit)
        until(lambda: process.num_fds() <= descriptors, GONE.limit)  # the stand-in's side of a connection is here, too
        assert [str(w.message) for w in recwarn if "liverouter" in str(w.filename)] == []
        until(
            lambda: (
                admin.ask(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'liverouter%%'"
                    " AND datname = current_database()"
                )[0]
                == 0
            ),
            GONE.limit,
        )

    async def test_cancelled_lifespan_leaves_nothing(self, admin: Admin) -> None:
        """A task that is cancelled inside ``async with LiveRouter`` closes it all the same."""
        entered = asyncio.Event()

        async def serve() -> None:
            async with LiveRouter(database_url=admin.dsn, **QUICK) as live:
                await live.chat_model().ainvoke("hi")
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(serve())
        await asyncio.wait_for(entered.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, GONE.limit)
        await until_async(lambda: not [t for t in threading.enumerate() if t.name.startswith("liverouter")], GONE.limit)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Where a client keeps its last-known-good."""
    return tmp_path / "last.snapshot"


class TestSnapshotFile:
    def test_start_without_the_database(self, admin: Admin, proxy: FaultProxy, snapshot: Path) -> None:
        """With a snapshot file a process serves though the database does not answer, and follows it once it does."""
        options: dict[str, Any] = {"snapshot_file": snapshot, "secret_keys": generate_key()}
        with Follower(admin, proxy.dsn, **options) as follower:
            follower.events.wait_for(SnapshotFileWritten, revision=admin.revision)
        revision = admin.set(llm_model="unknown-to-the-file")
        proxy.refuse_new()
        with Follower(admin, proxy.dsn, **options) as follower:
            applied = follower.events.wait_for(ConfigApplied)
            assert (applied.source, applied.revision) == ("snapshot_file", revision - 1)
            status = follower.until_status(state=State.STALE, revision=revision - 1)
            assert status.last_error is not None
            assert status.last_error.code == "LR201"
            proxy.heal()
            follower.applies(revision, within_s=RETRIED.limit)
            follower.until_status(state=State.LIVE, timeout_s=60)
            follower.events.wait_for(SnapshotFileWritten, revision=revision)

    @pytest.mark.parametrize(
        ("harm", "reason"),
        [
            ("missing", "does not exist"),
            ("corrupt", "is damaged"),
            ("truncated", "is damaged"),
            ("foreign", "not a liverouter snapshot"),
            ("wrong key", "not in the keyring"),
            ("other database", "belongs to database"),
            ("stale", "last confirmed by the database 31 days ago"),
            ("writable by others", "written by other users"),
        ],
    )
    def test_unusable_file_is_named_and_ignored(
        self, admin: Admin, proxy: FaultProxy, snapshot: Path, harm: str, reason: str
    ) -> None:
        """A file that cannot be believed is named with the reason; the process goes on trying the database."""
        key = generate_key()
        options: dict[str, Any] = {"snapshot_file": snapshot}
        first = admin.dsn if harm == "other database" else proxy.dsn
        with Follower(admin, first, secret_keys=key, **options) as follower:
            follower.events.wait_for(SnapshotFileWritten)
        _harm(snapshot, harm)
        events = EventLog()
        proxy.refuse_new()
        keys = generate_key() if harm == "wrong key" else key
        with LiveRouter(database_url=proxy.dsn, observers=(events,), secret_keys=keys, **QUICK, **options) as live:
            ignored = events.wait_for(SnapshotFileIgnored)
            assert ignored.problem.code == "LR504"
            assert reason in ignored.problem.message
            with pytest.raises(NotReadyError):
                live.wait_ready(0.05)
            proxy.heal()
            assert live.wait_ready(RETRIED.limit).snapshot.primary.model == "first"
            if harm != "foreign":
                events.wait_for(SnapshotFileWritten)

    @pytest.mark.parametrize("fault", ["full", "read-only", "gone"])
    def test_disk_that_takes_no_file(
        self, admin: Admin, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that is full, read-only or gone is reported; calls, swaps and the former file are unharmed.

        Once the disk takes files again, the file holds the newest revision without another one being written.
        """
        monkeypatch.setattr("liverouter.engine.snapshot_file._RETRY_S", 0.1)
        key = generate_key()
        with _disk(tmp_path) as folder:
            file = folder / "last.snapshot"
            with Follower(admin, snapshot_file=file, secret_keys=key) as follower:
                follower.events.wait_for(ListenerConnected)
                follower.events.wait_for(SnapshotFileWritten)
                former = file.read_bytes()
                _break(folder, fault)
                long = "x" * 20_000  # needs more room than the former file
                revision = admin.set(llm_model="all-the-same", somebody_elses=long)
                follower.applies(revision, within_s=AT_ONCE.limit)
                ignored = follower.events.wait_for(SnapshotFileIgnored)
                assert ignored.problem.code == "LR504"
                assert "cannot be written" in ignored.problem.message
                follower.until_status(state=State.LIVE)
                follower.load.serve("all-the-same")
                reads = len(follower.events.of(ConfigRead))
                follower.events.wait_for(ConfigRead, count=reads + 2)
                assert len(follower.events.of(SnapshotFileIgnored)) == 1, "tried again, and told once"
                if fault != "gone":
                    assert file.read_bytes() == former
                    until(lambda: not list(folder.glob("*.new")))  # but while it is tried again
                _mend(folder, fault)
                follower.events.wait_for(SnapshotFileWritten, revision=revision, timeout_s=REFILED.limit)
                database = follower.live.options.database_name
                assert read_snapshot_file(file, Keyring.from_text(key), database=database).revision == revision


def _harm(file: Path, harm: str) -> None:
    data = file.read_bytes()
    match harm:
        case "missing":
            file.unlink()
        case "corrupt":
            file.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])
        case "truncated":
            file.write_bytes(data[: len(data) // 2])
        case "foreign":
            file.write_bytes(b"#!/bin/sh\n")
        case "stale":
            month_ago = file.stat().st_mtime - 31 * DAY_S
            os.utime(file, (month_ago, month_ago))
        case "writable by others":
            file.chmod(0o666)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """A folder on a small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a disk")
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False)  # noqa: S607
    if mounted.returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)  # noqa: S607 - the fault may have done it


def _break(disk: Path, fault: str) -> None:
    """Have the disk take no file any more."""
    match fault:
        case "full":
            with contextlib.suppress(OSError):
                (disk / "ballast").write_bytes(b"x" * 65_536)
        case "read-only":
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)  # noqa: S607
        case "gone":
            subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S607
            disk.rmdir()
            disk.write_text("")


def _mend(disk: Path, fault: str) -> None:
    """Have it take files again."""
    match fault:
        case "full":
            (disk / "ballast").unlink()
        case "read-only":
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)  # noqa: S607
        case "gone":
            disk.unlink()
            disk.mkdir(exist_ok=True)  # the next try may have made it in between
