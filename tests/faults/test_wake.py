"""Wake-ups by Redis: a process holds no connection to PostgreSQL, and whatever Redis does costs staleness alone."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import redis

from liverouter import State
from liverouter.events import ConfigApplied, ConfigRead, ListenerConnected, ListenerLost, ReloadRequested
from liverouter.postgres.repository import SettingsRepository
from liverouter.redis.wake import CHANNEL, WakeSubscriber
from tests.faults.bounds import POLLED, WOKEN
from tests.kit.daemon import Daemon
from tests.kit.follower import Follower
from tests.kit.redis_servers import RealServer
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kit.admin import Admin

pytestmark = pytest.mark.usefixtures("native")  # nothing here depends on the engine

OURS: Final = "FROM pg_stat_activity WHERE application_name LIKE 'liverouter%%' AND datname = current_database()"
BY_REDIS: Final[dict[str, Any]] = {"poll_interval_s": 3600.0, "heartbeat_interval_s": 0.0}  # nothing else helps
BY_POLL: Final[dict[str, Any]] = {"poll_interval_s": 1.0, "heartbeat_interval_s": 30.0}


@pytest.fixture
def redis_server(needs_program: Callable[..., Path]) -> Iterator[RealServer]:
    """A Redis of this test's own."""
    running = RealServer(needs_program("redis-server", package="redis-server"))
    yield running
    running.stop()


@pytest.fixture
def wake(redis_server: RealServer) -> dict[str, Any]:
    """The option that names it."""
    return {"wake_url": f"redis://127.0.0.1:{redis_server.port}/0"}


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that stands still is soon given up, and soon tried again."""
    quick = partial(WakeSubscriber, probe_s=1.0, first_retry_s=0.1)
    monkeypatch.setattr("liverouter.engine.engine.WakeSubscriber", quick)
    monkeypatch.setattr("liverouter.redis.link._LAST_RETRY_S", 0.5)


def tell(server: RealServer, *texts: str) -> None:
    """Have everybody who hears of wake-ups hear *texts*."""
    with redis.Redis(port=server.port) as client:
        for text in texts:
            assert client.publish(CHANNEL, text) >= 1


class TestWoken:
    def test_serve_passes_on_what_it_hears(
        self, admin: Admin, redis_server: RealServer, wake: dict[str, Any], tmp_path: Path
    ) -> None:
        """A process that polls once an hour follows at once; between reads it has no connection to PostgreSQL."""
        environ = {"LIVEROUTER_DATABASE_URL": admin.dsn, "LIVEROUTER_WAKE_URL": wake["wake_url"]}
        with (
            redis.Redis(port=redis_server.port, decode_responses=True) as client,
            client.pubsub() as inbox,
            Daemon(log=tmp_path / "log", **environ),
            Follower(admin, app="woken", **BY_REDIS, **wake) as follower,
        ):
            inbox.subscribe(CHANNEL)
            follower.events.wait_for(ListenerConnected)
            revision = admin.set(llm_model="woken")
            follower.applies(revision, within_s=WOKEN.limit)
            assert (follower.status.state, follower.status.mode) == (State.LIVE, "listen")
            follower.reports(state="live", mode="listen", applied_revision=revision)
            until(lambda: admin.ask(f"SELECT count(*) {OURS} AND application_name LIKE '%%/woken'") == (0,))
            (epoch,) = admin.ask("SELECT liverouter.epoch()")
            until(lambda: (inbox.get_message(timeout=1) or {}).get("data") == f"{epoch} {revision}")

    def test_missed_wake_up_is_made_good_for(
        self, admin: Admin, redis_server: RealServer, wake: dict[str, Any]
    ) -> None:
        """Whoever comes back to Redis reads, for what was told meanwhile."""
        with Follower(admin, **BY_REDIS, **wake) as follower:
            follower.events.wait_for(ListenerConnected)
            redis_server.kill()
            follower.events.wait_for(ListenerLost, cause="redis")
            revision = admin.set(llm_model="missed")
            redis_server.start()
            follower.applies(revision, within_s=WOKEN.limit)


@pytest.mark.usefixtures("_impatient")
class TestRedisFails:
    @pytest.mark.parametrize("fault", ["frozen", "killed"])
    def test_redis_that_fails_is_polled_without(
        self, admin: Admin, redis_server: RealServer, wake: dict[str, Any], fault: str
    ) -> None:
        """Redis is frozen or gone: calls go on, the state says so, and the poll finds what is new."""
        with Follower(admin, **BY_POLL, **wake) as follower:
            follower.events.wait_for(ListenerConnected)
            redis_server.process.send_signal(signal.SIGSTOP) if fault == "frozen" else redis_server.kill()
            lost = follower.events.wait_for(ListenerLost, cause="redis")
            assert lost.problem is not None
            assert lost.problem.code == "LR221"
            follower.until_status(state=State.POLL_ONLY, mode_cause="redis")
            follower.load.go_on()
            follower.applies(admin.set(llm_model="polled"), within_s=POLLED.limit)
            follower.reports(state="poll_only", mode_cause="redis")
            redis_server.process.send_signal(signal.SIGCONT) if fault == "frozen" else redis_server.start()
            follower.until_status(state=State.LIVE)
            told, heard = follower.events.of(ListenerLost), follower.events.of(ListenerConnected)
            assert len(told) == len(heard) - 1, "once, however often it is tried again"

    def test_redis_that_lies_is_not_believed(
        self, admin: Admin, redis_server: RealServer, wake: dict[str, Any]
    ) -> None:
        """Whatever is published, no wrong revision goes live, and ever fewer reads are made for it."""
        (epoch,) = admin.ask("SELECT liverouter.epoch()")
        by_redis = BY_REDIS | {"poll_interval_s": 10.0}  # the longest pause after lies, however long they take here
        with Follower(admin, **by_redis, **wake) as follower:
            follower.events.wait_for(ListenerConnected)
            follower.events.wait_for(ReloadRequested, reason="wake-ups arrive")
            follower.events.wait_for(ConfigRead, count=2)
            tell(
                redis_server, "", "x", f"{epoch} -1", f"{epoch} {'9' * 40}", "\u2603", f"{epoch} 7; DROP", "a" * 100_000
            )
            tell(redis_server, f"{epoch} {admin.revision}")
            tell(redis_server, *(f"{epoch} {10_000 + number}" for number in range(2_000)))
            follower.events.wait_for(ReloadRequested, reason="wake-up")
            revision = admin.set(llm_model="true")
            tell(redis_server, f"{epoch} {revision}")
            follower.applies(revision, within_s=POLLED.limit)
            assert {event.revision for event in follower.events.of(ConfigApplied)} == {revision - 1, revision}
            assert len(follower.events.of(ReloadRequested, reason="wake-up")) < 20
            follower.load.go_on()


def test_reads_hold_no_connection(admin: Admin, wake: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it polls and reports, a process leaves nothing open between two uses."""
    made: list[float] = []

    def repository(**options: Any) -> SettingsRepository:
        made.append(options["idle_s"])
        return SettingsRepository(**options)

    monkeypatch.setattr("liverouter.engine.engine.SettingsRepository", repository)
    with Follower(admin, poll_interval_s=0.2, heartbeat_interval_s=0.2, **wake) as follower:
        follower.events.wait_for(ConfigRead, count=5)
        until(lambda: admin.ask(f"SELECT count(*) {OURS}") == (0,))
        assert made == [0.0]
        follower.applies(admin.set(llm_model="polled"), within_s=POLLED.limit)
