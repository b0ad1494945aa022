"""What operators read: pinned columns, comments everywhere, and the truth about a fleet."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from liverouter.config.environment import Environment
from liverouter.config.validate import validate
from liverouter.errors import CODES
from liverouter.providers import PROVIDERS
from liverouter.revision import Rows
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, deployment, put, put_secret, revision, rows, sealed, stop_clock, value

if TYPE_CHECKING:
    from collections.abc import Callable

    Session = psycopg.Connection[Any]
    Connect = Callable[..., Session]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database(stop_clock)  # nothing grows older on a busy machine

# The contract: columns are added at the end, never renamed, moved or removed.
COLUMNS = {
    "active_config": "app host pid revision role order provider model params fingerprint cooling_until name",
    "active_config_detail": "app host pid revision role order provider model params credential_source fingerprint"
    " cooling_until applied_at weight endpoint deployment_id instance name",
    "desired_config": "revision role order provider model params credential_source fingerprint name",
    "desired_config_detail": "revision role order provider model params credential_source fingerprint weight place"
    " name",
    "instances": "app host pid state applied_revision rejected_revision error_code error hint mode",
    "instances_detail": "app host pid state applied_revision rejected_revision error_code error hint mode mode_cause"
    " heartbeat_at since applied_at generation litellm_enable listener_pid reconnects probe_age_ms liverouter litellm"
    " python labels started_at epoch instance role",
    "problems": "severity code object message hint",
    "problems_detail": "severity code object message hint",
    "revisions": "revision committed_at author application kind changed comment role",
    "revisions_detail": "revision committed_at author application kind changed comment role",
    "rollout": "revision committed_at applied rejected pending p50_ms p99_ms slowest waiting_for name",
    "rollout_detail": "revision committed_at applied rejected pending p50_ms p99_ms slowest waiting_for"
    " slowest_instance name",
    "secret_keys": "key_id secrets in_history",
    "usage_daily": "day app name model calls failures failovers prompt_tokens completion_tokens cost_usd latency_ms",
    "usage_daily_detail": "day app host pid provider model role calls failures failovers prompt_tokens"
    " completion_tokens cost_usd latency_ms latency_ms_max deployment_id instance login name",
    "usage": "minute app name model calls failures failovers prompt_tokens completion_tokens cost_usd latency_ms",
    "usage_detail": "minute app host pid provider model role calls failures failovers prompt_tokens completion_tokens"
    " cost_usd latency_ms latency_ms_max deployment_id instance login name",
}
FALLBACK = {"provider": "anthropic", "model": "claude-sonnet-4-6"}


def problems(db: Session, *codes: str) -> list[dict[str, Any]]:
    """Return view problems, only the *codes* where some are given."""
    return [p for p in rows(db, "SELECT * FROM liverouter.problems") if not codes or p["code"] in codes]


def two_deployments() -> list[dict[str, Any]]:
    """Return what a process runs that follows `put_two`."""
    return [deployment("openai", "gpt-4o"), deployment("anthropic", "claude-sonnet-4-6", 2)]


def follow(db: Session, **environ: str) -> dict[str, Any]:
    """Return what a process with keys and *environ* in its environment reports of the rows that it applied."""
    settings = value(db, "SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM liverouter.settings")
    raw = Rows("e", 1, "c", datetime(2026, 11, 23, tzinfo=UTC), 0.0, settings, {})
    keys = {"OPENAI_API_KEY": "key-one", "ANTHROPIC_API_KEY": "key-two"}
    snapshot = validate(raw, environment=Environment(keys | environ), keyring=None).snapshot
    assert snapshot is not None
    return {
        "litellm_enable": snapshot.litellm_enable,
        "deployments": [deployment(d.provider, d.model, d.order, role=d.role) for d in snapshot.deployments],
    }


def put_two(db: Session) -> int:
    """Store a good config with one fallback and both keys; return its revision."""
    put_secret(db, "openai_api_key", "aaaaaaaa")
    put_secret(db, "anthropic_api_key", "bbbbbbbb")
    return put(db, llm_provider="openai", llm_model="gpt-4o", llm_fallback_config=FALLBACK, llm_temperature=0.2)


class TestContract:
    def test_column_names_are_pinned(self, db: Session) -> None:
        """Dashboards name these columns."""
        found = rows(
            db,
            "SELECT c.relname, string_agg(a.attname, ' ' ORDER BY a.attnum) AS columns FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
            " WHERE c.relnamespace = 'liverouter'::regnamespace AND c.relkind = 'v'"
            " GROUP BY c.relname",
        )
        assert {row["relname"]: row["columns"] for row in found} == COLUMNS

    def test_every_object_and_column_carries_a_comment(self, db: Session) -> None:
        """In psql everything explains itself: the schema, tables, views, columns, indexes, functions."""
        bare = rows(
            db,
            """
            WITH ours AS (SELECT unnest('{liverouter,liverouter_internal}'::regnamespace[]) AS schema)
            SELECT c.oid::regclass::text AS object FROM pg_class c
            WHERE c.relnamespace IN (SELECT schema FROM ours) AND c.relkind IN ('r', 'v', 'i', 'S')
              AND obj_description(c.oid, 'pg_class') IS NULL
              AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid)
            UNION ALL
            SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE c.relnamespace IN (SELECT schema FROM ours) AND c.relkind IN ('r', 'v') AND a.attnum > 0
              AND NOT a.attisdropped AND col_description(a.attrelid, a.attnum) IS NULL
            UNION ALL
            SELECT p.oid::regprocedure::text FROM pg_proc p
            WHERE p.pronamespace IN (SELECT schema FROM ours) AND obj_description(p.oid, 'pg_proc') IS NULL
            UNION ALL
            SELECT n.nspname FROM pg_namespace n
            WHERE n.oid IN (SELECT schema FROM ours) AND obj_description(n.oid, 'pg_namespace') IS NULL
            """,
        )
        assert [row["object"] for row in bare] == []

    def test_views_run_as_their_owner_and_those_that_leave_rows_out_behind_a_security_barrier(
        self, db: Session
    ) -> None:
        """A reader's own functions see no row that the view leaves out; of the others each comparison is an index's."""
        found = rows(
            db,
            "SELECT relname, reloptions FROM pg_class WHERE relkind = 'v'"
            " AND relnamespace = ANY ('{liverouter,liverouter_internal}'::regnamespace[])",
        )
        behind = {"active_config_detail", "desired_config_detail", "instances_detail", "problems_detail", "secret_keys"}
        behind |= {"fleet", "problems_by_login"}
        assert {row["relname"] for row in found if row["reloptions"] == ["security_barrier=true"]} == behind
        assert {row["relname"] for row in found if row["reloptions"] is None} == {
            *(set(COLUMNS) - behind),
            "rollout_outcomes",
        }

    def test_views_order_nothing(self, db: Session) -> None:
        """Who wants no order pays for none, and who wants another pays once."""
        query = (
            "SELECT relname, pg_get_viewdef(oid) AS is FROM pg_class"
            " WHERE relnamespace = 'liverouter'::regnamespace AND relkind = 'v'"
        )
        assert [row["relname"] for row in rows(db, query) if re.search(r"^ {2}ORDER BY", row["is"], re.MULTILINE)] == []

    def test_schema_holds_the_functions_that_people_call(self, db: Session) -> None:
        """And those that processes of the versions before call; what our own code calls stands elsewhere."""
        query = (
            "SELECT p.proname AS name, obj_description(p.oid) AS says"
            " FROM pg_proc p WHERE p.pronamespace = 'liverouter'::regnamespace"
        )
        found = {row["name"]: row["says"] for row in rows(db, query)}
        former = {"report"}
        assert {name for name, says in found.items() if says.startswith("Not for people: ")} == former
        assert found.keys() - former == {
            *("begin_edit", "epoch", "install_roles", "prune", "revision_diff", "rollback", "serves"),
            *("set_secret", "set_setting", "wait_applied"),
        }

    def test_every_function_pins_its_search_path(self, db: Session) -> None:
        """No schema that a caller can write to decides what our functions call."""
        loose = rows(
            db,
            "SELECT p.oid::regprocedure::text AS f FROM pg_proc p"
            " WHERE p.pronamespace = ANY ('{liverouter,liverouter_internal}'::regnamespace[])"
            " AND p.prosqlbody IS NULL"  # which is bound to what it calls as it is made
            " AND NOT coalesce(p.proconfig, '{}') @> '{\"search_path=pg_catalog, pg_temp\"}'",
        )
        assert loose == []

    def test_no_view_and_no_diff_shows_a_sealed_value(self, db: Session) -> None:
        """Every view, read whole, holds neither envelope nor ciphertext."""
        envelopes = []
        for name in ("openai_api_key", "anthropic_api_key"):
            put_two(db)
            envelopes.append(value(db, "SELECT sealed FROM liverouter.secrets WHERE name = %s", name))
        process = Process(db)
        process.applied(revision(db), deployments=two_deployments())
        shown = str([rows(db, f"SELECT * FROM liverouter.{view}") for view in COLUMNS])
        shown += str(rows(db, "SELECT * FROM liverouter.revision_diff(0, %s)", revision(db)))
        assert "aaaaaaaa" in shown
        for envelope in envelopes:
            assert envelope not in shown
            assert envelope.split(":")[3] not in shown

    def test_codes_of_problems_are_known(self) -> None:
        """Each code that SQL can give is in the list that documents them."""
        scripts = (Path(__file__).parents[2] / "migrations" / "sql").rglob("*.sql")
        named = {code for script in scripts for code in re.findall(r"'(LR\d{3})'", script.read_text())}
        assert named
        assert named <= set(CODES)

    def test_providers_in_sql_are_those_of_the_code(self, db: Session) -> None:
        """A sixth provider is known to the views as well, with the name of its secret."""
        for provider in PROVIDERS.values():
            put(db, llm_provider=provider.name, llm_model="m")
            assert problems(db, "LR101") == []
            source = value(db, "SELECT credential_source FROM liverouter.desired_config_detail")
            name = next(iter(provider.secret_names), None)  # one by litellm refers to its secrets, each by any name
            assert source == (name and f"environment {name.upper()}")


class TestActiveConfig:
    def test_active_config_has_one_row_per_instance_and_deployment(self, db: Session) -> None:
        """What runs: process by process, in the order in which deployments serve."""
        head = put_two(db)
        for pid in (8, 7):
            Process(db, pid=pid).applied(head, deployments=two_deployments())
        found = rows(
            db,
            'SELECT app, host, pid, revision, role, "order", provider, model FROM liverouter.active_config_detail'
            ' ORDER BY app, host, pid, "order"',
        )
        first = {"app": "billing", "host": "host-1", "revision": head}
        places = [("primary", 1, "openai", "gpt-4o"), ("fallback", 2, "anthropic", "claude-sonnet-4-6")]
        assert found == [
            first | {"pid": pid, "role": role, "order": order, "provider": provider, "model": model}
            for pid in (7, 8)
            for role, order, provider, model in places
        ]

    def test_process_without_litellm_runs_its_fallbacks_as_well(self, db: Session) -> None:
        """litellm_enable = false says how calls are made, and not which deployments serve them."""
        head = put(db, llm_provider="openai", llm_model="gpt-4o", llm_fallback_config=FALLBACK, litellm_enable=False)
        Process(db).applied(head, litellm_enable=False, deployments=two_deployments())
        assert value(db, 'SELECT array_agg(role ORDER BY "order") FROM liverouter.active_config_detail') == [
            "primary",
            "fallback",
        ]
        assert value(db, 'SELECT array_agg(role ORDER BY "order") FROM liverouter.desired_config_detail') == [
            "primary",
            "fallback",
        ]
        assert problems(db, "LR408") == []

    def test_dead_process_runs_nothing(self, db: Session) -> None:
        """A process that was silent for 35 seconds is offline, and what it ran is not what runs."""
        head = put_two(db)
        process = Process(db)
        process.applied(head, deployments=two_deployments())
        process.silent_for(34)
        assert value(db, "SELECT count(*) FROM liverouter.active_config_detail") == 2
        process.silent_for(36)
        assert value(db, "SELECT count(*) FROM liverouter.active_config_detail") == 0
        assert value(db, "SELECT state FROM liverouter.instances_detail") == "offline"
        process.silent_for(90_000)
        assert rows(db, "SELECT * FROM liverouter.instances_detail") == []


class TestDesiredConfig:
    def test_desired_config_lists_primary_and_fallbacks(self, db: Session) -> None:
        """What should run, from rows alone: parameters inherited or their own, credentials by name and fingerprint."""
        put_secret(db, "openai_api_key", "aaaaaaaa")
        put_secret(db, "second_key", "cccccccc")
        head = put(
            db,
            llm_provider="openai",
            llm_model="gpt-4o",
            llm_temperature=0.2,
            llm_max_tokens=100,
            llm_fallback_config=[
                {"provider": "openai", "model": "gpt-4o-mini", "api_key": {"secret": "second_key"}, "temperature": 0.5},
                {"provider": "anthropic", "model": "claude-sonnet-4-6", "order": 7, "weight": 3, "max_tokens": None},
                {"provider": "vertex-ai", "model": "gemini-2.5-pro", "api_key": {"secret": "absent"}},
            ],
        )
        common = {"temperature": 0.2, "max_tokens": 100}
        openai, where = {"temperature": 0.5, "max_tokens": 100}, "settings.llm_fallback_config"
        claude = "claude-sonnet-4-6"
        expected = [
            (1, "openai", "gpt-4o", common, "secret openai_api_key", "aaaaaaaa", 1, "settings"),
            (2, "openai", "gpt-4o-mini", openai, "secret second_key", "cccccccc", 1, f"{where}[0]"),
            (4, "vertex-ai", "gemini-2.5-pro", common, "environment LIVEROUTER_SECRET_ABSENT", None, 1, f"{where}[2]"),
            (7, "anthropic", claude, common, "environment ANTHROPIC_API_KEY", None, 3, f"{where}[1]"),
        ]
        found = [
            tuple(row.values()) for row in rows(db, 'SELECT * FROM liverouter.desired_config_detail ORDER BY "order"')
        ]
        assert [row[:2] for row in found] == [(head, role) for role in ("primary", "fallback", "fallback", "fallback")]
        assert [row[2:] for row in found] == [(*row, "default") for row in expected]

    def test_azure_takes_whichever_credential_is_stored(self, db: Session) -> None:
        """A key before a token; a token where there is no key."""
        put(db, llm_provider="azure-openai", llm_model="gpt")
        source = "SELECT credential_source FROM liverouter.desired_config_detail"
        assert value(db, source) == "environment AZURE_OPENAI_API_KEY"
        put_secret(db, "azure_openai_ad_token")
        assert value(db, source) == "secret azure_openai_ad_token"
        put_secret(db, "azure_openai_api_key")
        assert value(db, source) == "secret azure_openai_api_key"

    def test_rows_of_any_type_break_no_view(self, db: Session) -> None:
        """Whatever JSON stands in whatever row, the views that explain it still answer."""
        for thing in (
            None,
            True,
            5,
            1e300,
            "text",
            [],
            {},
            [1, [2]],
            {"provider": 5},
            [{"order": "x", "weight": 1e99}],
        ):
            for key in ("llm_provider", "llm_model", "llm_fallback_config", "llm_temperature", "litellm_enable"):
                put(db, **{key: thing})
                rows(db, "SELECT * FROM liverouter.desired_config_detail")
                rows(db, "SELECT * FROM liverouter.problems")


class TestRollout:
    def test_rollout_counts_who_applied_rejected_and_is_pending(self, db: Session) -> None:
        """Per revision: outcomes, live processes still to come, and how long it took, newest first."""
        processes = [Process(db, pid=pid) for pid in range(1, 6)]
        for process in processes:
            process.run(0)
        put(db, a=1)
        for table in ("revision_log SET committed_at = committed_at", "processes SET started_at = started_at"):
            db.execute(f"UPDATE liverouter.{table} - interval '4 s'".encode())
        for process, age in zip(processes[:3], (3_000, 2_000, 1_000), strict=True):
            process.applied(1, age_ms=age)
        processes[3].rejected(1, kept=0)
        found = rows(db, "SELECT revision, applied, rejected, pending, slowest FROM liverouter.rollout ORDER BY 1 DESC")
        assert [{k: v for k, v in row.items() if k != "slowest"} for row in found] == [
            {"revision": 1, "applied": 3, "rejected": 1, "pending": 1},
            {"revision": 0, "applied": 0, "rejected": 0, "pending": 0},
        ]
        assert found[0]["slowest"] == "billing on host-1, pid 3"
        assert (
            value(db, "SELECT waiting_for FROM liverouter.rollout ORDER BY revision DESC LIMIT 1")
            == "billing on host-1, pid 5"
        )

    def test_rollout_times_are_percentiles_of_commit_to_applied(self, db: Session) -> None:
        """p50 and p99 in milliseconds over the processes that were there at the commit."""
        processes = [Process(db) for _ in range(4)]
        for process in processes:
            process.run(0)
        put(db, a=1)
        db.execute(
            b"UPDATE liverouter.revision_log SET committed_at = committed_at - interval '10 s' WHERE revision = 1"
        )
        db.execute(b"UPDATE liverouter.processes SET started_at = started_at - interval '1 min'")
        for process, age in zip(processes, (9_900, 9_800, 9_700, 1_000), strict=True):
            process.applied(1, age_ms=age)
        (row,) = rows(db, "SELECT p50_ms, p99_ms FROM liverouter.rollout WHERE revision = 1")
        assert 250 <= row["p50_ms"] < 1_000
        assert 8_500 <= row["p99_ms"] < 10_500

    def test_process_that_skipped_a_revision_does_not_wait_for_it(self, db: Session) -> None:
        """Many edits in a row are followed by one reload: the ones between are neither applied nor pending."""
        process = Process(db)
        process.run(0)
        for number in range(3):
            put(db, a=number)
        process.applied(3)
        refuser = Process(db)
        refuser.rejected(3, kept=0)
        found = rows(db, "SELECT applied, pending FROM liverouter.rollout WHERE revision IN (1, 2)")
        assert found == [{"applied": 0, "pending": 0}] * 2

    def test_another_line_of_history_has_outcomes_of_its_own(self, db: Session) -> None:
        """After a restore: who refuses the head while serving the old line has answered, who refused there has not."""
        put(db, a=1)
        Process(db, pid=1).rejected(1, kept=9, epoch="elsewhere")
        Process(db, pid=2).rejected(1, kept=0, rejected_epoch="elsewhere")
        (row,) = rows(db, "SELECT rejected, pending, waiting_for FROM liverouter.rollout WHERE revision = 1")
        assert row == {"rejected": 1, "pending": 1, "waiting_for": "billing on host-1, pid 2"}


class TestProblems:
    def test_empty_config_says_what_to_set(self, db: Session) -> None:
        """The first thing after installing: both rows that are missing, with the command for each."""
        assert [(p["severity"], p["code"], p["object"]) for p in problems(db)] == [
            ("error", "LR100", "settings.llm_model"),
            ("error", "LR100", "settings.llm_provider"),
        ]
        assert "liverouter set llm_provider=anthropic" in problems(db)[1]["hint"]

    def test_good_config_without_processes_has_no_problem(self, db: Session) -> None:
        """Nothing to say is an empty view."""
        put_two(db)
        assert problems(db) == []

    def test_wrong_rows_are_named_with_their_place(self, db: Session) -> None:
        """An unknown provider, a fallback without a model, a wrong type, a key that is not stored."""
        put(db, llm_provider="opnai", llm_model=5, llm_fallback_config=[{"provider": "openai"}, {"provider": "gpt"}])
        assert {(p["code"], p["object"]) for p in problems(db)} == {
            ("LR101", "settings.llm_provider"),
            ("LR103", "settings.llm_model"),
            ("LR100", "settings.llm_fallback_config[0].model"),
            ("LR100", "settings.llm_fallback_config[1].model"),
            ("LR101", "settings.llm_fallback_config[1].provider"),
            ("LR102", "secrets.openai_api_key"),
        }

    @pytest.mark.parametrize(
        ("name", "variable"),
        [
            ("team", "LIVEROUTER_SECRET_TEAM"),
            ("team.key-2", "LIVEROUTER_SECRET_TEAM_KEY_2"),
            ("keys", ""),
            ("K_file", ""),
        ],
    )
    @pytest.mark.parametrize("listed", [True, False])
    def test_secret_of_any_name_is_told_by_its_name_and_its_variable(
        self, db: Session, name: str, variable: str, *, listed: bool
    ) -> None:
        """A reference reads LIVEROUTER_SECRET_<NAME> alone, and never the keyring nor what holds a path."""
        put_two(db)
        entry = {"provider": "openai", "model": "m", "api_key": {"secret": name}}
        put(db, llm_fallback_config=[{**entry, "api_key": {"secret": "openai_api_key"}}, entry] if listed else entry)
        [found] = problems(db)
        assert (found["code"], found["object"]) == ("LR102", f"secrets.{name}")
        offered = f"; or set the environment variable {variable} of each process" if variable else ""
        assert found["hint"] == f"Store it: liverouter set --secret {name}{offered}"

    def test_environment_that_fills_in_silences_what_rows_lack(self, db: Session) -> None:
        """Where a process runs the head, its environment has what the rows lack: no false alarm."""
        put(db, litellm_num_retries=1)
        assert len(problems(db)) == 2
        Process(db).applied(1, deployments=two_deployments())
        assert problems(db) == []

    def test_problem_of_an_instance_is_shown_with_its_name(self, db: Session) -> None:
        """Each live process's own list: one row per Problem, with code, place and hint."""
        head = put_two(db)
        listed = {
            "severity": "warning",
            "code": "LR106",
            "where": "settings.llm_foo",
            "message": "not known",
            "hint": "Mend",
        }
        Process(db).applied(head, deployments=two_deployments(), problems=[listed])
        assert problems(db) == [
            {
                "severity": "warning",
                "code": "LR106",
                "object": "billing on host-1, pid 7, settings.llm_foo",
                "message": "not known",
                "hint": "Mend",
            }
        ]

    def test_rejected_revision_says_what_serves_instead(self, db: Session) -> None:
        """The instance that refused, what it goes on with, and how to mend it."""
        head = put_two(db)
        Process(db).rejected(head, kept=head - 1)
        (problem,) = problems(db, "LR403")
        assert problem["message"] == f"it rejected revision {head} and goes on with {head - 1}"
        assert (problem["severity"], problem["hint"]) == ("error", "Store it")

    def test_rejection_of_another_line_of_history_is_told_of_that_alone(self, db: Session) -> None:
        """What was refused before a restore is no refusal of the same number after it; the other way round it is."""
        head = put_two(db)
        Process(db).rejected(head, kept=head - 1, rejected_epoch="elsewhere", problems=[])
        assert problems(db) == []
        Process(db).rejected(head, kept=9, epoch="elsewhere")
        (problem,) = problems(db, "LR403")
        of = "of an earlier history (a backup was restored, or a standby promoted)"
        assert problem["message"] == f"it rejected revision {head} and goes on with 9 {of}"

    def test_revision_pending_for_more_than_seconds_is_a_problem(self, db: Session) -> None:
        """Who has neither applied nor rejected the head after five seconds is named; before that it is no problem."""
        head = put_two(db)
        Process(db).run(head - 1, deployments=two_deployments())
        assert problems(db, "LR404") == []
        for table in ("head SET committed_at = committed_at", "processes SET started_at = started_at"):
            db.execute(f"UPDATE liverouter.{table} - interval '9 s'".encode())
        (problem,) = problems(db, "LR404")
        assert f"revision {head} is pending" in problem["message"]
        assert f"runs {head - 1}" in problem["message"]

    def test_process_on_another_line_of_history_is_pending_whatever_its_number(self, db: Session) -> None:
        """After a restore, neither revision 9 nor revision 1 of the old line is the head 1 of the new one."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        Process(db, pid=1).run(1, epoch="elsewhere")
        Process(db, pid=9).run(9, epoch="elsewhere")
        for table in ("head SET committed_at = committed_at", "processes SET started_at = started_at"):
            db.execute(f"UPDATE liverouter.{table} - interval '9 s'".encode())
        found = problems(db, "LR404")
        assert [problem["object"][-5:] for problem in found] == ["pid 1", "pid 9"]
        assert all("of an earlier history" in problem["message"] for problem in found)

    def test_deaf_listener_is_named_with_its_cause(self, db: Session) -> None:
        """Polling because of a pooler: what to give it instead."""
        head = put_two(db)
        Process(db).applied(
            head, deployments=two_deployments(), state="poll_only", mode="poll_only", mode_cause="pooler"
        )
        (problem,) = problems(db)
        assert (problem["code"], problem["severity"]) == ("LR210", "warning")
        assert "pooler" in problem["message"]
        assert "LIVEROUTER_LISTEN_URL" in problem["hint"]

    def test_process_that_died_without_goodbye_is_named_for_minutes(self, db: Session) -> None:
        """Dead is told from idle by the database's clock. A pod that was killed is soon no news any more."""
        head = put_two(db)
        process = Process(db)
        process.applied(head, deployments=two_deployments())
        process.silent_for(100)
        (problem,) = problems(db)
        assert problem["code"] == "LR407"
        assert "no report for 100 s" in problem["message"]
        process.silent_for(301)
        assert problems(db) == []

    def test_process_that_hangs_is_named_for_an_hour(self, db: Session, dsn: str) -> None:
        """It reports no more, and yet its listening connection stands: killed it would be gone."""
        head = put_two(db)
        process = Process(db)
        with psycopg.connect(dsn, application_name="liverouter-listen/billing") as listening:
            listener = {"backend_pid": listening.info.backend_pid, "reconnects": 0}
            process.applied(head, deployments=two_deployments(), listener=listener)
            process.silent_for(3_500)
            (problem,) = problems(db, "LR407")
            assert "it hangs" in problem["message"]
            process.silent_for(3_700)
            assert problems(db) == []

    def test_process_that_starts_is_not_pending(self, db: Session) -> None:
        """For two minutes, unless it says what is wrong: no Problem, and no row of `rollout` waits for it."""
        head = put_two(db)
        starting = Process(db, pid=2)
        starting.run(None)
        for table in ("head SET committed_at = committed_at", "processes SET started_at = started_at"):
            db.execute(f"UPDATE liverouter.{table} - interval '90 s'".encode())
        pending = f"SELECT pending FROM liverouter.rollout WHERE revision = {head}"
        assert (problems(db, "LR404"), value(db, pending)) == ([], 0)
        assert value(db, f"SELECT liverouter.wait_applied({head}, 0)") is True
        starting.run(None, last_error={"code": "LR201", "message": "no way", "hint": ""})
        assert (len(problems(db, "LR404")), value(db, pending)) == (1, 1)
        starting.run(None)
        db.execute(b"UPDATE liverouter.processes SET started_at = started_at - interval '60 s'")
        assert (len(problems(db, "LR404")), value(db, pending)) == (1, 1)

    def test_drift_between_rows_and_process_is_named(self, db: Session) -> None:
        """A process that says it applied the head and runs something else, or with another key, is a problem."""
        head = put_two(db)
        process = Process(db)
        process.applied(head, deployments=[deployment("openai", "gpt-4o")])
        (problem,) = problems(db, "LR408")
        assert "it runs primary openai/gpt-4o, rows say primary openai/gpt-4o, fallback anthropic" in problem["message"]
        keyed = deployment("openai", "gpt-4o", credential_source="secret openai_api_key")
        fallback = deployment("anthropic", "claude-sonnet-4-6", 2)
        wrong = keyed | {"credential_fingerprint": "99999999"}
        process.applied(head, deployments=[wrong, fallback])
        (problem,) = problems(db, "LR408")
        assert "another credential" in problem["message"]
        right = keyed | {"credential_fingerprint": "aaaaaaaa"}
        process.applied(head, deployments=[right, fallback])
        assert problems(db) == []

    @pytest.mark.parametrize(
        ("settings", "environ"),
        [
            pytest.param({"llm_fallback_config": FALLBACK | {"order": 1}}, {}, id="fallback of order 1"),
            pytest.param({"llm_fallback_config": FALLBACK}, {"LITELLM_ENABLE": "false"}, id="litellm off outside"),
            pytest.param(
                {"llm_fallback_config": [FALLBACK | {"order": 1}]}, {"LITELLM_ENABLE": "false"}, id="both of these"
            ),
            pytest.param(
                {},
                {"LLM_FALLBACK_CONFIG": '{"provider": "anthropic", "model": "claude-haiku-4-5"}'},
                id="fallback outside",
            ),
            pytest.param({"llm_model": " gpt-4o\u3000", "llm_provider": "openai\xa0\n"}, {}, id="blanks around"),
            pytest.param(
                {"llm_fallback_config": [{"provider": "anthropic ", "model": "\tclaude-sonnet-4-6"}]},
                {},
                id="blanks around the fallback's",
            ),
            pytest.param({"llm_fallback_config": None}, {"LLM_FALLBACK_CONFIG": '{"provider": "x"}'}, id="null wins"),
        ],
    )
    def test_process_that_follows_rows_and_its_environment_has_not_drifted(
        self, db: Session, settings: dict[str, Any], environ: dict[str, str]
    ) -> None:
        """What rows leave to the environment is no drift, nor is what both sides only write differently."""
        head = put(db, **({"llm_provider": "openai", "llm_model": "gpt-4o"} | settings))
        Process(db).applied(head, **follow(db, **environ))
        assert problems(db) == []

    @pytest.mark.parametrize(
        ("settings", "environ"),
        [
            ({"llm_fallback_config": FALLBACK | {"order": 1}}, {}),
            ({"llm_fallback_config": FALLBACK}, {"LITELLM_ENABLE": "false"}),
            ({}, {"LLM_FALLBACK_CONFIG": '{"provider": "anthropic", "model": "claude-haiku-4-5"}'}),
        ],
    )
    def test_process_that_runs_another_primary_has_drifted_whatever_its_environment(
        self, db: Session, settings: dict[str, Any], environ: dict[str, str]
    ) -> None:
        """The primary stands in rows: what the environment says of fallbacks excuses no other one."""
        head = put(db, llm_provider="openai", llm_model="gpt-4o", **settings)
        runs = follow(db, **environ)
        runs["deployments"][0]["model"] = "gpt-3"
        Process(db).applied(head, **runs)
        (problem,) = problems(db)
        assert problem["code"] == "LR408"
        assert problem["message"].startswith("it runs primary ")
        assert "primary openai/gpt-3" in problem["message"]

    @pytest.mark.parametrize("enabled", [True, False])
    def test_process_that_leaves_a_fallback_out_has_drifted(self, db: Session, *, enabled: bool) -> None:
        """Without litellm a fallback may lack its package: fewer serve than rows say."""
        head = put(db, llm_provider="openai", llm_model="gpt-4o", llm_fallback_config=FALLBACK, litellm_enable=enabled)
        Process(db).applied(head, litellm_enable=False, deployments=two_deployments()[:1])
        (problem,) = problems(db, "LR408")
        assert problem["message"].startswith("it runs primary openai/gpt-4o, rows say primary openai/gpt-4o, fallback")

    def test_stored_key_of_a_fallback_that_no_row_names_is_no_drift(self, db: Session) -> None:
        """The environment may name a stored secret; only another value of it is drift."""
        put_secret(db, "anthropic_api_key", "bbbbbbbb")
        head = put(db, llm_provider="openai", llm_model="gpt-4o")
        process = Process(db)
        for fingerprint, codes in (("bbbbbbbb", []), ("99999999", ["LR408"])):
            keyed = {"credential_source": "secret anthropic_api_key", "credential_fingerprint": fingerprint}
            fallback = deployment("anthropic", "claude-sonnet-4-6", 2, **keyed)
            process.applied(head, deployments=[deployment("openai", "gpt-4o"), fallback])
            assert [p["code"] for p in problems(db)] == codes

    def test_three_instances_tell_their_three_stories(self, db: Session) -> None:
        """One runs the head, one lacks a key, one is frozen: one query says all of it."""
        old = put_two(db)
        good, keyless, frozen = (Process(db, host=f"host-{n}") for n in (1, 2, 3))
        for process in (good, keyless, frozen):
            process.applied(old, deployments=two_deployments())
        head = put(db, llm_model="gpt-5")
        new = [deployment("openai", "gpt-5"), deployment("anthropic", "claude-sonnet-4-6", 2)]
        good.applied(head, deployments=new)
        keyless.rejected(head, kept=old, deployments=two_deployments())
        frozen.silent_for(60)
        assert [(p["code"], p["object"][:20]) for p in problems(db)] == [
            ("LR102", "billing on host-2, p"),
            ("LR403", "billing on host-2, p"),
            ("LR407", "billing on host-3, p"),
        ]


class TestSecretKeys:
    def test_secret_keys_count_what_each_key_sealed(self, db: Session) -> None:
        """A key that is not listed has sealed nothing any more, history included."""
        put_secret(db, "a", envelope=sealed("11111111"))
        put_secret(db, "b", envelope=sealed("11111111"))
        put_secret(db, "a", envelope=sealed("22222222"))
        assert rows(db, "SELECT * FROM liverouter.secret_keys ORDER BY key_id") == [
            {"key_id": "11111111", "secrets": 1, "in_history": 4},
            {"key_id": "22222222", "secrets": 1, "in_history": 1},
        ]
