"""Rows are judged by SQL as processes judge them, so that `problems` is not empty because nobody runs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from psycopg.types.json import Jsonb

from liverouter.config.environment import Environment
from liverouter.config.members import MEMBERS
from liverouter.config.params import PARAMS
from liverouter.config.settings import SETTINGS
from liverouter.config.validate import validate
from liverouter.providers import PROVIDERS
from liverouter.revision import Rows
from tests.kit.judges import GOOD, JUDGED, KEYS, assert_alike, by_database, by_process, problems_of
from tests.kit.leaks import LEDGER
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, deployment, put, refused, revision, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import psycopg

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()

on_both_servers = pytest.mark.servers("embedded", "debian")

HOLE: Final = re.compile(
    r"/(?=\s|$)|(?<!\w)''|\s[,;:]|[:,;]\s*$|[:,] ?[,;]|  |\binf\b|\bNone\b|\(\)|\[\]"
)  # of a missing part
plain = [name for name, setting in SETTINGS.items() if setting.kind != "secret"]
numbers = st.integers(-5, 2_000) | st.floats(-3, 90_000, allow_nan=False).map(lambda number: round(number, 2))
texts = st.sampled_from(
    [
        *("", "  ", "m", " m ", "a\x07b", "\u00a0", "a\u00a0b", "a\u200bb", "opnai", "openai", "anthropic", "Azure"),
        *("https://gw.internal/v1", "http://u@h", "ftp://h", "https://h/a b", "h", "https://", "https://h:99999"),
        *("x" * 2001, "a/b", "a.b", "..", "\u00e4"),
        *(
            "http://h/x",
            "HTTPS://h",
            "http://127.0.0.9:80/x",
            "HTTP://LocalHost",
            "http://[::1]:9/x",
            "http://127.0.0.1.h",
        ),
    ]
)
values: st.SearchStrategy[Any] = st.none() | st.booleans() | numbers | texts | st.just([]) | st.just({}) | st.just([3])
# What words and lists a parameter takes, and what stands deeper, processes judge.
params = st.dictionaries(
    st.sampled_from(["top_p", "seed", "frequency_penalty", "temperature", "top_pp"]),
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, -2.5, "x", "0.5", [], {}]),
    max_size=3,
)
members = st.dictionaries(
    st.sampled_from([*MEMBERS, "api_base", "openai_api_base", "modle", "stream", "snowflake_user"]), values, max_size=4
)
entries = st.builds(
    lambda provider, rest: {"provider": provider, "model": "n", **rest}, st.sampled_from([*PROVIDERS, "opnai"]), members
)


def assert_whole(texts: Iterable[object]) -> None:
    """Fail where one of *texts*, each made of parts, shows that a part is missing."""
    assert [text for text in texts if HOLE.search(str(text))] == []


class TestTogether:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
    @given(config=st.dictionaries(st.sampled_from(plain), values, max_size=4))
    def test_both_judge_rows_alike(self, db: Session, config: dict[str, Any]) -> None:
        """Types, ranges, texts and URLs: one table says what is taken."""
        assert_alike(db, GOOD | config)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
    @given(config=entries | st.lists(entries | st.just(3), max_size=3))
    def test_both_judge_fallbacks_alike(self, db: Session, config: object) -> None:
        """Members that nobody knows, that do not fit, or that are missing."""
        assert_alike(db, GOOD | {"llm_fallback_config": config})

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
    @given(own=params, others=params)
    def test_both_judge_parameters_alike(self, db: Session, own: dict[str, Any], others: dict[str, Any]) -> None:
        """Those of the default, and of an entry: names, types, ranges."""
        assert_alike(db, GOOD | {"llm_params": own, "llm:fast": {"provider": "openai", "model": "m", "params": others}})

    def test_both_take_each_bound_and_nothing_beyond(self, db: Session) -> None:
        """Written 0.1, a bound is 0.1 for both."""
        bounded = [setting for setting in SETTINGS.values() if setting.kind in ("number", "integer")]
        for setting in bounded:
            step = 1 if setting.kind == "integer" else 0.001
            bounds = [bound for bound in (setting.low, setting.high) if bound is not None]
            for number in (round(bound + by, 3) for bound in bounds for by in (-step, 0, step)):
                config = GOOD | {setting.name: number}
                hints = [row["hint"] for row in rows(db, JUDGED, Jsonb(config))]
                assert hints == [p.hint for p in problems_of(config)]

    @pytest.mark.parametrize(
        ("config", "found"),
        [
            ({"llm_params": {"verbosity": 1}}, {("LR103", "settings.llm_params.verbosity")}),
            ({"llm_params": {"thinking": "yes"}}, {("LR103", "settings.llm_params.thinking")}),
            ({"llm_params": {"extra_body": []}}, {("LR103", "settings.llm_params.extra_body")}),
            ({"llm_params": {"stop": ["x"], "reasoning_effort": "low"}}, set()),
            ({"llm_modle": "m"}, {("LR106", "settings.llm_modle")}),
            ({"llm_top_p": 0.5}, {("LR106", "settings.llm_top_p")}),
            ({"lm_model": "m"}, {("LR106", "settings.lm_model")}),
            ({"LLM:fast": {"provider": "openai", "model": "m"}}, {("LR106", "settings.LLM:fast")}),
            ({"LiteLLM_new": 1}, {("LR106", "settings.LiteLLM_new")}),
            ({"LLMs": 1, "Vertex_x": 1}, set()),
            ({"theme": "dark", "billing.currency": "x"}, set()),
            ({"llm_fallback_config": []}, set()),
            ({"llm_fallback_config": [{"provider": "openai", "model": f"n{n}"} for n in range(21)]}, {("LR104", "")}),
            ({"llm_provider": "snowflake-cortex", "snowflake_user": "u"}, {("LR107", "settings.snowflake_user")}),
            ({"snowflake_user": "u"}, set()),
            ({"llm_provider": "snowflake-cortex", "snowflake_user": None}, {("LR107", "settings.snowflake_user")}),
            ({"llm_fallback_cofig": None}, {("LR106", "settings.llm_fallback_cofig")}),
            ({"llm:Bad": None, "llm:fast": None}, {("LR106", "settings.llm:Bad")}),
            ({"theme": None, "vertex": 1, "openai:x": {}}, set()),
        ],
    )
    def test_both_find_the_same_strangers(
        self, db: Session, config: dict[str, Any], found: set[tuple[str, str]]
    ) -> None:
        """Misspelt rows are told, other software's are not."""
        whole = GOOD | config
        told = by_database(db, whole)
        assert told == by_process(whole)
        assert {code for code, _ in told} == {code for code, _ in found}

    def test_table_is_filled_from_the_code(self, db: Session) -> None:
        """There is no second list."""
        found = rows(db, "SELECT scope, name FROM liverouter.setting_specs WHERE kind <> 'rejected'")
        assert {row["name"] for row in found if row["scope"] == "row"} == set(SETTINGS)
        assert {row["name"] for row in found if row["scope"] == "member"} == set(MEMBERS)
        assert {row["name"] for row in found if row["scope"] == "param"} == set(PARAMS)

    @pytest.mark.parametrize(
        ("name", "number"),
        [("llm_timeout", 0), ("llm_max_tokens", 10_000_001), ("llm_weight", 0), ("llm_temperature", 3)],
    )
    def test_both_say_bounds_as_they_are_written(self, db: Session, name: str, number: int) -> None:
        """0.1 has no 55 digits, and 10000000 is no 1e+07."""
        config = GOOD | {name: number}
        raw = Rows("e", 1, "c", datetime(2026, 11, 23, tzinfo=UTC), 0.0, config, {})
        (by_code,) = validate(raw, environment=KEYS, keyring=None).problems
        (told,) = rows(db, "SELECT hint FROM liverouter_internal.judge_settings(%s)", Jsonb(config))
        assert told["hint"] == by_code.hint


@on_both_servers
class TestProblems:
    def test_rows_are_judged_while_nobody_runs(self, db: Session) -> None:
        """Ill-typed, out of range, misspelt, unknown, with what to do; a process that runs the head knows better."""
        put(
            db,
            llm_provider="opnai",
            llm_model="m",
            llm_temperature="warm",
            litellm_num_retries=99,
            llm_modle="m",
            **{
                "llm:fast": {"provider": "antropic", "model": "m"},
                "llm:plan": {"provider": "openai", "model": "m", "temprature": 1},
                "llm:sum": "gpt-4o",
            },
        )
        found = rows(db, "SELECT code, object, hint FROM liverouter.problems WHERE code <> 'LR102'")
        assert {(row["code"], row["object"]) for row in found} == {
            ("LR101", "settings.llm_provider"),
            ("LR101", "settings.llm:fast.provider"),
            ("LR103", "settings.llm_temperature"),
            ("LR103", "settings.llm:sum"),
            ("LR104", "settings.litellm_num_retries"),
            ("LR106", "settings.llm_modle"),
            ("LR106", "settings.llm:plan.temprature"),
        }
        hints = {row["object"]: row["hint"] for row in found}
        assert hints["settings.llm_provider"] == "Did you mean 'openai'?"
        assert hints["settings.llm:fast.provider"] == "Did you mean 'anthropic'?"
        assert hints["settings.llm_modle"] == "Did you mean 'llm_model'?"
        assert hints["settings.llm:plan.temprature"] == "Did you mean 'temperature'?"
        assert hints["settings.litellm_num_retries"] == "Choose a number from 0 to 10"
        Process(db).applied(revision(db), deployments=[deployment("openai", "m")])
        told = rows(db, "SELECT code FROM liverouter.problems WHERE object LIKE 'settings.%%'")
        assert told == []

    def test_parameters_are_judged_by_the_table(self, db: Session) -> None:
        """Those of the default and of each name."""
        fast = {"provider": "openai", "model": "m", "params": {"top_p": 3, "stop": ["x"]}}
        config = GOOD | {"llm_params": {"top_pp": 1}, "llm:fast": fast}
        found = rows(
            db, "SELECT * FROM liverouter_internal.judge_settings(%s) WHERE object LIKE '%%.top_%%'", Jsonb(config)
        )
        assert {(row["code"], row["object"], row["hint"]) for row in found} == {
            ("LR106", "settings.llm_params.top_pp", "Did you mean 'top_p'?"),
            ("LR104", "settings.llm:fast.params.top_p", "Choose a number from 0 to 1"),
        }

    @pytest.mark.parametrize(
        "config",
        [
            {"llm_provider": "openai"},
            {"llm_model": "m"},
            {"llm_provider": "openai", "llm_model": ""},
            {"llm_provider": "openai", "llm_model": 3},
            {"llm_provider": "", "llm_model": ""},
            {"llm_provider": "anthropic", "llm_model": "m", "llm_fallback_config": {"provider": "openai"}},
            {"llm_provider": "anthropic", "llm_model": "m", "llm_fallback_config": [{}, {"provider": ""}]},
            {"llm:fast": {}, "llm:plan": {"provider": "openai", "model": ""}, "llm:": {}},
        ],
    )
    def test_text_has_no_hole_where_a_part_is_missing(self, db: Session, config: dict[str, Any]) -> None:
        """No ``openai/`` for want of a model; as a process says it, too."""
        put(db, **config)
        found = rows(db, "SELECT message, hint FROM liverouter.problems_detail")
        assert_whole(text for row in found for text in row.values())
        raw = Rows("e", 1, "c", datetime(2026, 11, 23, tzinfo=UTC), 0.0, config, {})
        told = validate(raw, environment=Environment({}), keyring=None).problems
        assert_whole(text for p in told for text in (p.message, p.hint))

    def test_secret_that_is_missing_is_told_of_what_there_is(self, db: Session) -> None:
        """Provider and model, or the provider alone."""
        said = "SELECT message FROM liverouter.problems_detail WHERE code = 'LR102'"
        put(db, llm_provider="openai")
        assert value(db, said) == "no secret for openai is stored"
        put(db, llm_model="gpt-4o")
        assert value(db, said) == "no secret for openai/gpt-4o is stored"

    @pytest.mark.parametrize(
        ("url", "code"),
        [
            ("http://hooks.example/x", "LR105"),
            ("http://127.0.0.1.example/x", "LR105"),
            ("ftp://hooks.example", "LR105"),
            (7, "LR103"),
            ("https://hooks.example/x", None),
            ("http://127.0.0.1:9/x", None),
            ("http://localhost/x", None),
        ],
    )
    def test_webhook_is_judged_by_the_same_table(self, db: Session, url: object, code: str | None) -> None:
        """As a warning, for no config waits for where its alerts go; `set_setting` refuses it at once."""
        put(db, **GOOD, llm_alert_webhook=url)
        found = rows(db, "SELECT severity, code, hint FROM liverouter.problems_detail WHERE object LIKE '%%webhook'")
        assert [(row["severity"], row["code"]) for row in found] == ([("warning", code)] if code else [])
        raw = Rows("e", 1, "c", datetime(2026, 11, 23, tzinfo=UTC), 0.0, GOOD | {"llm_alert_webhook": url}, {})
        judged = validate(raw, environment=KEYS, keyring=None)
        assert judged.snapshot is not None
        assert [(p.code, p.hint) for p in judged.problems] == [(row["code"], row["hint"]) for row in found]
        assert (judged.snapshot.alert_webhook is None) is bool(code)
        if code:
            with refused(code):
                value(db, "SELECT liverouter.set_setting('llm_alert_webhook', %s)", Jsonb(url))
        LEDGER.clear()  # what a process takes for a secret stands in the row itself

    def test_key_in_the_place_of_a_name_is_not_repeated(self, db: Session) -> None:
        """A member's name is a stranger's text."""
        key = "sk-Zx9QqPlainSecret77"
        entry = {"provider": "openai", "model": "m", key: 1}
        found = rows(db, "SELECT * FROM liverouter_internal.judge_settings(%s)", Jsonb(GOOD | {"llm:fast": entry}))
        assert [row["code"] for row in found] == ["LR106"]
        assert key not in str(found)


@on_both_servers
class TestSetSetting:
    def test_what_fits_is_stored_or_replaced(self, db: Session) -> None:
        """One call that inserts or updates, and returns the revision; the same again makes none."""
        put_one = "SELECT liverouter.set_setting(%s, %s)"
        assert value(db, put_one, "llm_temperature", Jsonb(0.2)) == 1
        assert value(db, put_one, "llm_temperature", Jsonb(0.3)) == 2
        assert value(db, put_one, "llm_temperature", Jsonb(0.3)) == 2
        assert value(db, put_one, "llm:fast", Jsonb({"provider": "openai", "model": "m", "fallbacks": None})) == 3
        assert value(db, put_one, "llm_temperature", Jsonb(None)) == 4

    @pytest.mark.parametrize(
        ("key", "given", "code", "said"),
        [
            ("llm_temperature", "warm", "LR103", "Write a number"),
            ("llm_temperature", 3, "LR104", "from 0 to 2"),
            ("llm_provider", "opnai", "LR101", "Did you mean 'openai'?"),
            ("openai_api_base", "gw", "LR105", "https://host/path"),
            ("snowflake_account", 7, "LR103", "quotes"),
            ("llm_modle", "m", "LR106", "Did you mean 'llm_model'?"),
            ("theme", "dark", "LR106", "setting_specs"),
            ("snowflake_user", "u", "LR107", "programmatic access token"),
            ("openai_api_key", "plain", "LR110", "liverouter set --secret openai_api_key"),
            ("llm_fallback_config", {"provider": "openai"}, "LR100", "model"),
            (
                "llm_fallback_config",
                [{"provider": "openai", "model": "m", "modle": 1}],
                "LR106",
                "Did you mean 'model'?",
            ),
            ("llm:fast", 5, "LR103", "provider"),
            ("llm:fast", {"provider": "opnai", "model": "m"}, "LR101", "Did you mean 'openai'?"),
            ("llm:fast", {"provider": "openai", "model": "m", "fallbacks": "x"}, "LR103", "a list of such"),
            ("llm:fast", {"provider": "openai", "model": "m", "order": 2}, "LR104", "order 1"),
            ("llm:Fast", {"provider": "openai", "model": "m"}, "LR106", "llm:fast"),
            ("llm:default", {"provider": "openai", "model": "m"}, "LR106", "another name"),
        ],
    )
    def test_what_no_process_would_take_is_refused_at_once(
        self, db: Session, key: str, given: object, code: str, said: str
    ) -> None:
        """With the problem's code and hint; a plain INSERT is stored."""
        with refused(code) as refusal:
            value(db, "SELECT liverouter.set_setting(%s, %s)", key, Jsonb(given))
        assert said in refusal.hint
        assert refusal.message.startswith(f"settings.{key}")
        assert revision(db) == 0

    @pytest.mark.parametrize(("key", "given"), [("llm_temperature", None), (None, "0.2"), (None, None)])
    def test_no_name_and_no_value_are_told(self, db: Session, key: str | None, given: str | None) -> None:
        """NULL is neither; the hint says how a setting is stored, and how it is taken out."""
        with refused("LR103") as refusal:
            value(db, "SELECT liverouter.set_setting(%s, %s)", key, given)
        assert refusal.message == f"settings.{key or ''}: NULL stands where a value belongs"
        assert "DELETE FROM liverouter.settings" in refusal.hint

    def test_writer_may_call_it_and_a_client_may_not(
        self, db: Session, login: Callable[..., str], connect: Callable[..., Session]
    ) -> None:
        """With the caller's own rights."""
        writer, client = (connect(login(f"liverouter_{role}")) for role in ("writer", "client"))
        assert value(writer, "SELECT liverouter.set_setting('llm_model', '\"m\"')") == revision(db) == 1
        with refused("42501"):
            value(client, "SELECT liverouter.set_setting('llm_model', '\"n\"')")
