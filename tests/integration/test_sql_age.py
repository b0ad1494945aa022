"""What stays of an old history and of old usage, and what goes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from liverouter.postgres.migrate import upgrade
from liverouter.postgres.versions import HEAD
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, put, put_secret, refused, revision, rows, sealed, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]
    Connect = Callable[..., Session]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()

KEPT = "SELECT array_agg(revision ORDER BY revision) FROM liverouter.revisions"
PRUNE = "SELECT liverouter.prune()"


def age(db: Session, days: int, upto: int) -> None:
    """Have all revisions up to *upto* be *days* days older."""
    db.execute(
        "UPDATE liverouter.revision_log SET committed_at = committed_at - make_interval(days => %s)"
        " WHERE revision <= %s",
        [days, upto],
    )


def keep(db: Session, *, days: int, revisions: int) -> None:
    """Keep revisions for *days* days, and the newest *revisions*."""
    db.execute("UPDATE liverouter.retention SET history_days = %s, history_revisions = %s", [days, revisions])


def edit(db: Session, times: int) -> int:
    """Make *times* revisions; return the head."""
    for number in range(times):
        put(db, llm_model=f"model-{revision(db)}-{number}")
    return revision(db)


def counts(**more: object) -> dict[str, object]:
    """Return one cell of usage as a process reports it."""
    return {
        "minute": datetime.now(UTC).isoformat(),
        "deployment_id": "openai/gpt-4o#1a2b3c4d",
        "role": "primary",
        "provider": "openai",
        "model": "gpt-4o",
        "calls": 2,
        "failures": {},
        "failovers": 0,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cost_usd": 0.5,
        "latency_ms_sum": 300.0,
        "latency_ms_max": 200.0,
    } | more


class TestRetention:
    def test_two_years_and_a_thousand_revisions_are_kept(self, db: Session) -> None:
        """By default a history of any ordinary length is whole for ever."""
        head = edit(db, 3)
        age(db, 4_000, head)
        assert value(db, PRUNE) == 0
        assert value(db, KEPT) == list(range(head + 1))
        assert rows(db, "SELECT * FROM liverouter.retention") == [
            {"only_row": True, "history_days": 731, "history_revisions": 1000, "usage_daily_days": 731}
        ]

    def test_what_is_older_than_both_bounds_goes(self, db: Session) -> None:
        """Revisions that are old, and are not among the newest; what they changed goes with them."""
        head = edit(db, 5)
        keep(db, days=30, revisions=2)
        age(db, 60, head - 3)
        assert value(db, PRUNE) == head - 2
        assert value(db, KEPT) == [head - 2, head - 1, head]
        assert value(db, "SELECT changed FROM liverouter.revisions ORDER BY revision LIMIT 1") == "llm_model"
        assert value(db, "SELECT min(revision) FROM liverouter.revision_changes") == head - 2
        with refused("LR213") as refusal:
            db.execute(b"SELECT liverouter.rollback(1)")
        assert f"{head - 2} to {head}" in refusal.hint

    def test_head_stays_however_old(self, db: Session) -> None:
        """A config that nobody touched for ten years runs on, and can be read and diffed."""
        put_secret(db, "openai_api_key")
        head = edit(db, 1)
        keep(db, days=0, revisions=1)
        age(db, 4_000, head)
        assert value(db, PRUNE) == head
        assert value(db, KEPT) == [head]
        assert put(db, llm_model="next") == head + 1
        assert rows(db, f"SELECT key FROM liverouter.revision_diff({head}, {head + 1})") == [{"key": "llm_model"}]

    def test_envelope_that_history_forgets_cannot_be_stored_again(self, db: Session) -> None:
        """Else who kept one could have it sent elsewhere: the history alone knows where it may go."""
        gone, in_force = sealed(), sealed()
        put_secret(db, "openai_api_key", envelope=gone)
        put_secret(db, "openai_api_key", "aaaaaaaa", envelope=in_force)
        head = edit(db, 2)
        keep(db, days=0, revisions=1)
        age(db, 10, head)
        assert value(db, PRUNE) == head
        with refused("23514"):
            put_secret(db, "openai_api_key", envelope=gone)
        db.execute(b"DELETE FROM liverouter.secrets")
        put_secret(db, "openai_api_key", "aaaaaaaa", envelope=in_force)
        assert value(db, "SELECT fingerprint FROM liverouter.secrets") == "aaaaaaaa"

    def test_only_the_owner_sets_it(self, login: Callable[..., str], connect: Connect) -> None:
        """Who looks sees it; nobody else throws a history away."""
        inspector = connect(login("liverouter_inspector"))
        assert value(inspector, "SELECT history_days FROM liverouter.retention") == 731
        writer = connect(login("liverouter_writer", "liverouter_client"))
        for session in (inspector, writer):
            with refused("42501"):
                session.execute(b"UPDATE liverouter.retention SET history_days = 0")


class TestRollout:
    def test_old_revision_keeps_its_outcomes_when_they_are_pruned(self, db: Session) -> None:
        """Who applied it, and how quickly, is known as long as the revision is."""
        process = Process(db)
        process.run(0)
        first = put(db, llm_model="first")
        process.applied(first)
        edit(db, 30)
        query = f"SELECT applied, rejected, slowest FROM liverouter.rollout WHERE revision = {first}"
        expected = [{"applied": 1, "rejected": 0, "slowest": "billing on host-1, pid 7"}]
        assert rows(db, query) == expected
        db.execute(b"DELETE FROM liverouter.apply_log")
        assert rows(db, query) == expected

    def test_late_report_of_an_old_revision_counts(self, db: Session) -> None:
        """A process that could not report for a while tells of what it applied meanwhile."""
        first = put(db, llm_model="first")
        processes = [Process(db, pid=pid) for pid in (1, 2)]
        processes[0].applied(first)
        edit(db, 30)
        processes[1].applied(first)
        query = f"SELECT applied FROM liverouter.rollout WHERE revision = {first}"
        assert value(db, query) == 2

    def test_late_report_waits_for_nobody(self, db: Session, connect: Connect) -> None:
        """A login that leaves a transaction open after its report holds up no report, no writer and no pruning."""
        first = put(db, llm_model="first")
        head = edit(db, 30)
        holder = connect(autocommit=False)
        Process(holder, pid=1).applied(first)
        db.execute(b"SET lock_timeout = '30s'")
        Process(db, pid=2).applied(first)
        assert edit(db, 1) == head + 1
        keep(db, days=0, revisions=1)
        age(db, 10, head)
        assert value(db, PRUNE) > 0
        holder.rollback()

    def test_every_revision_is_listed_once(self, db: Session) -> None:
        """Those counted once and those counted when asked, and nothing between them is lost."""
        process = Process(db)
        for _ in range(25):
            process.applied(edit(db, 1))
        found = rows(db, "SELECT revision, applied FROM liverouter.rollout ORDER BY revision")
        assert [(row["revision"], row["applied"]) for row in found] == [(0, 0), *((n, 1) for n in range(1, 26))]


class TestUsageDaily:
    def test_day_adds_up_its_minutes(self, db: Session) -> None:
        """Further reports of a minute, and further minutes, go into the same day."""
        process = Process(db)
        today = datetime.now(UTC).replace(hour=12)
        process.run(0, usage=[counts(minute=(today.replace(day=1)).isoformat())])
        before = rows(db, "SELECT * FROM liverouter.usage_daily_detail")
        assert (before[0]["calls"], before[0]["app"], before[0]["host"]) == (2, "billing", "host-1")
        process.send(usage=[counts(calls=3, failures={"RateLimitError 429": 2}, latency_ms_max=900.0)])
        process.send(usage=[counts(calls=1, failures={"RateLimitError 429": 1}, cost_usd=0.25)])
        daily = "SELECT sum(calls)::int AS calls, sum(cost_usd)::float AS usd, sum(prompt_tokens)::int AS tokens"
        totals = rows(db, f"{daily} FROM liverouter.usage_daily_detail")
        assert totals == rows(db, f"{daily} FROM liverouter.usage_detail") == [{"calls": 6, "usd": 1.25, "tokens": 30}]
        failed = rows(db, "SELECT failures, latency_ms_max FROM liverouter.usage_daily_detail WHERE failures <> '{}'")
        assert failed == [{"failures": {"RateLimitError 429": 3}, "latency_ms_max": 900}]

    def test_day_stays_when_its_minutes_and_its_process_go(self, db: Session) -> None:
        """For two years: what a service cost last spring, by its name."""
        process = Process(db)
        process.run(0, usage=[counts()])
        process.send(bye=True)
        process.silent_for(90_000)
        db.execute(b"UPDATE liverouter.usage_minutes SET minute = minute - interval '60 days'")
        assert value(db, PRUNE) == 2
        assert rows(db, "SELECT app, calls FROM liverouter.usage_daily_detail") == [{"app": "billing", "calls": 2}]
        db.execute(b"UPDATE liverouter.usage_days SET day = day - 800")
        assert value(db, PRUNE) == 1
        assert rows(db, "SELECT * FROM liverouter.usage_daily_detail") == []

    def test_values_that_no_report_lets_in_break_no_day(self, db: Session) -> None:
        """Rows that came past the reports, as from a restore of an older version."""
        db.execute(
            b"INSERT INTO liverouter.usage_minutes VALUES (gen_random_uuid(), now(), 'd', 'primary', 'p', 'm',"
            b" 9223372036854775807, '[1]', -5, 9223372036854775807, 0, 'NaN', 'NaN', 'Infinity')"
        )
        (day,) = rows(db, "SELECT * FROM liverouter.usage_daily_detail")
        assert (day["cost_usd"], day["failovers"], day["failures"]) == (0, 0, {})


class TestUpgrade:
    def test_history_and_usage_of_the_version_before_are_taken_over(self, empty_dsn: str, connect_to: Connect) -> None:
        """What the version before wrote is listed, counted and added up."""
        upgrade(empty_dsn, "0008_native")
        db = connect_to(empty_dsn)
        db.execute(b"SET jit = off")  # it took the views of before seconds
        process = Process(db)
        process.run(0)
        put_secret(db, "openai_api_key")
        for _ in range(25):
            process.applied(edit(db, 1), usage=[counts(failures={"X": 1})])
        shown = (
            "SELECT revision, changed FROM liverouter.revisions ORDER BY 1",
            "SELECT revision, committed_at, applied, rejected, pending, p50_ms FROM liverouter.rollout ORDER BY 1",
            "SELECT severity, code, object FROM liverouter.problems ORDER BY 1, 2, 3",
            "SELECT minute, app, model, calls, failures, failovers, prompt_tokens, cost_usd FROM liverouter.usage",
        )
        process.send()
        before = [rows(db, query) for query in shown]
        assert upgrade(empty_dsn) == HEAD
        process.send()  # it is alive, however long that took
        assert [rows(db, query) for query in shown] == before
        assert value(db, "SELECT changed FROM liverouter.revisions WHERE revision = 1") == "secret openai_api_key"
        assert rows(db, "SELECT app, calls, failures FROM liverouter.usage_daily_detail") == [
            {"app": "billing", "calls": 50, "failures": {"X": 25}}
        ]
        process.send(usage=[counts()])
        assert value(db, "SELECT calls FROM liverouter.usage_daily") == 52

    def test_revision_in_the_making_during_the_upgrade_says_what_it_changed(
        self, empty_dsn: str, connect_to: Connect
    ) -> None:
        """A writer that began before the upgrade, and ends after it, wrote as the version before does."""
        upgrade(empty_dsn, "0008_native")
        writer = connect_to(empty_dsn, autocommit=False)
        made = put(writer, llm_model="m")
        upgrade(empty_dsn)
        writer.commit()
        query = f"SELECT changed FROM liverouter.revisions WHERE revision = {made}"
        assert value(writer, query) == "llm_model"
