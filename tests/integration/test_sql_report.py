"""What processes report: taken whole or in parts, forged by nobody, broken by nothing, cheap."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb

from tests.kit.postgres.emptied import one_database
from tests.kit.sql import AN_HOUR_AGO, Process, deployment, put, refused, rows, stop_clock, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]
    Connect = Callable[..., Session]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()


def instance(db: Session, process: Process) -> dict[str, Any]:
    """Return a process's row of the view."""
    (row,) = rows(db, "SELECT * FROM liverouter.instances_detail WHERE instance = %s", process.instance)
    return row


def usage(minute: str, **more: object) -> dict[str, Any]:
    """Return one row of counts."""
    return {
        "minute": minute,
        "deployment_id": "openai/gpt-4o#1",
        "provider": "openai",
        "model": "gpt-4o",
        "role": "primary",
        "calls": 1,
        "failures": {},
        "failovers": 0,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cost_usd": 0.25,
        "latency_ms_sum": 100.0,
        "latency_ms_max": 100.0,
        **more,
    }


class TestReport:
    def test_report_answers_with_the_head(self, db: Session) -> None:
        """A heartbeat doubles as a poll: revision, change and epoch come back."""
        put(db, a=1)
        answer = Process(db).run(1)
        head = rows(db, "SELECT revision, change_id, liverouter.epoch() AS epoch FROM liverouter.head")
        assert [answer] == [head[0] | {"report_whole": False}]

    def test_heartbeat_keeps_what_was_said_before(self, db: Session) -> None:
        """Absent keys keep their values: a heartbeat is instance and key, and moves the heartbeat alone."""
        put(db, a=1)
        process = Process(db)
        process.run(1, deployments=[deployment("openai", "gpt-4o")])
        before = rows(db, "SELECT * FROM liverouter.processes")[0]
        process.send()
        after = rows(db, "SELECT * FROM liverouter.processes")[0]
        assert after.pop("heartbeat_at") > before.pop("heartbeat_at")
        assert after == before

    def test_key_that_is_null_is_emptied_and_not_kept(self, db: Session) -> None:
        """An error that was mended goes: null is a value, absence is none."""
        put(db, a=1)
        process = Process(db)
        process.rejected(1, kept=None)
        process.send(last_error=None, rejected_revision=None, problems=[])
        row = instance(db, process)
        assert (row["error_code"], row["error"], row["rejected_revision"]) == (None, None, None)

    def test_heartbeat_of_an_unknown_instance_asks_for_everything(self, db: Session) -> None:
        """After a prune or a restore the database knows nothing of a process that runs: it is asked to say all."""
        process = Process(db)
        assert process.send()["report_whole"] is True
        assert process.run(0)["report_whole"] is False
        db.execute(b"DELETE FROM liverouter.processes")
        assert process.send()["report_whole"] is True

    def test_goodbye_removes_the_instance_from_the_views(self, db: Session) -> None:
        """A clean end is no problem: the process is gone from instances, active_config and problems at once."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        process = Process(db)
        process.run(1, mode="poll_only", deployments=[deployment("openai", "gpt-4o")])
        process.send(bye=True, usage=[usage(AN_HOUR_AGO)])
        for view in ("instances", "active_config"):
            assert rows(db, f"SELECT * FROM liverouter.{view}") == []
        assert [p for p in rows(db, "SELECT * FROM liverouter.problems") if p["code"] >= "LR2"] == []
        assert value(db, "SELECT app FROM liverouter.usage_detail") == "billing"

    def test_process_that_comes_back_is_live_again(self, db: Session) -> None:
        """A suspended machine that wakes, or a goodbye that was premature: the next report revives the row."""
        process = Process(db)
        process.run(0)
        process.send(bye=True)
        process.run(0)
        assert instance(db, process)["state"] == "live"

    def test_times_come_from_ages_by_the_database_clock(self, db: Session) -> None:
        """Whatever a process thinks the time is: applied_at = now - age, a cooldown ends at now + its rest."""
        put(db, a=1)
        now = stop_clock(db)
        process = Process(db)
        process.applied(1, age_ms=60_000, deployments=[deployment("openai", "gpt-4o", cooling_ms=90_000)])
        (row,) = rows(db, "SELECT applied_at, cooling_until FROM liverouter.active_config_detail")
        assert row["applied_at"] == now - timedelta(seconds=60)
        assert row["cooling_until"] == (now + timedelta(seconds=90)).replace(microsecond=0)

    def test_cooldown_that_is_over_is_not_shown(self, db: Session) -> None:
        """A deployment that cooled at the last heartbeat and does no more serves: NULL."""
        process = Process(db)
        process.run(0, deployments=[deployment("openai", "gpt-4o", cooling_ms=0)])
        assert value(db, "SELECT cooling_until FROM liverouter.active_config_detail") is None

    def test_applied_at_changes_with_the_revision_only(self, db: Session) -> None:
        """Reporting the same revision again does not make it look freshly applied."""
        put(db, a=1)
        process = Process(db)
        process.run(1)
        first = instance(db, process)["applied_at"]
        process.run(1)
        assert instance(db, process)["applied_at"] == first
        process.run(2)
        assert instance(db, process)["applied_at"] > first


class TestForgery:
    def test_report_with_another_key_is_refused(self, db: Session) -> None:
        """Who does not know the key that an instance reported first cannot speak for it."""
        process = Process(db)
        process.run(0)
        process.key = "f" * 32
        with refused("42501") as refusal:
            process.run(99)
        assert "another process" in refusal.message
        assert instance(db, process)["applied_revision"] == 0

    def test_report_as_another_role_is_refused(self, db: Session, connect: Connect, login: Callable[..., str]) -> None:
        """Even with the key: an instance belongs to the login that reported it first."""
        process = Process(connect(login("liverouter_client")))
        process.run(0)
        process.db = connect(login("liverouter_client"))
        with refused("42501"):
            process.run(99)
        process.db = db
        with refused("42501"):
            process.send(bye=True)

    def test_key_is_not_stored(self, db: Session) -> None:
        """The table holds a digest: reading it does not let anybody report for a process."""
        process = Process(db)
        process.run(0)
        assert process.key not in str(rows(db, "SELECT * FROM liverouter.processes"))
        assert value(db, "SELECT key_hash = sha256(%s::bytea) FROM liverouter.processes", process.key.encode()) is True


class TestMalformed:
    def test_document_of_the_wrong_shape_is_refused_and_says_what(self, db: Session) -> None:
        """A report that cannot be read is an error with a reason, not a half-written row."""
        good = {"instance": str(uuid.uuid4()), "key": "a" * 32}
        cases: list[tuple[object, str]] = [
            (None, "not a JSON object"),
            ([], "not a JSON object"),
            ("text", "not a JSON object"),
            ({}, "instance is not a UUID"),
            ({"instance": "x", "key": "a" * 32}, "instance is not a UUID"),
            ({"instance": good["instance"]}, "key is not"),
            ({"instance": good["instance"], "key": "short"}, "key is not"),
            (good | {"state": "excellent"}, "state is none of ours"),
            (good | {"mode": "guess"}, "mode is none of ours"),
            (good | {"problems": {}}, "problems is not a JSON array"),
            (good | {"problems": ["text"]}, "problems is not a JSON array"),
            (good | {"deployments": 5}, "deployments is not a JSON array"),
            (good | {"labels": []}, "labels is not a JSON object"),
            (good | {"last_error": "text"}, "last_error is not a JSON object"),
            (good | {"pid": "seven"}, "integer"),
            (good | {"applied_revision": 1e30}, "bigint"),
            (good | {"since": "yesterday noon"}, "timestamp"),
            (good | {"litellm_enable": "perhaps"}, "boolean"),
            (good | {"labels": {"x": "y" * 5000}}, "labels is longer"),
            (good | {"app": "x" * 1_100_000}, "larger than 1 MB"),
        ]
        for document, reason in cases:
            with refused("LR212") as refusal:
                db.execute(b"SELECT liverouter.report(%s)", [Jsonb(document)])
            assert reason in refusal.message
        assert rows(db, "SELECT * FROM liverouter.processes") == []

    def test_nonsense_inside_breaks_no_view(self, db: Session) -> None:
        """One process that reports rubbish in every member cannot blind the operator for all the others."""
        put(db, a=1)
        rubbish: list[object] = ["text", -1, 1e300, None, True, {}, [], "2026-99-99"]
        for thing in rubbish:
            members = dict.fromkeys(deployment("x", "y"), thing)
            Process(db).run(
                1,
                problems=[dict.fromkeys(("severity", "code", "where", "message", "hint"), thing)],
                last_error=dict.fromkeys(("code", "message", "hint", "revision", "where"), thing),
                listener=dict.fromkeys(("backend_pid", "reconnects", "last_probe_age_ms"), thing),
                deployments=[members],
                labels={"x": thing},
                versions={"python": thing},
            )
        for view in ("instances", "active_config", "problems", "rollout", "usage", "desired_config", "revisions"):
            rows(db, f"SELECT * FROM liverouter.{view}")
        assert value(db, "SELECT count(*) FROM liverouter.instances_detail") == len(rubbish)

    def test_long_text_and_long_lists_are_cut(self, db: Session) -> None:
        """What one process stores has a bound."""
        put(db, a=1)
        process = Process(db)
        process.run(
            1,
            app="a" * 5000,
            problems=[{"code": "LR1", "message": "m" * 2000}] * 100,
            deployments=[deployment("x", "m" * 2000)] * 150,
            last_error={"code": "LR1", "message": "m" * 2000},
        )
        (row,) = rows(
            db,
            "SELECT length(app) AS app, jsonb_array_length(problems) AS problems,"
            " jsonb_array_length(deployments) AS deployments, length(processes::text) AS size"
            " FROM liverouter.processes",
        )
        assert (row["app"], row["problems"]) == (100, 20)
        assert 50 < row["deployments"] < 150  # 80 kB
        assert row["size"] < 200_000


class TestApplies:
    def test_outcome_is_logged_with_the_time_since_the_commit(self, db: Session) -> None:
        """Commit to live in milliseconds, by one clock, and how long each stage took."""
        process = Process(db)
        process.run(0)
        put(db, a=1)
        process.applied(1)
        (row,) = rows(db, "SELECT * FROM liverouter.apply_log")
        assert (row["revision"], row["outcome"], row["stage"], row["read_ms"]) == (1, "applied", "live", 1.5)
        since = value(db, "SELECT clock_timestamp() - committed_at FROM liverouter.head")
        assert timedelta(0) <= timedelta(milliseconds=row["lag_ms"]) <= since

    def test_age_that_cannot_be_is_never_negative(self, db: Session) -> None:
        """An outcome older than its commit, or from the future, is put at the commit, or now."""
        process = Process(db)
        process.run(0)
        put(db, a=1)
        process.applied(1, age_ms=3_600_000)
        assert value(db, "SELECT lag_ms FROM liverouter.apply_log") == 0
        process.applied(1, age_ms=-3_600_000)
        assert value(db, "SELECT finished_at <= clock_timestamp() FROM liverouter.apply_log") is True

    def test_process_that_started_after_the_commit_counts_without_a_time(self, db: Session) -> None:
        """A process that starts today applies yesterday's revision: that was no slow rollout."""
        put(db, a=1)
        Process(db).applied(1)
        (row,) = rows(db, "SELECT revision, applied, p50_ms FROM liverouter.rollout WHERE revision = 1")
        assert row == {"revision": 1, "applied": 1, "p50_ms": None}

    def test_revision_applied_again_keeps_its_first_time(self, db: Session) -> None:
        """A key replaced days later, a standby promoted: it served all along, in rollout and in the lists."""
        process = Process(db)
        process.run(0)
        put(db, a=1)
        process.applied(1)
        applied_at = instance(db, process)["applied_at"]
        (first,) = rows(db, "SELECT lag_ms, p50_ms FROM liverouter.apply_log JOIN liverouter.rollout USING (revision)")
        assert first["lag_ms"] is not None
        again = {"revision": 1, "outcome": "applied", "stage": "live", "age_ms": 0, "timed": False}
        process.run(1, applies=[again])
        process.rejected(1, kept=1)
        process.run(1, applies=[again], epoch="promoted")
        (row,) = rows(db, "SELECT lag_ms, p50_ms FROM liverouter.apply_log JOIN liverouter.rollout USING (revision)")
        assert row == first
        assert instance(db, process)["applied_at"] == applied_at
        db.execute(b"DELETE FROM liverouter.apply_log")  # written after the standby's last look
        process.run(1, applies=[again])
        assert value(db, "SELECT lag_ms FROM liverouter.apply_log") is None

    def test_revision_applied_twice_while_nobody_heard_has_the_first_time(self, db: Session) -> None:
        """One report after an outage brings both: the time is that of the first."""
        now = stop_clock(db)
        process = Process(db)
        process.run(0)
        put(db, a=1)
        db.execute(b"UPDATE liverouter.revision_log SET committed_at = committed_at - interval '1 h'")
        db.execute(b"UPDATE liverouter.processes SET started_at = started_at - interval '2 h'")
        first = {"revision": 1, "outcome": "applied", "stage": "live", "age_ms": 3_599_000}
        process.run(1, applies=[first, first | {"age_ms": 0, "timed": False}])
        assert value(db, "SELECT lag_ms FROM liverouter.apply_log") == 1_000
        assert value(db, "SELECT applied_at FROM liverouter.instances_detail") == now - timedelta(seconds=3_599)

    def test_last_outcome_of_a_revision_counts(self, db: Session) -> None:
        """Rejected for a missing key, applied once the key is there: applied."""
        put(db, a=1)
        process = Process(db)
        process.rejected(1, kept=None)
        process.applied(1)
        assert value(db, "SELECT array_agg(outcome) FROM liverouter.apply_log") == ["applied"]

    def test_outcome_of_another_line_of_history_is_left_out(self, db: Session) -> None:
        """The number means another revision there, and one that never was is no revision at all."""
        put(db, a=1)
        outcome = {"revision": 1, "outcome": "applied", "age_ms": 0}
        Process(db).run(1, applies=[outcome | {"epoch": "elsewhere"}, outcome | {"revision": 77}])
        Process(db).run(1, epoch="elsewhere", applies=[outcome])
        assert rows(db, "SELECT * FROM liverouter.apply_log") == []


class TestUsage:
    def test_counts_of_one_minute_add_up(self, db: Session) -> None:
        """Each report brings what is new since the last; the row has the sums and the slowest call."""
        process = Process(db)
        minute = datetime.fromisoformat(str(value(db, "SELECT date_trunc('minute', now())")))
        text = minute.isoformat()
        process.run(0, usage=[usage(text, failures={"RateLimitError 429": 1, "Timeout": 1})])
        process.send(usage=[usage(text, failures={"RateLimitError 429": 2}, latency_ms_sum=300, latency_ms_max=300)])
        process.send(usage=[usage(text, role="fallback", failovers=1)])
        found = rows(db, "SELECT * FROM liverouter.usage_detail")
        assert [r["role"] for r in found] == ["primary", "fallback"]
        row = found[0]
        assert (row["minute"], row["app"], row["pid"]) == (minute, "billing", 7)
        assert (row["calls"], row["failures"]) == (2, {"RateLimitError 429": 3, "Timeout": 1})
        assert (row["prompt_tokens"], row["completion_tokens"], float(row["cost_usd"])) == (20, 10, 0.5)
        assert (float(row["latency_ms"]), float(row["latency_ms_max"])) == (200.0, 300.0)
        assert found[1]["failovers"] == 1

    def test_same_cell_twice_in_one_report_adds_up(self, db: Session) -> None:
        """A report that was put back together from two is taken."""
        Process(db).run(0, usage=[usage(AN_HOUR_AGO)] * 3)
        assert value(db, "SELECT calls FROM liverouter.usage_detail") == 3

    def test_minute_of_a_wrong_clock_is_brought_near(self, db: Session) -> None:
        """Counts of a process whose clock is days off stand in no far future and are not pruned unseen."""
        Process(db).run(0, usage=[usage("2099-01-01T00:00:00+00:00"), usage("1999-01-01T00:00:00+00:00")])
        found = rows(
            db, "SELECT minute, clock_timestamp() - minute AS age FROM liverouter.usage_detail ORDER BY 1 DESC"
        )
        assert [row["age"] < timedelta(minutes=2) for row in found] == [True, False]
        assert all(timedelta(0) <= row["age"] < timedelta(days=8) for row in found)

    def test_counts_that_cannot_be_are_taken_as_none(self, db: Session) -> None:
        """Negative counts take nothing away, failures that are no numbers are left out."""
        process = Process(db)
        minute = str(value(db, "SELECT date_trunc('minute', now())"))
        process.run(0, usage=[usage(minute, failures={"x": "many", "y": 1})])
        process.send(usage=[usage(minute, calls=-5, cost_usd=-1, failures=[1, 2])])
        (row,) = rows(db, "SELECT calls, cost_usd, failures FROM liverouter.usage_detail")
        assert (row["calls"], float(row["cost_usd"]), row["failures"]) == (1, 0.25, {"y": 1})


class TestCost:
    def test_report_never_notifies_and_makes_no_revision(self, db: Session, connect: Connect) -> None:
        """Heartbeats of a thousand processes wake nobody."""
        listener = connect()
        listener.execute(b"LISTEN liverouter")
        process = Process(db)
        process.applied(0, usage=[usage(AN_HOUR_AGO)])
        process.send(bye=True)
        assert list(listener.notifies(timeout=0)) == []
        assert value(db, "SELECT revision FROM liverouter.head") == 0

    def test_report_does_not_wait_for_the_disk_and_leaves_the_session_as_it_was(self, db: Session) -> None:
        """Its transaction commits asynchronously, the next one as configured."""
        db.execute(b"SET synchronous_commit = on")
        with db.transaction():
            Process(db).run(0)
            assert value(db, "SELECT current_setting('synchronous_commit')") == "off"
        assert value(db, "SELECT current_setting('synchronous_commit')") == "on"

    def test_heartbeats_update_in_place(self, db: Session) -> None:
        """No index but the key, room on the page: heartbeats do not swell the table."""
        if value(db, "SELECT to_regprocedure('pg_stat_force_next_flush()') IS NULL"):
            pytest.skip("PostgreSQL 14 counts late")
        process = Process(db)
        process.run(0)
        counts = "SELECT n_tup_hot_upd AS hot, n_tup_upd AS all FROM pg_stat_user_tables WHERE relname = 'processes'"
        db.execute(b"SELECT pg_stat_force_next_flush()")
        (before,) = rows(db, counts)
        for _ in range(50):
            process.send()
        db.execute(b"SELECT pg_stat_force_next_flush()")
        (after,) = rows(db, counts)
        assert after["all"] - before["all"] == 50
        assert after["hot"] - before["hot"] >= 40
        triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = ANY (%s::regclass[])"
        assert value(db, triggers, ["liverouter.processes"]) == 0


class TestPrune:
    def test_dead_processes_and_old_counts_go(self, db: Session) -> None:
        """A process dead for a day leaves; one that is live, or was yesterday, stays."""
        live, dead, recent = Process(db), Process(db), Process(db)
        for process in (live, dead, recent):
            process.run(0)
        dead.silent_for(90_000)
        recent.silent_for(3_600)
        assert value(db, "SELECT liverouter.prune()") == 1
        left = value(db, "SELECT array_agg(instance::text) FROM liverouter.processes")
        assert set(left) == {live.instance, recent.instance}

    def test_process_that_usage_names_stays_until_its_usage_goes(self, db: Session) -> None:
        """Last week's costs still say which service they were."""
        process = Process(db)
        process.run(0, usage=[usage(AN_HOUR_AGO)])
        process.send(bye=True)
        process.silent_for(90_000)
        assert value(db, "SELECT liverouter.prune()") == 0
        assert value(db, "SELECT app FROM liverouter.usage_detail") == "billing"
        db.execute(b"UPDATE liverouter.usage_minutes SET minute = minute - interval '60 days'")
        assert value(db, "SELECT liverouter.prune()") == 2
        assert rows(db, "SELECT * FROM liverouter.processes") == []

    def test_outcomes_of_late_revisions_stay(self, db: Session) -> None:
        """However old: the outcomes of the last hundred revisions answer "did this one arrive?"."""
        put(db, a=1)
        Process(db).applied(1)
        db.execute(b"UPDATE liverouter.apply_log SET finished_at = finished_at - interval '90 days'")
        assert value(db, "SELECT liverouter.prune()") == 0
        db.execute(b"UPDATE liverouter.head SET revision = 200")
        assert value(db, "SELECT liverouter.prune()") == 1

    def test_second_prune_at_the_same_time_leaves_it_to_the_first(self, db: Session, connect: Connect) -> None:
        """Housekeeping inside reports never makes one report wait for another."""
        Process(db).run(0)
        db.execute(b"UPDATE liverouter.processes SET heartbeat_at = heartbeat_at - interval '2 days'")
        first = connect(autocommit=False)
        assert value(first, "SELECT liverouter.prune()") == 1
        db.execute(b"SET lock_timeout = '30s'")
        assert value(db, "SELECT liverouter.prune()") == 0
        first.rollback()
