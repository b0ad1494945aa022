"""A fallback known to work: what nobody calls is asked now and then, by one process of the fleet."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from liverouter import LiveRouter
from liverouter.engine import probes
from liverouter.events import CallFailed, CallFailedOver, ConfigApplied, LoopFailed, ProbeFailed
from liverouter.testing import EventLog, Failure
from tests.kit.admin import Admin
from tests.kit.sql import Process, put, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from liverouter.testing import StandIn

    Session = psycopg.Connection[Any]


@pytest.fixture
def admin(dsn: str, openai: StandIn, anthropic: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    """An admin of a database with a primary and a fallback, each asked after a day; clients look often."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-anthropic")
    monkeypatch.setattr(probes, "_EVERY_S", 0.02)
    admin = Admin(dsn)
    admin.set(
        llm_provider="openai",
        llm_model="gpt-4o",
        openai_api_base=openai.base_url,
        anthropic_api_base=anthropic.base_url,
        llm_fallback_config={"provider": "anthropic", "model": "claude-sonnet-4-6"},
        litellm_enable=False,
    )
    yield admin
    admin.close()


class TestClients:
    def test_what_nobody_called_is_asked_once_by_the_fleet(
        self, dsn: str, admin: Admin, openai: StandIn, anthropic: StandIn, wait_until: Callable[..., None]
    ) -> None:
        """Off until a row says so; then one call of each, counted, no caller's; what it finds is told."""
        events = EventLog()
        anthropic.fail(Failure.NOT_FOUND)
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(LiveRouter(database_url=dsn, observers=(events,), heartbeat_interval_s=0.1))
            events.wait_for(ConfigApplied, count=2)
            assert openai.hits + anthropic.hits == 0
            revision = admin.set(llm_probe_interval_h=24)
            events.wait_for(ConfigApplied, revision=revision, count=2)
            wait_until(lambda: openai.hits + anthropic.hits >= 2)
            wait_until(lambda: admin.ask("SELECT code FROM liverouter.problems WHERE code = 'LR325'"))
            counted = (
                "SELECT role, sum(calls), count(*) FILTER (WHERE failures <> '{}')"
                " FROM liverouter.usage_detail GROUP BY 1"
            )
            wait_until(lambda: len(admin.connection.execute(counted).fetchall()) == 2)
            found = admin.connection.execute(counted).fetchall()
        assert sorted(found) == [("fallback", 0, 1), ("primary", 1, 0)]
        assert (openai.hits, anthropic.hits) == (1, 1)
        assert (events.of(CallFailedOver), events.of(CallFailed)) == ([], [])
        (failed,) = events.of(ProbeFailed)
        assert failed.deployment.startswith("anthropic/claude-sonnet-4-6#")
        assert failed.cause == "there is no such model, or no such address, HTTP 404"

    def test_one_that_fails_is_asked_until_it_answers(
        self, dsn: str, admin: Admin, openai: StandIn, anthropic: StandIn, wait_until: Callable[..., None]
    ) -> None:
        """After minutes, and not after its hours; one that answered waits for them."""
        anthropic.fail(Failure.SERVER_ERROR)
        admin.set(llm_probe_interval_h=24, litellm_num_retries=0)

        def pass_minutes() -> bool:
            """Have the last calls be of seven minutes ago; return True."""
            admin.execute("UPDATE liverouter.probes SET asked_at = now() - interval '7 minutes'")
            admin.execute("DELETE FROM liverouter.usage_minutes")
            return True

        with LiveRouter(database_url=dsn, heartbeat_interval_s=0.1):
            wait_until(lambda: openai.hits + anthropic.hits >= 2)
            wait_until(lambda: pass_minutes() and anthropic.hits >= 3)
            anthropic.heal()
            told = "SELECT 1 FROM liverouter.problems WHERE code = 'LR325'"
            wait_until(lambda: pass_minutes() and not admin.ask(told))
            hits = anthropic.hits
            for _ in range(3):
                pass_minutes()
        assert anthropic.hits == hits
        assert openai.hits == 1

    def test_deployment_with_a_long_name_is_asked_as_any(
        self, dsn: str, admin: Admin, openai: StandIn, anthropic: StandIn, wait_until: Callable[..., None]
    ) -> None:
        """The database keeps the beginning of its id; those that are due beside it are asked as well."""
        events = EventLog()
        fallbacks = [{"provider": "openai", "model": f"{name}-{'x' * 400}"} for name in "ab"]
        admin.set(llm_probe_interval_h=24, llm_fallback_config=[*fallbacks, {"provider": "anthropic", "model": "m"}])
        with LiveRouter(database_url=dsn, observers=(events,), heartbeat_interval_s=0.1):
            wait_until(lambda: (openai.hits, anthropic.hits) == (3, 1))
        assert events.of(LoopFailed) == []


@pytest.mark.servers("embedded", "debian")
class TestTurns:
    def test_each_is_told_to_one_caller_and_again_after_its_hours(self, db: Session) -> None:
        """What was called, or failed, is not asked; nor what was asked."""
        process = Process(db)
        put(db, llm_provider="openai", llm_model="gpt-4o")
        usage = {"minute": "2100-01-01T00:00:00+00:00", "provider": "x", "model": "x", "role": "fallback"}
        process.run(1, usage=[{**usage, "deployment_id": "called", "calls": 1, "failures": {}}])
        process.send(usage=[{**usage, "deployment_id": "failed", "calls": 0, "failures": {"Timeout 408": 1}}])

        def due(hours: float = 24) -> list[str]:
            query = "SELECT d FROM liverouter_internal.due_probes('{called,failed,idle,new,new}', %s) d ORDER BY d"
            return [row["d"] for row in rows(db, query, hours)]

        assert due() == ["idle", "new"]
        assert due() == []
        db.execute(b"UPDATE liverouter.probes SET asked_at = asked_at - interval '2 hours' WHERE deployment_id = 'new'")
        assert due() == []
        assert due(1) == ["new"]

    def test_two_that_ask_at_once_are_not_both_told(self, db: Session, connect: Callable[..., Session]) -> None:
        """The second has to ask again later."""
        other = connect(autocommit=False)
        query = "SELECT d FROM liverouter_internal.due_probes('{idle}', 24) d"
        assert rows(other, query) == [{"d": "idle"}]
        assert rows(db, query) == []
        other.rollback()
        assert rows(db, query) == [{"d": "idle"}]

    def test_nobody_keeps_the_choice(
        self, db: Session, connect: Callable[..., Session], wait_until: Callable[..., None]
    ) -> None:
        """No advisory lock is heeded, which anybody may hold; a transaction that stays open is ended."""
        query = "SELECT d FROM liverouter_internal.due_probes('{idle}', 24) d"
        stranger, other = connect(), connect(autocommit=False)
        stranger.execute(b"SELECT pg_advisory_lock(hashtext('liverouter_internal.due_probes'))")
        assert rows(other, query) == [{"d": "idle"}]
        wait_until(lambda: rows(db, query) == [{"d": "idle"}])
