"""Reports are a stranger's word: whatever one login says or holds, every other reader and process goes on."""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from psycopg.types.json import Jsonb

from liverouter import LiveRouter
from liverouter.errors import DatabaseError
from liverouter.postgres import migrate
from liverouter.postgres.repository import SettingsRepository
from tests.kit import patience
from tests.kit.http import Api
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, deployment, put, refused, rows, sealed, stop_clock, value
from tests.kit.views import VIEWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    Session = psycopg.Connection[Any]
    Connect = Callable[..., Session]
    Login = Callable[..., str]

emptied, dsn, db = one_database()
patient = patience.patient

EVIL: Final = "a\x1b]0;owned\x07\x1b[2J\r\nb\u202e\u009bc\u2028\u200bd"
COUNTS: Final = (
    "calls",
    "failovers",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "latency_ms_sum",
    "latency_ms_max",
)
HUGE: Final = 10**400


def cell(**more: object) -> dict[str, Any]:
    """Return one row of counts of today."""
    return {"deployment_id": "openai/gpt-4o#1", "provider": "openai", "model": "gpt-4o", "role": "primary"} | more


POISONS: Final[list[dict[str, Any]]] = [
    {"since": "294276-12-31"},
    {"since": "-infinity"},
    {"since": "infinity"},
    {"since": "0001-01-01 BC"},
    {"deployments": [{"provider": "openai", "model": "gpt-4o"}]},
    {"deployments": [{}]},
    {"deployments": [deployment("x", "y") | {"order": HUGE, "weight": 0.5, "cooling_ms": HUGE, "role": "king"}]},
    {"deployments": [deployment("x", "y") | {"params": {"deep": [[[[[[[[1]]]]]]]], "n": HUGE, EVIL: EVIL}}]},
    {"problems": [{"code": "X"}]},
    {"problems": [{}]},
    {"problems": [dict.fromkeys(("severity", "code", "where", "message", "hint"), EVIL)]},
    {"last_error": {}},
    {"last_error": {"code": 5, "message": {"a": 1}, "revision": HUGE}},
    {"labels": {"a": 1}},
    {"labels": {"a": None, "b": [1], "c": {"d": 1}, EVIL: EVIL}},
    {"versions": {"python": 3.11, "liverouter": HUGE}},
    {"usage": [cell(**dict.fromkeys(COUNTS, "NaN"))]},
    {"usage": [cell(**dict.fromkeys(COUNTS, "Infinity"))]},
    {"usage": [cell(**dict.fromkeys(COUNTS, HUGE))] * 3},
    {"usage": [cell(**dict.fromkeys(COUNTS, 9223372036854775807))] * 3},
    {"usage": [cell(calls=1, cost_usd=-1, minute="294276-12-31", failures={"x": HUGE, "y": 0.5, "z": -1, EVIL: "n"})]},
    {"usage": [cell(calls=1, minute=minute) for minute in ("infinity", "-infinity", "tomorrow", "never", 5, None)]},
    {"usage": [{}]},
    {"applies": [{"revision": HUGE, "outcome": "applied"}, {"outcome": "applied"}, {"revision": 1, "outcome": 7}]},
    {"applies": [{"revision": 0, "outcome": "rejected", "age_ms": "NaN", "read_ms": "Infinity", "message": EVIL}]},
    {"listener": {"backend_pid": HUGE, "reconnects": "many", "last_probe_age_ms": -1}},
    {"app": EVIL, "host": EVIL * 100, "mode_cause": EVIL, "epoch": EVIL},
    {"app": HUGE, "host": {"a": 1}, "mode_cause": [], "epoch": True},
    {"applied_revision": 2**62, "generation": 2**62, "pid": -1},
    {"rejected_revision": 2**62, "rejected_epoch": None},
    {"applied_revision": -1, "rejected_revision": -1, "generation": -1},
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.sampled_from(["NaN", "Infinity", "infinity", "294276-12-31", EVIL, HUGE, "primary", "warning", "LR101", "live"]),
)
MEMBERS: Final = sorted({*deployment("x", "y"), *cell(), *COUNTS, "failures", "minute", "code", "severity", "where"})
KEYS: Final = (
    *("app", "host", "pid", "labels", "versions", "state", "mode", "mode_cause", "since", "epoch", "generation"),
    *("applied_revision", "rejected_revision", "rejected_epoch", "litellm_enable", "problems", "last_error"),
    *("listener", "deployments", "applies", "usage", "bye"),
)
objects = st.dictionaries(st.sampled_from(MEMBERS), scalars, max_size=8)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Put lists and objects around *inner*. Of a lambda hypothesis looks through all modules, which threads add to."""
    return st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\x1b", max_size=3), inner)


anything = st.recursive(scalars, nested, max_leaves=8)
documents = st.dictionaries(st.sampled_from(KEYS), st.one_of(scalars, objects, st.lists(objects, max_size=3), anything))


def is_clean(document: Any) -> bool:
    """Tell whether every text of *document* fits on a terminal, and every number into JSON."""
    match document:
        case str():
            return document.isprintable()
        case float():
            return math.isfinite(document)
        case dict():
            return all(is_clean(member) for pair in document.items() for member in pair)
        case list():
            return all(is_clean(member) for member in document)
        case _:
            return True


@pytest.fixture
def liar(connect: Connect, login: Login) -> Session:
    """A session of a service's login, which may report and no more."""
    return connect(login("liverouter_client"))


@pytest.fixture
def honest(db: Session) -> Process:
    """A process that runs the head and means what it says."""
    put(db, llm_provider="openai", llm_model="gpt-4o")
    process = Process(db, app="honest")
    process.applied(1, deployments=[deployment("openai", "gpt-4o")], usage=[cell(calls=1)])
    return process


@pytest.fixture
def api(dsn: str) -> Iterator[Api]:
    """The daemon's API, with a client of its own."""
    with Api(dsn) as api:
        yield api


@pytest.fixture
async def repository(dsn: str) -> AsyncIterator[SettingsRepository]:
    """What the daemon and the command line ask by."""
    repository = SettingsRepository(url=dsn)
    yield repository
    await repository.close()


def report(session: Session, document: dict[str, Any]) -> Process:
    """Report *document* as a process of its own; being refused in our own words is fine."""
    process = Process(session)
    try:
        process.send(**document)
    except psycopg.Error as exc:
        assert exc.sqlstate == "LR212", exc  # noqa: PT017 - most documents are taken
    return process


def look_everywhere(db: Session, api: Api, cli: Callable[..., Any]) -> None:
    """See that each reader works, shows the honest process and shows nothing that a terminal would obey."""
    for view in VIEWS:
        rows(db, f"SELECT * FROM liverouter.{view}")
    assert "honest" in {row["app"] for row in api.get("/api/instances")}
    assert {(row["provider"], row["model"]) for row in api.get("/api/serving")} >= {("openai", "gpt-4o")}
    assert [point for point in api.get("/api/usage") if point["deployment_id"] == "openai/gpt-4o#1"]
    for path in ("/api/instances", "/api/serving", "/api/problems", "/api/usage"):
        assert is_clean(api.get(path))
    assert api.client.get("/metrics").status_code == 200
    with api.events() as events:
        kind, hello = next(events)
    assert (kind, hello["database"]) == ("hello", None)
    assert is_clean([hello["instances"], hello["serving"], hello["problems"], hello["usage"]])
    for command in (("show",), ("instances",), ("history",)):
        shown = cli(*command)
        assert shown.code == 0, shown.err
        assert all(line.isprintable() for line in (shown.out + shown.err).split("\n"))
        assert cli(*command, "--json").json


class TestPoison:
    def test_each_poison_of_the_issue_leaves_every_reader_working(
        self, db: Session, liar: Session, honest: Process, api: Api, cli: Callable[..., Any]
    ) -> None:
        """All of them together, each by a process of its own: views, API, stream, metrics and command line go on."""
        for poison in POISONS:
            report(liar, poison)
        honest.send()
        look_everywhere(db, api, cli)

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(document=documents)
    @example(document=POISONS[0])
    def test_any_document_is_refused_in_our_words_or_leaves_every_view_readable(
        self, db: Session, liar: Session, document: dict[str, Any]
    ) -> None:
        """Whatever JSON stands under the names that report() knows."""
        report(liar, document)
        for view in ("active_config", "instances", "problems", "rollout", "usage"):
            found = json.dumps(rows(db, f"SELECT * FROM liverouter.{view}"), default=str, ensure_ascii=False)
            assert is_clean(json.loads(found))
            assert "NaN" not in found.replace('"NaN"', "")

    def test_poison_that_the_version_before_let_in_is_cleaned(
        self, empty_dsn: str, monkeypatch: pytest.MonkeyPatch, shell: Callable[..., Any]
    ) -> None:
        """What stands in the tables when 0.2 comes blinds nobody afterwards."""
        migrate.upgrade(empty_dsn, "0004_origins")
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            put(db, llm_provider="openai", llm_model="gpt-4o")
            for poison in POISONS:
                process = Process(db)
                with_key = {"instance": process.instance, "key": process.key} | poison
                try:
                    db.execute(b"SELECT liverouter.report(%s)", [Jsonb(with_key)])
                except psycopg.Error:
                    continue
            migrate.upgrade(empty_dsn)
            for view in VIEWS:
                found = json.dumps(rows(db, f"SELECT * FROM liverouter.{view}"), default=str, ensure_ascii=False)
                assert is_clean(json.loads(found)), view
        with Api(empty_dsn) as api:
            assert len(api.get("/api/instances")) > 20
            for path in ("/api/serving", "/api/problems", "/api/usage"):
                api.get(path)
            assert api.client.get("/metrics").status_code == 200
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", empty_dsn)
        assert shell("show").code == shell("instances").code == 0

    def test_row_that_no_report_could_make_hides_no_other(
        self, db: Session, honest: Process, api: Api, cli: Callable[..., Any]
    ) -> None:
        """A restored dump, an owner's slip: times without end, no order, costs that are no numbers."""
        for change in (
            "since = 'infinity'",
            "since = '294276-01-01', applied_at = '-infinity'",
            'deployments = \'[{}, 5, {"provider": "x", "order": 1.5}]\'',
            "deployments = '{}', problems = '{}', labels = '[]', listener = '{\"backend_pid\": \"x\"}'",
            "labels = '{\"a\": 1}', problems = '[{}, 1]', last_error = '7'",
            "state = 'strange', generation = 9223372036854775807, applied_revision = 9223372036854775807",
        ):
            process = Process(db)
            process.run(1)
            db.execute(f"UPDATE liverouter.processes SET {change} WHERE instance = %s".encode(), [process.instance])
        for n, (cost, spent, calls) in enumerate((("NaN", "Infinity", 2**62), ("Infinity", "NaN", -5))):
            db.execute(
                b"INSERT INTO liverouter.usage_minutes VALUES (%s, date_trunc('minute', now()), %s, 'primary', 'p',"
                b" 'm', %s,"
                b' \'{"a": "x", "b": 1.5, "c": 1e300}\', 9223372036854775807, 1, 1, %s, %s, %s)',
                [honest.instance, f"poison-{n}", calls, cost, spent, spent],
            )
        honest.send()
        look_everywhere(db, api, cli)


class TestBounds:
    def test_what_is_stored_has_the_types_and_bounds_that_the_views_promise(self, db: Session, liar: Session) -> None:
        """Missing members get a plain default, texts are one clean line, numbers lie in their range."""
        process = Process(liar)
        process.run(
            0,
            app=EVIL,
            deployments=[{}, {"order": HUGE, "weight": -5, "role": "king", "provider": 7, "params": {"t": HUGE}}],
            problems=[{"code": "X"}, {"severity": "warning", "code": "LR102", "message": EVIL}],
            labels={"a": 1, "b": None},
            since="294276-12-31",
            pid=-7,
        )
        first, second = rows(db, "SELECT * FROM liverouter.active_config_detail")
        assert (first["role"], first["order"], first["weight"], first["provider"]) == ("fallback", 1, 1, "?")
        assert (second["order"], second["weight"], second["provider"], second["params"]) == (1000, 0, "7", {"t": 1e15})
        (one,) = rows(db, "SELECT *, since <= clock_timestamp() AS past FROM liverouter.instances_detail")
        assert (one["labels"], one["pid"], one["past"]) == ({"a": "1", "b": ""}, None, True)
        assert one["app"] == "a\ufffd]0;owned\ufffd\ufffd[2J  b\ufffd\ufffdc \ufffdd"
        assert one["role"] == liar.info.user
        found = value(db, "SELECT problems FROM liverouter.processes")
        assert [(p["severity"], p["code"]) for p in found] == [("error", "LR699"), ("warning", "LR102")]
        assert all(p["message"] for p in found)

    def test_counts_never_overflow_however_often_they_are_added(self, db: Session, liar: Session) -> None:
        """The largest numbers, again and again, in one row: it stays at its bound, and sums over it can be made."""
        stop_clock(db)  # in one minute
        process = Process(liar)
        process.run(0)
        for _ in range(5):
            process.send(usage=[cell(**dict.fromkeys(COUNTS, 9e18), failures={"x": 9e18})] * 5)
        (row,) = rows(db, "SELECT * FROM liverouter.usage_detail")
        assert (row["calls"], row["failures"]) == (10**12, {"x": 10**12})
        assert row["cost_usd"] == 10**9
        query = "SELECT sum(u.calls)::bigint FROM liverouter.usage_detail u, generate_series(1, 1000000)"
        assert value(db, query) == 10**18

    def test_classes_of_failures_do_not_grow_without_end(self, db: Session, liar: Session) -> None:
        """One row keeps the thirty most frequent classes; the others are one."""
        stop_clock(db)  # in one minute
        process = Process(liar)
        process.run(0)
        for n in range(10):
            process.send(usage=[cell(failures={f"Made{n}Up{i}": 1 for i in range(50)} | {"Timeout": 5})])
        failures = value(db, "SELECT failures FROM liverouter.usage_detail")
        assert len(failures) <= 31
        assert (failures["Timeout"], sum(failures.values())) == (50, 550)

    def test_parameters_keep_their_shape(self, db: Session) -> None:
        """What an honest process sends is shown as it is: lists, objects, decimals, words."""
        params = {"temperature": 0.2, "stop": ["a", "b"], "thinking": {"type": "enabled", "budget": 1024}, "seed": 7}
        Process(db).run(0, deployments=[deployment("openai", "gpt-4o", params=params)])
        assert value(db, "SELECT params FROM liverouter.active_config_detail") == params


class TestLies:
    def test_revision_that_does_not_exist_cannot_be_rejected(self, db: Session, liar: Session, honest: Process) -> None:
        """A refusal of a revision to come neither fails the wait for it nor any other."""
        epoch = value(db, "SELECT liverouter.epoch()")
        process = Process(liar)
        process.run(1, rejected_revision=2**40, rejected_epoch=epoch)
        assert value(db, "SELECT liverouter.wait_applied(1)") is True
        process.run(1, rejected_revision=2, rejected_epoch=epoch)
        assert put(db, llm_model="gpt-4.1") == 2
        process.send()
        honest.applied(2)
        with refused("LR404"):  # it is late, as it says itself, and no more
            db.execute(b"SELECT liverouter.wait_applied(2, 0)")
        process.send(bye=True)
        assert value(db, "SELECT liverouter.wait_applied(2)") is True

    def test_revision_that_does_not_exist_cannot_be_applied(self, db: Session, liar: Session, honest: Process) -> None:
        """Who claims to run what is not there yet has not applied it when it comes."""
        liars = [Process(liar), Process(liar), Process(liar)]
        liars[0].run(2)
        liars[1].run(2**62)
        liars[2].run(2, epoch=None)
        liars[2].send(epoch=value(db, "SELECT liverouter.epoch()"))
        put(db, llm_model="gpt-4.1")
        honest.applied(2)
        for process in liars:
            process.send()
        with refused("LR404") as refusal:
            db.execute(b"SELECT liverouter.wait_applied(2, 0)")
        assert "missing in 3 of 4" in refusal.message
        assert value(db, "SELECT pending FROM liverouter.rollout WHERE revision = 2") == 3

    def test_refusal_says_which_login_reported_it(self, db: Session, liar: Session, honest: Process) -> None:
        """A member of the fleet may refuse what exists; an operator sees by which login it did."""
        assert honest.instance
        Process(liar).rejected(1, kept=None)
        with refused("LR403") as refusal:
            db.execute(b"SELECT liverouter.wait_applied(1)")
        assert f"The login {liar.info.user} reported it." in refusal.everything
        found = rows(db, "SELECT role FROM liverouter.instances_detail WHERE rejected_revision = 1")
        assert found == [{"role": liar.info.user}]


class TestQuotas:
    def test_login_with_too_many_processes_gets_no_more_and_others_do(
        self, db: Session, connect: Connect, login: Login, liar: Session
    ) -> None:
        """Dead ones make room first; live ones are refused beyond two thousand, with what to do."""
        fill = (
            "INSERT INTO liverouter.processes (instance, key_hash, role, heartbeat_at)"
            " SELECT gen_random_uuid(), '', %s, clock_timestamp() - make_interval(secs => %s)"
            " FROM generate_series(1, %s)"
        )
        db.execute(fill.encode(), [liar.info.user, 60, 100])
        db.execute(fill.encode(), [liar.info.user, 0, 1_900])
        Process(liar).run(0)
        mine = "SELECT count(*) FROM liverouter.processes WHERE role = %s"
        assert value(db, mine, liar.info.user) == 1_901
        db.execute(fill.encode(), [liar.info.user, 0, 99])
        with refused("LR212") as refusal:
            Process(liar).run(0)
        assert "2000 live" in refusal.message
        assert refusal.hint
        Process(connect(login("liverouter_client"))).run(0)
        assert value(db, mine, liar.info.user) == 2_000

    def test_login_that_adds_too_many_rows_loses_its_counts_alone(
        self, db: Session, connect: Connect, login: Login, liar: Session
    ) -> None:
        """Its heartbeats go on and it is told as a problem; others' counts are taken, its own a minute later."""
        stop_clock(db)  # a minute that does not end
        process = Process(liar, app="loud")
        process.run(0)
        for n in range(6):
            process.send(usage=[cell(calls=1, deployment_id=f"{n}-{i}") for i in range(2100)])
        stored = value(db, "SELECT count(*) FROM liverouter.usage_minutes")
        assert stored == 10_000
        (problem,) = [p for p in rows(db, "SELECT * FROM liverouter.problems") if p["code"] == "LR212"]
        assert liar.info.user in problem["message"]
        assert problem["object"].startswith("loud on host-1")
        Process(connect(login("liverouter_client"))).run(0, usage=[cell(calls=1)])
        assert value(db, "SELECT count(*) FROM liverouter.usage_minutes") == stored + 1
        db.execute(b"UPDATE liverouter.report_quota SET minute = minute - interval '1 min'")
        process.send(usage=[cell(calls=1)])
        assert value(db, "SELECT count(*) FROM liverouter.usage_minutes") == stored + 2
        assert [p for p in rows(db, "SELECT * FROM liverouter.problems") if p["code"] == "LR212"] == []

    def test_largest_reports_unpack_to_few_rows_and_dead_ones_to_none(self, db: Session, liar: Session) -> None:
        """Who reports as much as it may fills no view: a bound for each process, and nothing once it is dead."""
        problem = {"severity": "error", "code": "LR102", "message": "m" * 1000, "hint": "h" * 1000}
        params = {f"p{i}": "x" * 500 for i in range(10)}
        most = {
            "problems": [problem | {"where": f"w{i}"} for i in range(100)],
            "deployments": [deployment("x", f"m{i}", i + 1, params=params, endpoint="e" * 500) for i in range(100)],
        }
        processes = [Process(liar, pid=n) for n in range(10)]
        for process in processes:
            process.run(0, **most)
        told = "SELECT count(*) FROM liverouter.problems WHERE code = 'LR102' AND object LIKE '%% on %%'"
        size = "SELECT max(length(problems::text) + length(deployments::text)) FROM liverouter.processes"
        assert 10 < value(db, told) <= 200
        assert 10 < value(db, "SELECT count(*) FROM liverouter.active_config_detail") <= 300
        assert value(db, size) < 120_000
        for process in processes:
            process.db = db
            process.silent_for(60)
        unpacked = (
            "SELECT sum(jsonb_array_length(problems) + jsonb_array_length(deployments)) FROM liverouter_internal.fleet"
        )
        assert value(db, unpacked) == 0
        assert value(db, told) == 0
        assert value(db, "SELECT count(*) FROM liverouter.active_config_detail") == 0

    def test_small_reports_are_kept_whole(self, db: Session, liar: Session) -> None:
        """The most that a config can have, a primary and twenty fallbacks, is shown."""
        deployments = [deployment("openai", f"m{i}", i + 1, params={"temperature": 0.5}) for i in range(21)]
        Process(liar).run(0, deployments=deployments)
        assert value(db, "SELECT count(*) FROM liverouter.active_config_detail") == 21

    def test_large_rows_count_as_several_also_when_they_grow(self, db: Session, liar: Session) -> None:
        """What a login adds in a minute is bounded in bytes as well: by long texts, or by many classes afterwards."""
        stop_clock(db)  # a minute that does not end
        counted = "SELECT coalesce(sum(added), 0)::integer FROM liverouter.report_quota"
        process = Process(liar)
        process.run(0, usage=[cell(calls=1, failures={"RateLimitError 429": 1})])
        process.send(usage=[cell(calls=1, failures={"RateLimitError 429": 1})])
        assert value(db, counted) == 1
        grown = {f"{i}".ljust(100, "x"): 1 for i in range(30)}
        process.send(usage=[cell(calls=1, failures=grown)])
        assert value(db, counted) > 10
        before = value(db, counted)
        process.send(usage=[cell(calls=1, deployment_id="d" * 300, provider="p" * 100, model="m" * 200)])
        assert value(db, counted) == before + 3

    async def test_login_that_reports_much_hides_no_other(
        self, db: Session, liar: Session, repository: SettingsRepository
    ) -> None:
        """Lists are cut for each process alike, and say how many they leave out."""
        stop_clock(db)  # else the copies below are late after five seconds, and the list is longer
        honest = Process(db, app="zzz", pid=99)
        problem = {"severity": "error", "code": "LR999", "message": "m", "hint": "h"}
        honest.run(0, problems=[problem | {"where": "w"}], deployments=[deployment("openai", "gpt-4o")])
        loud = Process(liar, app="aaa")
        many = [problem | {"where": f"w{i}", "code": "LR100"} for i in range(20)]
        loud.run(0, problems=many, deployments=[deployment("x", f"m{i}", i + 1) for i in range(30)])
        db.execute(
            b"INSERT INTO liverouter.processes (instance, key_hash, app, host, pid, state, problems, deployments, role)"
            b" SELECT gen_random_uuid(), '', app, host, n, state, problems, deployments, role"
            b" FROM liverouter.processes, generate_series(1000, 1399) n WHERE app = 'aaa'"
        )
        told, running = await repository.problems(), await repository.active_config()
        assert (len(told), len(running)) == (5_001, 10_000)
        assert [p["code"] for p in told if p["object"].startswith("zzz")] == ["LR999"]
        assert [row["model"] for row in running if row["app"] == "zzz"] == ["gpt-4o"]
        in_all = value(db, "SELECT count(*) FROM liverouter.problems")
        assert told[-1]["message"] == f"and {in_all - 5_000} more problems"

    async def test_login_hides_no_problem_by_another_s_name(
        self, db: Session, liar: Session, repository: SettingsRepository
    ) -> None:
        """Application, host and pid are its own word: the list is cut by login."""
        problem = {"severity": "error", "code": "LR999", "message": "m", "hint": "h"}
        Process(db, app="zzz", pid=99).run(0, problems=[problem | {"where": f"w{i}"} for i in range(20)])
        many = [problem | {"where": f"w{i}", "code": "LR000"} for i in range(20)]
        Process(liar, app="zzz", pid=99).run(0, problems=many)
        db.execute(
            b"INSERT INTO liverouter.processes (instance, key_hash, app, host, pid, state, problems, role)"
            b" SELECT gen_random_uuid(), '', app, host, CASE WHEN n %% 2 = 0 THEN pid ELSE n END, state,"
            b" (SELECT jsonb_agg(p.value || jsonb_build_object('where', n || (p.value ->> 'where')))"
            b"  FROM jsonb_array_elements(problems) p), role"
            b" FROM liverouter.processes, generate_series(1000, 2399) n WHERE role = %s",
            [liar.info.user],
        )
        told = await repository.problems()
        assert len(told) == 5_001
        assert len([p for p in told if p["code"] == "LR999"]) == 20

    async def test_largest_numbers_hide_no_other_s_usage(
        self, db: Session, liar: Session, repository: SettingsRepository
    ) -> None:
        """What the page and the metrics show of a login is not what another says."""
        now = datetime.now(UTC).isoformat()
        Process(db).run(0, usage=[cell(calls=5, minute=now, failures={"Timeout 408": 2})])
        loud = Process(liar)
        loud.run(0)
        for turn in range(3):
            cells = [cell(calls=10**12, minute=now, deployment_id=f"{turn}-{i}") for i in range(2_000)]
            loud.send(usage=[*cells, cell(calls=1, minute=now)])
        told = await repository.usage_totals(datetime.now(UTC) - timedelta(minutes=5))
        assert 4_900 < len(told) <= 5_000
        (honest,) = [row for row in told if row["deployment_id"] == "openai/gpt-4o#1"]
        assert (honest["calls"] - 5, honest["failures"]) in {(0, 2), (3, 2)}  # the liar's own three may be cut

    def test_those_who_are_late_are_named_by_login(self, db: Session, liar: Session) -> None:
        """However many processes one login has, and whatever they are called."""
        for number in range(30):
            Process(liar, app="a" * 100, host="h" * 255, pid=number).run(0)
        Process(db, app="zzz-late").run(0)
        put(db, llm_model="gpt-4o")
        with refused("LR404") as refusal:
            db.execute(b"SELECT liverouter.wait_applied(1, 0.01)")
        assert "after 0.01 s revision 1 is missing in 31 of 31" in refusal.message
        assert "zzz-late" in refusal.message
        assert f"30 of the login {liar.info.user}, 1 of the login" in refusal.everything

    def test_quota_waits_for_no_open_transaction(self, db: Session, connect: Connect, login: Login) -> None:
        """A session that reports and never commits holds up no other process of its login."""
        url = login("liverouter_client")
        holder, other = connect(url, autocommit=False), connect(url)
        Process(holder).run(0, usage=[cell(calls=1)])
        other.execute(b"SET lock_timeout = '30s'")
        Process(other).run(0, usage=[cell(calls=1)])
        holder.rollback()
        assert value(db, "SELECT count(*) FROM liverouter.usage_detail") == 1


class TestLocks:
    def test_row_that_a_stranger_holds_stops_no_pruning(self, db: Session, connect: Connect, login: Login) -> None:
        """A dead process whose session sits in a transaction keeps its own row; the others go."""
        holder = connect(login("liverouter_client"), autocommit=False)
        held, dead = Process(holder), Process(db)
        held.run(0)
        holder.commit()
        dead.run(0)
        held.db = db
        held.silent_for(90_000)
        held.db = holder
        held.send()
        dead.silent_for(90_000)  # only now: one report in a thousand prunes, and the holder's would hold this row too
        holder.execute(b"SELECT pg_advisory_xact_lock(7813584462689366629)")  # what version 0.1 asked for
        db.execute(b"SET lock_timeout = '30s'")
        assert value(db, "SELECT liverouter.prune()") == 1
        assert value(db, "SELECT count(*) FROM liverouter.processes") == 1

    def test_migration_names_who_holds_its_lock_and_gives_up_in_time(self, dsn: str, server: Any) -> None:
        """Another run that hangs: who it is, and how to end it; never a silent wait."""
        said: list[str] = []
        with psycopg.connect(dsn, application_name="hangs") as other:
            other.execute(b"SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(b"lrmigr")])
            with pytest.raises(DatabaseError) as caught:
                migrate.upgrade(dsn, echo=said.append, lock_timeout_s=0.05)
            pid = other.info.backend_pid
        assert caught.value.code == "LR208"
        assert f"pid {pid}, login {server.user}, application 'hangs'" in caught.value.message
        assert f"pg_terminate_backend({pid})" in caught.value.hint
        assert [line.startswith("waiting for another migration") for line in said] == [True]

    def test_stranger_who_holds_the_lock_holds_no_migration_up(self, empty_dsn: str, dsn: str, login: Login) -> None:
        """Any login may take an advisory lock; one that could not migrate the database is passed by, and named."""
        name = psycopg.conninfo.conninfo_to_dict(empty_dsn)["dbname"]
        url = login().replace(dsn.rpartition("/")[2], str(name))
        said: list[str] = []
        with psycopg.connect(url) as stranger:
            stranger.execute(b"SELECT pg_advisory_lock(%s)", [int.from_bytes(b"lrmigr")])
            user = stranger.info.user
            for _ in range(2):
                assert migrate.upgrade(empty_dsn, echo=said.append) == migrate.HEAD
        assert len([line for line in said if line.startswith("passing by") and user in line]) == 2


class TestWho:
    def test_login_stands_beside_the_author_in_every_row(self, db: Session, connect: Connect, login: Login) -> None:
        """Whatever a writer calls itself: role is the login, of settings, secrets and revisions; nobody can set it."""
        writer = connect(login("liverouter_writer"))
        me = writer.info.user
        with writer.transaction():
            writer.execute(b"SELECT set_config('liverouter.author', %s, true)", [f"{EVIL}{'x' * 5000}"])
            writer.execute(b"SELECT set_config('liverouter.comment', %s, true)", [f"{EVIL}{'x' * 5000}"])
            put(writer, a=1)
            writer.execute(b"SELECT liverouter.set_secret('openai_api_key', %s, '12345678')", [sealed()])
        assert value(db, "SELECT role FROM liverouter.settings") == me
        assert rows(writer, "SELECT role FROM liverouter.secrets") == [{"role": me}]
        (row,) = rows(db, "SELECT * FROM liverouter.revisions ORDER BY revision DESC LIMIT 1")
        assert (row["role"], len(row["author"]), len(row["comment"])) == (me, 200, 2000)
        assert is_clean([row["author"], row["comment"], value(db, "SELECT updated_by FROM liverouter.settings")])
        db.execute(b"UPDATE liverouter.settings SET role = 'somebody else', value = '2'")
        assert value(db, "SELECT role FROM liverouter.settings") == db.info.user

    def test_conflict_names_the_login_beside_the_author(self, db: Session, connect: Connect, login: Login) -> None:
        """That ann changed it is what ann's login says."""
        writer = connect(login("liverouter_writer"))
        with writer.transaction():
            writer.execute(b"SELECT liverouter.begin_edit(NULL, 'ann')")
            put(writer, a=1)
        with refused("LR211") as refusal:
            db.execute(b"SELECT liverouter.begin_edit(0)")
        assert f"ann ({writer.info.user}) changed it" in refusal.message


class TestHonest:
    async def test_what_no_database_stores_costs_a_process_no_report(
        self, db: Session, repository: SettingsRepository
    ) -> None:
        """A name with half a character, an error with NUL, a cost of NaN: the rest arrives."""
        document = {
            "instance": str(uuid.uuid4()),
            "key": secrets.token_hex(16),
            "app": "bill\udce9ing",
            "problems": [{"code": "LR101", "message": "a\0b", "severity": "error"}],
            "usage": [cell(calls=1, cost_usd=float("nan"))],
        }
        await repository.report(document)
        assert value(db, "SELECT app FROM liverouter.instances_detail") == "bill\ufffding"
        assert value(db, "SELECT calls FROM liverouter.usage_detail") == 1

    def test_labels_that_are_too_long_cost_a_process_no_report(
        self, dsn: str, db: Session, wait_until: Callable[..., None]
    ) -> None:
        """Whatever somebody puts into LIVEROUTER_LABELS: as much as a report may hold is told."""
        labels = {f"label-{n}": f"{n} " + "x" * 3000 for n in range(30)}
        with contextlib.closing(LiveRouter(database_url=dsn, app="long", labels=labels)) as live:
            live.start()
            wait_until(lambda: rows(db, "SELECT * FROM liverouter.instances_detail"))
        told = value(db, "SELECT labels FROM liverouter.processes")
        assert told["label-0"].startswith("0 xxx")
        assert sum(len(name) + len(label) for name, label in told.items()) <= 4000

    async def test_row_that_the_driver_cannot_read_is_an_error_of_ours(
        self, db: Session, repository: SettingsRepository
    ) -> None:
        """However it came about, a caller gets a code and a hint, and no driver's exception."""
        db.execute(
            b"DROP VIEW liverouter.secret_keys; CREATE VIEW liverouter.secret_keys AS"
            b" SELECT '294276-12-31'::timestamptz AS key_id, 1 AS secrets, 1 AS in_history"
        )
        with pytest.raises(DatabaseError) as caught:
            await repository.key_usage()
        assert (caught.value.code, bool(caught.value.hint)) == ("LR208", True)
