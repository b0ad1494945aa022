"""What questions cost after years, on any server: by their plans, so that a busy machine changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from liverouter.postgres import statements
from tests.kit.leaks import LEDGER
from tests.kit.postgres.age import fill
from tests.kit.sql import put, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Session = psycopg.Connection[Any]

# The embedded server has no JIT, and no auto_explain, which tells the plans inside of functions.
pytestmark = pytest.mark.servers("debian")

REVISIONS: Final = 2_000
INSTANCES: Final = 10
MINUTES: Final = 1_500
GROWING: Final = r"Seq Scan on (revision_log|apply_log|usage_minutes)\b"

# Each is answered without reading the history, the applications or the usage through.
QUESTIONS: Final = (
    "SELECT * FROM liverouter.active_config",
    "SELECT * FROM liverouter.desired_config",
    "SELECT * FROM liverouter.instances",
    "SELECT * FROM liverouter.problems",
    "SELECT * FROM liverouter.rollout WHERE revision = 7",
    "SELECT * FROM liverouter.revisions ORDER BY revision DESC LIMIT 20",
    "SELECT * FROM liverouter.revisions WHERE revision = 7",
    "SELECT * FROM liverouter.revision_diff(7, 8)",
    "SELECT * FROM liverouter.usage WHERE minute >= current_date",
    "SELECT * FROM liverouter.usage WHERE minute >= now() - interval '1 day'",
    "SELECT * FROM liverouter.usage WHERE minute >= current_date - 1 AND minute < current_date",
    "SELECT * FROM liverouter.usage ORDER BY minute DESC LIMIT 20",
    "SELECT * FROM liverouter.usage_daily",
    f"SELECT liverouter.wait_applied({REVISIONS}, 1)",
    "SELECT liverouter.prune()",
)
# What asks for a whole history or for all usage reads that once.
WHOLE: Final = {
    "SELECT * FROM liverouter.rollout": r"Seq Scan on (apply_log|usage_minutes)\b",
    "SELECT * FROM liverouter.revisions": r"Seq Scan on (apply_log|usage_minutes)\b",
    "SELECT * FROM liverouter.secret_keys": r"Seq Scan on (apply_log|usage_minutes)\b",
    "SELECT sum(cost_usd) FROM liverouter.usage": r"Seq Scan on (apply_log|revision_log)\b",
}


@pytest.fixture(scope="module")
def aged(new_database: Callable[[str], Any]) -> Iterator[str]:
    """The URL of a database with years of history, for every test of this module."""
    with new_database("aged") as url:
        with psycopg.connect(url, autocommit=True) as db:
            fill(db, revisions=REVISIONS, instances=INSTANCES, minutes=MINUTES)
        yield url
        LEDGER.tell_database(url)


@pytest.fixture
def plans(aged: str) -> Iterator[Callable[[str], str]]:
    """A function that runs a statement and returns its plan and those of all that it calls; nothing is kept."""
    told: list[str] = []
    with psycopg.connect(aged) as db:
        db.add_notice_handler(lambda diag: told.append(diag.message_primary or ""))
        for setting in ("log_min_duration = 0", "log_analyze = on", "log_nested_statements = on"):
            db.execute(b"LOAD 'auto_explain'")
            db.execute(f"SET auto_explain.{setting}".encode())
        db.execute(b"SET client_min_messages = log")

        def run(statement: str) -> str:
            told.clear()
            db.execute(statement.encode())
            return "\n".join(told)

        yield run
        db.rollback()


class TestPlans:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_question_reads_no_growing_table_through(self, plans: Callable[[str], str], question: str) -> None:
        """However long the history: by an index, or not at all. And nothing is compiled for it."""
        plan = plans(question)
        assert "Query Text" in plan
        assert re.findall(GROWING, plan) == []
        assert "JIT:" not in plan

    def test_problems_of_failing_providers_read_the_newest_usage_alone(self, plans: Callable[[str], str]) -> None:
        """The share of the calls that a fallback answers, and whether one was ever needed."""
        plans("""
            UPDATE liverouter.processes SET heartbeat_at = clock_timestamp(),
                deployments = deployments || jsonb_build_array(deployments -> 0
                    || '{"order": 2, "deployment_id": "x/y#1", "role": "fallback"}');
            UPDATE liverouter.processes SET started_at = '2020-01-01', deployments = jsonb_set(
                deployments, '{0}', deployments -> 0
                || jsonb_build_object('failed_at', extract(epoch FROM clock_timestamp()), 'cause', 'Timeout 408'))
        """)
        plan = plans("SELECT * FROM liverouter.problems WHERE code IN ('LR321', 'LR324')")
        assert re.findall(GROWING, plan) == []
        assert "Index Scan using usage_minutes_minute" in plan or "Index Scan on usage_minutes_minute" in plan
        assert "usage_days" in plan

    @pytest.mark.parametrize("question", WHOLE)
    def test_whole_view_reads_only_what_it_shows(self, plans: Callable[[str], str], question: str) -> None:
        """Ten thousand revisions are listed without a look at what each process reported of them."""
        plan = plans(question)
        assert "Query Text" in plan
        assert re.findall(WHOLE[question], plan) == []
        assert "JIT:" not in plan

    def test_clients_own_rollout_reads_its_newest_revisions_alone(self, plans: Callable[[str], str]) -> None:
        """What `liverouter rollout` and the page ask for."""
        plan = plans(statements.ROLLOUT.replace("$1", "20"))
        assert re.findall(GROWING, plan) == []
        assert not re.search(r"revision_log .*rows=\d{3,} loops", plan)

    def test_write_reads_no_history(self, plans: Callable[[str], str]) -> None:
        """A setting is changed as quickly in ten years; so is the way back."""
        for statement in (
            "INSERT INTO liverouter.settings (key, value) VALUES ('llm_model', '\"m\"')",
            "SELECT liverouter.rollback(7)",
            "SET CONSTRAINTS ALL IMMEDIATE",
        ):
            assert re.findall(GROWING, plans(statement)) == []

    def test_pruning_with_nothing_due_reads_nothing(self, aged: str) -> None:
        """It runs inside of reports, whose process waits."""
        read = """
            SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) AS read FROM pg_stat_xact_user_tables
            WHERE relname IN ('usage_minutes', 'apply_log', 'revision_log')
        """
        with psycopg.connect(aged) as db:
            assert value(db, "SELECT liverouter.prune()") == 0
            found = {row["relname"]: row["read"] for row in rows(db, read)}
        assert max(found.values()) <= 2  # an end of an index, at which the planner looks as well


class TestEmpty:
    def test_problems_of_an_empty_database_are_not_compiled(self, db: Session) -> None:
        """The first query that operators are told to run: without statistics a planner believes in 900 000 rows."""
        told: list[str] = []
        db.add_notice_handler(lambda diag: told.append(diag.message_primary or ""))
        db.execute(b"LOAD 'auto_explain'")
        for setting in ("log_min_duration = 0", "log_analyze = on", "log_nested_statements = on"):
            db.execute(f"SET auto_explain.{setting}".encode())
        db.execute(b"SET client_min_messages = log")
        for view in ("problems", "rollout", "instances", "active_config", "desired_config", "revisions", "usage"):
            assert rows(db, f"SELECT * FROM liverouter.{view}") is not None
        assert any("all_problems" in text for text in told)
        assert not any("JIT:" in text for text in told)
        assert put(db, llm_model="m") == 1
