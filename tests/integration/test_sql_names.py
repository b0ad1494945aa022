"""Named models in SQL: what should run and what runs under each name, who asked by it, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from liverouter.postgres import migrate
from liverouter.postgres.versions import REVISIONS
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import AN_HOUR_AGO, Process, deployment, put, put_secret, refused, revision, rows, value

if TYPE_CHECKING:
    Session = psycopg.Connection[Any]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()

FORMER = REVISIONS[REVISIONS.index("0010_names") - 1]
DEFAULT = {"llm_provider": "openai", "llm_model": "gpt-4o"}
FAST = {
    "provider": "openai",
    "model": "gpt-4o-mini",
    "temperature": 0.1,
    "params": {"top_p": 0.9},
    "fallbacks": [{"provider": "anthropic", "model": "claude-haiku-4-5", "max_tokens": 100}],
}
CALLS = {
    "minute": AN_HOUR_AGO,
    "deployment_id": "openai/gpt-4o#1a2b3c4d",
    "role": "primary",
    "provider": "openai",
    "model": "gpt-4o",
    "calls": 2,
    "failures": {"RateLimitError 429": 1},
}


def put_named(db: Session, **more: object) -> int:
    """Store a default, a model called fast, and their keys; return the revision."""
    put_secret(db, "openai_api_key", "aaaaaaaa")
    put_secret(db, "anthropic_api_key", "bbbbbbbb")
    return put(db, **(DEFAULT | {"llm:fast": FAST} | more))


def of_fast() -> list[dict[str, Any]]:
    """Return what a process reports that serves `FAST`."""
    return [
        deployment("openai", "gpt-4o-mini", name="fast"),
        deployment("anthropic", "claude-haiku-4-5", 2, name="fast"),
    ]


def problems(db: Session) -> list[tuple[str, str, str]]:
    """Return code, object and message of each problem."""
    found = rows(db, "SELECT code, object, message FROM liverouter.problems")
    return [(row["code"], row["object"], row["message"]) for row in found]


class TestDesired:
    def test_each_name_has_its_primary_and_fallbacks(self, db: Session) -> None:
        """A name's parameters are its own, and its fallbacks inherit them from it."""
        put_named(db, llm_temperature=0.7, llm_fallback_config={"provider": "openai", "model": "gpt-5"})
        query = (
            "SELECT name, role, model, params, weight, credential_source, place FROM liverouter.desired_config_detail"
        )
        found = {(row["name"], row["role"]): row for row in rows(db, query)}
        assert {key: (row["model"], row["params"]) for key, row in found.items()} == {
            ("default", "primary"): ("gpt-4o", {"temperature": 0.7}),
            ("default", "fallback"): ("gpt-5", {"temperature": 0.7}),
            ("fast", "primary"): ("gpt-4o-mini", {"temperature": 0.1, "top_p": 0.9}),
            ("fast", "fallback"): ("claude-haiku-4-5", {"temperature": 0.1, "top_p": 0.9, "max_tokens": 100}),
        }
        assert found["fast", "fallback"]["credential_source"] == "secret anthropic_api_key"
        assert found["fast", "primary"]["place"] == "settings.llm:fast"
        assert found["fast", "fallback"]["place"] == "settings.llm:fast.fallbacks[0]"

    @pytest.mark.parametrize(
        ("fallbacks", "models"),
        [
            (None, ["m"]),
            ({"provider": "openai", "model": "n"}, ["m", "n"]),
            ([{"provider": "openai", "model": "n"}, 3], ["m", "n"]),
            ("x", ["m"]),
        ],
    )
    def test_fallbacks_are_none_one_or_a_list(self, db: Session, fallbacks: object, models: list[str]) -> None:
        """As in llm_fallback_config."""
        put(db, **DEFAULT, **{"llm:fast": {"provider": "openai", "model": "m", "fallbacks": fallbacks}})
        query = "SELECT model FROM liverouter.desired_config_detail WHERE name = 'fast' ORDER BY \"order\""
        assert [row["model"] for row in rows(db, query)] == models

    def test_weight_may_have_decimals(self, db: Session) -> None:
        """Of rows, and of what processes report."""
        head = put_named(db, **{"llm:fast": FAST | {"weight": 0.25}})
        weight = "SELECT weight::float8 FROM liverouter.{} WHERE name = 'fast' AND role = 'primary'"
        assert value(db, weight.format("desired_config_detail")) == 0.25
        half = deployment("openai", "gpt-4o-mini", name="fast", weight=0.5)
        Process(db).applied(head, deployments=[deployment("openai", "gpt-4o"), half])
        assert value(db, weight.format("active_config_detail")) == 0.5

    @pytest.mark.parametrize("key", ["llm:Fast", "llm:", "llm:1st", "llm:default", "llm:" + "x" * 33])
    def test_what_is_no_name_makes_no_model(self, db: Session, key: str) -> None:
        """It looks like a setting and is none."""
        put(db, **DEFAULT, **{key: FAST})
        assert {row["name"] for row in rows(db, "SELECT name FROM liverouter.desired_config_detail")} == {"default"}
        assert ("LR106", f"settings.{key}") in [found[:2] for found in problems(db)]


class TestReports:
    def test_what_runs_is_listed_by_name(self, db: Session) -> None:
        """A deployment that two names share stands there twice; one without a name is the default's."""
        shared = deployment("openai", "gpt-4o")
        Process(db).applied(put_named(db), deployments=[shared, shared | {"name": "fast"}])
        found = rows(db, "SELECT name, deployment_id FROM liverouter.active_config_detail ORDER BY name")
        assert found == [{"name": name, "deployment_id": shared["deployment_id"]} for name in ("default", "fast")]

    def test_calls_are_counted_by_name(self, db: Session) -> None:
        """Per minute and per day; what an older client counts is the default's."""
        process = Process(db)
        named = CALLS | {"name": "fast", "calls": 5}
        for usage in ([CALLS, named], [named, CALLS | {"name": "default"}]):
            process.run(None, usage=usage)
        for view in ("usage", "usage_daily"):
            found = rows(db, f"SELECT name, calls, failures FROM liverouter.{view} ORDER BY name")
            assert found == [
                {"name": "default", "calls": 4, "failures": {"RateLimitError 429": 2}},
                {"name": "fast", "calls": 10, "failures": {"RateLimitError 429": 2}},
            ]

    def test_name_of_a_report_is_made_fit(self, db: Session) -> None:
        """Strangers may report: any type, any length."""
        odd = [7, None, "", "x" * 500, ["a"], "a\nb"]
        Process(db).applied(put_named(db), deployments=[deployment("openai", "m", name=name) for name in odd])
        found = {row["name"] for row in rows(db, "SELECT name FROM liverouter.active_config_detail")}
        assert found == {"7", "default", "x" * 32, "a b"}

    def test_info_is_told_as_such_and_last(self, db: Session) -> None:
        """Nobody has to act where an application asks for a name that has no row."""
        told = [
            {"severity": severity, "code": code, "where": "settings", "message": "m", "hint": ""}
            for severity, code in (("info", "LR115"), ("warning", "LR106"), ("error", "LR501"), ("odd", "LR502"))
        ]
        Process(db).applied(put(db, **DEFAULT), deployments=[deployment("openai", "gpt-4o")], problems=told)
        found = rows(db, "SELECT severity, code FROM liverouter.problems")
        assert [(row["severity"], row["code"]) for row in found] == [
            ("error", "LR501"),
            ("error", "LR502"),
            ("warning", "LR106"),
            ("info", "LR115"),
        ]


class TestProblems:
    def test_process_that_follows_its_rows_has_no_problem(self, db: Session) -> None:
        """Every name as its row says."""
        Process(db).applied(put_named(db), deployments=[deployment("openai", "gpt-4o"), *of_fast()])
        assert problems(db) == []

    def test_drift_names_the_name(self, db: Session) -> None:
        """Another model, another key, a name that no row has, a client that knows no names."""
        head = put_named(db)
        default, (primary, fallback) = deployment("openai", "gpt-4o"), of_fast()
        process = Process(db)
        keyed = {"credential_source": "secret openai_api_key", "credential_fingerprint": "99999999"}
        for runs, said in (
            (
                [default, primary],
                "it runs for fast primary openai/gpt-4o-mini, rows say primary openai/gpt-4o-mini, fall",
            ),
            ([default], "it runs for fast nothing, rows say primary openai/gpt-4o-mini, fallback"),
            ([default, primary | keyed, fallback], "it runs for fast with another credential than the stored one"),
            (
                [default, primary, fallback, deployment("openai", "o3", name="slow")],
                "it runs for slow primary openai/o3, rows say nothing of it",
            ),
        ):
            process.applied(head, deployments=runs)
            ((code, _, message),) = problems(db)
            assert code == "LR408"
            assert message.startswith(said)

    def test_secret_that_a_name_lacks_is_told(self, db: Session) -> None:
        """By the name that its row gives it."""
        put_named(db, **{"llm:fast": FAST | {"api_key": {"secret": "team"}}})
        found = [problem for problem in problems(db) if problem[0] == "LR102"]
        assert found == [("LR102", "secrets.team", "no secret for openai/gpt-4o-mini is stored")]


class TestSecrets:
    @pytest.mark.parametrize(
        "row",
        [
            {"api_key": "sk-Zx9QqPlainSecret77"},
            {"fallbacks": {"provider": "openai", "model": "m", "api_key": "plain"}},
            {"fallbacks": [{"params": {"extra_body": {"token": "plain"}}}]},
            {"params": {"extra_headers": {"Authorization": "Basic abc"}}},
            {"params": {"extra_headers": {"Cookie": "a=b"}}},
            {"params": {"extra_headers": {"x-team-key": {"secret": "team"}}}},
            {"api_base": "https://u:p@gw.internal"},
        ],
    )
    def test_named_row_takes_no_plain_secret(self, db: Session, row: dict[str, object]) -> None:
        """Wherever it stands; the message names the row and repeats nothing."""
        with refused("23514") as refusal:
            put(db, **{"llm:fast": {"provider": "openai", "model": "m", **row}})
        assert "settings.llm:fast" in refusal.message
        assert not any(word in refusal.everything for word in ("plain'", "Zx9Qq", "a=b", "u:p"))

    def test_parameters_take_no_plain_secret(self, db: Session) -> None:
        """Those of the default; other headers are taken."""
        for params in ({"extra_headers": {"X-Api-Key": "v"}}, {"extra_body": {"api_key": "v"}}):
            with refused("23514"):
                put(db, llm_params=params)
        assert put(db, llm_params={"extra_headers": {"x-team": "search"}, "top_p": 0.5}) == 1

    def test_secret_is_bound_to_where_a_name_sends_it(self, db: Session) -> None:
        """To the base of its own, or to the provider's."""
        fast = FAST | {"api_key": {"secret": "team"}, "api_base": "https://gw.internal/v1"}
        put(db, **{"llm:fast": fast, "openai_api_base": "https://other.internal"})
        put_secret(db, "team")
        put_secret(db, "openai_api_key")
        found = {row["name"]: row["origins"] for row in rows(db, "SELECT name, origins FROM liverouter.secrets")}
        assert found == {"team": ["https://gw.internal"], "openai_api_key": ["https://other.internal"]}

    def test_history_that_goes_leaves_the_secret_of_a_name(self, db: Session) -> None:
        """Its envelope is in force, not spent."""
        put_secret(db, "team")
        put(db, **{"llm:fast": FAST | {"api_key": {"secret": "team"}}})
        for number in range(3):
            put(db, llm_model=f"m{number}")
        db.execute(b"UPDATE liverouter.retention SET history_days = 0, history_revisions = 1")
        db.execute(b"SELECT liverouter.prune()")
        assert value(db, "SELECT count(*) FROM liverouter.spent_envelopes") == 0
        db.execute(b"SELECT liverouter.rollback(%s)", [revision(db)])
        assert value(db, "SELECT count(*) FROM liverouter.secrets") == 1


class TestHistory:
    def test_change_of_a_name_is_a_revision_and_can_be_taken_back(self, db: Session) -> None:
        """Also where rows of other software are too many to be in the history."""
        db.execute(
            b"INSERT INTO liverouter.settings (key, value) SELECT 'theme.' || n, '1' FROM generate_series(1, 300) n"
        )
        first = put(db, **{"llm:fast": FAST})
        second = put(db, **{"llm:fast": FAST | {"model": "gpt-5-mini"}})
        assert value(db, "SELECT changed FROM liverouter.revisions WHERE revision = %s", second) == "llm:fast"
        (change,) = rows(db, "SELECT * FROM liverouter.revision_diff(%s, %s)", first, second)
        assert (change["key"], change["new"]["model"]) == ("llm:fast", "gpt-5-mini")
        db.execute(b"SELECT liverouter.rollback(%s)", [first])
        assert value(db, "SELECT value FROM liverouter.settings WHERE key = 'llm:fast'") == FAST


class TestMigration:
    def test_counts_of_names_become_one_again_on_the_way_back(self, empty_dsn: str) -> None:
        """What was counted before is the default's; nothing is lost in either direction."""
        migrate.upgrade(empty_dsn, FORMER)
        counted = "SELECT calls, failures FROM liverouter.{}"
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            process = Process(db)
            process.run(None, usage=[CALLS])
            migrate.upgrade(empty_dsn, "0010_names")
            assert value(db, "SELECT name FROM liverouter.usage") == "default"
            process.run(None, usage=[CALLS | {"name": "fast"}, CALLS | {"name": "slow", "minute": CALLS["minute"]}])
            migrate.downgrade(empty_dsn, FORMER)
            for view in ("usage", "usage_daily"):
                assert rows(db, counted.format(view)) == [{"calls": 6, "failures": {"RateLimitError 429": 3}}]
            process.run(None, usage=[CALLS])
            assert rows(db, counted.format("usage_daily")) == [{"calls": 8, "failures": {"RateLimitError 429": 4}}]
