"""The database itself refuses plain secrets: in settings, in fallbacks, in URLs, and unsealed in secrets."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import hypothesis
import psutil
import pytest
from hypothesis import HealthCheck, given, strategies as st
from psycopg.types.json import Jsonb

from liverouter.config.plain_secrets import plain_secrets
from tests.kit.linear import VALUES, assert_linear
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, put_secret, refused, revision, rows, sealed, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()

MARK = "Zx9QqPlainSecret77"  # stands in every secret below, so that an echo of it is found
KEYS = {
    "anthropic": f"sk-ant-api03-{MARK}",
    "openai": f"sk-{MARK}",
    "openai project": f"sk-proj-{MARK}",
    "in a sentence": f"use sk-{MARK} for now",
    "programmatic access token": f"pat/{MARK}",
    "github": f"ghp_{MARK}abcdef",
    "google": f"AIza{MARK}abcdefghijklmnopq",
    "json web token": f"eyJhbGciOiJ9.{MARK}.sig",
    "authorization header": f"Bearer {MARK}",
    "private key": f"-----BEGIN PRIVATE KEY-----\n{MARK}",
    "rsa private key": f"-----BEGIN RSA PRIVATE KEY-----\n{MARK}",
    "service account": f'{{"type": "service_account", "private_key": "{MARK}"}}',
}
URLS = {
    "user and password": f"https://ann:{MARK}@llm.example/v1",
    "password alone": f"redis://:{MARK}@cache.example",
    "key in the query": f"https://llm.example/v1?api_key={MARK}",
    "token in the query": f"https://llm.example/v1?version=2&access_token={MARK}",
}
NAMES = [
    "anthropic_api_key",
    "openai_api_key",
    "azure_openai_api_key",
    "azure_openai_ad_token",
    "snowflake_token",
    "snowflake_password",
    "vertex_ai_credentials",
    "some_client_secret",
    "deploy_private_key",
    "OPENAI_API_KEY",
    "openai-api-key",
    "apiKey",
]


def values() -> st.SearchStrategy[Any]:
    """JSON in which keys, references and names of secrets stand about, whole and spoilt."""
    parts = [*KEYS.values(), *URLS.values(), *NAMES, "m", "a.b", "sk-", "://u:p@h", "?sig=1", "1" * 24, "-", " ", "\n"]
    text = st.lists(st.sampled_from(parts), max_size=3).map("".join)
    names = st.one_of(st.sampled_from(["secret", "model", "api_key", "max_token", *NAMES]), text)
    leaf = st.one_of(st.none(), st.booleans(), st.integers(0, 9), text)
    reference = st.one_of(st.sampled_from(["openai_api_key_2", "x"]), text).map(lambda name: {"secret": name})
    return st.recursive(
        st.one_of(leaf, reference),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
        max_leaves=6,
    )


class TestSettings:
    def test_row_named_like_a_secret_is_refused(self, db: Session) -> None:
        """Whatever its value: secrets are found by their name in liverouter.secrets, not through a row."""
        for key, shape in itertools.product(NAMES, [MARK, 5, {"a": MARK}, {"secret": "name"}]):
            with refused("23514") as refusal:
                put(db, **{key: shape})
            assert f"settings.{key}" in refusal.message
            assert "settings take no secrets" in refusal.message
            expected = "snowflake_token" if key == "snowflake_password" else key
            assert f"liverouter set --secret {expected}" in refusal.hint
            assert MARK not in refusal.everything
        assert revision(db) == 0

    def test_snowflake_password_is_told_what_cortex_takes_instead(self, db: Session) -> None:
        """Cortex takes no password: the hint names the token, at the top and inside a fallback."""
        for settings in (
            {"snowflake_password": MARK},
            {"llm_fallback_config": {"provider": "snowflake-cortex", "snowflake_password": MARK}},
        ):
            with refused("23514") as refusal:
                put(db, **settings)
            assert "Cortex takes no password" in refusal.hint
            assert "programmatic access token" in refusal.hint
            assert "liverouter set --secret snowflake_token" in refusal.hint

    def test_what_looks_like_a_key_is_refused_anywhere(self, db: Session) -> None:
        """A key pasted into any row, member, list or member's name is refused, and nobody repeats it."""
        for plain in KEYS.values():
            for value_ in (plain, {"model": plain}, ["a", plain], [{"a": [{"b": {"c": plain}}]}], {plain: 1}):
                with refused("23514") as refusal:
                    put(db, llm_model=value_)
                assert "looks like a key or a token" in refusal.message
                assert MARK not in refusal.everything

    def test_url_that_carries_a_secret_is_refused(self, db: Session) -> None:
        """Neither user:password@ nor a key in the query may stand in an endpoint."""
        for url in URLS.values():
            with refused("23514") as refusal:
                put(db, openai_api_base=url)
            assert "holds a URL with a password or a key in it" in refusal.message
            assert "out of the URL" in refusal.hint
            assert MARK not in refusal.everything

    def test_plain_secret_in_a_fallback_is_refused_with_its_place(self, db: Session) -> None:
        """A member named like a secret takes a reference and nothing else; the message says where, the hint how."""
        cases: list[tuple[str, object]] = [
            (".api_key", {"provider": "openai", "api_key": MARK}),
            ("[1].api_key", [{"provider": "openai"}, {"provider": "openai", "api_key": MARK}]),
            (".openai_api_key", {"openai_api_key": MARK}),
            (".ad_token", {"ad_token": MARK}),
            (".extra.headers[0].client_secret", {"extra": {"headers": [{"client_secret": MARK}]}}),
            (".api_key[0]", {"api_key": [MARK]}),
            (".api_key", {"api_key": {"value": MARK}}),
            (".api_key", {"api_key": {"secret": MARK, "note": "x"}}),
            (".api_key", {"api_key": {"secret": f"{MARK}abcdefgh"}}),
            (".secret", {"secret": MARK, "provider": "openai"}),
            (".credentials", {"credentials": {"type": "service_account"}}),
        ]
        for place, config in cases:
            with refused("23514") as refusal:
                put(db, llm_fallback_config=config)
            assert f"settings.llm_fallback_config{place} " in refusal.message
            assert '{"secret": "NAME"}' in refusal.hint
            assert MARK not in refusal.everything

    def test_honest_setting_is_taken(self, db: Session) -> None:
        """References, limits, prices and endpoints are no secrets."""
        honest: list[dict[str, object]] = [
            {"llm_provider": "anthropic", "llm_model": "claude-sonnet-4-6"},
            {"llm_model": "anthropic.claude-sonnet-4-6@20260101"},
            {"llm_model": "risk-sk-model-12345678"},
            {"llm_max_tokens": 4096},
            {"litellm_model_name": "ekaiX-model"},
            {"azure_openai_endpoint": "https://name.openai.azure.com/openai?api-version=2024-10-21"},
            {"openai_api_base": "http://127.0.0.1:8080/v1"},
            {"openai_api_base": "https://llm.example/users/ann@example.org"},
            {"openai_api_key": None},
            {"llm_fallback_config": None},
            {"llm_fallback_config": {"provider": "openai", "api_key": {"secret": "openai_api_key_2"}}},
            {"llm_fallback_config": [{"max_tokens": 5, "input_cost_per_token": 0.1, "api_key": None}]},
            {"llm_profile": {"max_input_tokens": 128000, "image_inputs": False}},
            {"other_software": {"theme": "dark", "pages": [1, 2, {"x": None}]}},
        ]
        for number, settings in enumerate(honest, start=1):
            assert put(db, **settings) == number

    @given(name=st.sampled_from([*NAMES, "llm_model", "llm_fallback_config"]), value=values())
    @hypothesis.settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_rule_is_known_before_a_write(self, db: Session, name: str, value: Any) -> None:
        """What the database will refuse, a check that writes nothing refuses as well, and nothing else."""
        query = b"SELECT place FROM liverouter_internal.plain_secret(%s, %s)"
        (place,) = db.execute(query, [name, Jsonb(value)]).fetchone() or (None,)
        places = [problem.where for problem in plain_secrets(name, value, "")]
        assert place in places if place is not None else places == []

    def test_key_that_no_shell_can_name_is_refused(self, db: Session) -> None:
        """A setting's key has 1 to 100 characters and no blanks."""
        for key in ("", "two words", "line\nbreak", "x" * 101):
            with refused("23514") as refusal:
                put(db, **{key: MARK})
            assert MARK not in refusal.everything

    def test_sql_null_is_refused_without_showing_the_row(self, db: Session) -> None:
        """JSON null is a value, SQL NULL is none; the hint says how to remove a setting."""
        with refused("23514") as refusal:
            db.execute(b"INSERT INTO liverouter.settings (key, value) VALUES ('a', NULL)")
        assert "delete its row" in refusal.hint

    def test_value_of_megabytes_is_refused(self, db: Session) -> None:
        """The history keeps every value for ever, so each has a bound."""
        assert put(db, a="x" * 90_000) == 1
        with refused("23514") as refusal:
            put(db, a="x" * 200_000)
        assert "xxx" not in refusal.everything

    def test_update_is_judged_like_an_insert(self, db: Session) -> None:
        """A secret does not slip in by changing a row that was honest, nor by renaming one."""
        put(db, llm_model="gpt-4o")
        with refused("23514"):
            db.execute(b"UPDATE liverouter.settings SET value = %s", [Jsonb(KEYS["openai"])])
        with refused("23514"):
            db.execute(b"UPDATE liverouter.settings SET key = 'openai_api_key'")
        assert revision(db) == 1


class TestReadable:
    @pytest.mark.parametrize("number", ["1e5000", "-1e5000", "1e309", '{"a": [1, {"b": 1e400}]}'])
    def test_number_that_no_reader_takes_is_refused(self, db: Session, number: str) -> None:
        """Any software may write here: one such row would keep every process from every later revision."""
        with refused("23514") as refusal:
            db.execute(b"INSERT INTO liverouter.settings (key, value) VALUES ('x', %s::text::jsonb)", [number])
        assert refusal.message == "the value of setting x holds a number beyond 1e308"
        assert "as text" in refusal.hint

    @pytest.mark.parametrize("number", ["1e308", "-1e308", "1e-5000", "0." + "3" * 5000, '"1e5000"', "2" * 300])
    def test_number_that_readers_take_is_stored(self, db: Session, number: str) -> None:
        """Long fractions and text that looks like a number do no harm."""
        db.execute(b"INSERT INTO liverouter.settings (key, value) VALUES ('x', %s::text::jsonb)", [number])
        assert value(db, "SELECT value IS NOT NULL FROM liverouter.settings") is True
        assert revision(db) == 1

    def test_depth_that_no_reader_takes_is_refused(self, db: Session) -> None:
        """A hundred levels are more than anybody needs; each Python stops somewhere else."""
        insert = b"INSERT INTO liverouter.settings (key, value) VALUES ('x', %s::text::jsonb)"
        for deep in ("[" * 101 + "]" * 101, '{"a":' * 100 + "5" + "}" * 100, "[" * 5000 + "]" * 5000):
            with refused("23514") as refusal:
                db.execute(insert, [deep])
            assert refusal.message == "the value of setting x is nested more than 100 levels deep"
        db.execute(insert, ["[" * 100 + "]" * 100])
        assert revision(db) == 1


class TestTime:
    @pytest.fixture
    def clock(self, db: Session) -> Callable[[], float]:
        """Seconds of CPU that this session's server process has spent."""
        try:
            backend = psutil.Process(db.info.backend_pid)
        except psutil.NoSuchProcess:
            pytest.skip("the server of LIVEROUTER_TEST_DSN runs elsewhere")
        return lambda: sum(backend.cpu_times()[:2])

    @pytest.mark.parametrize("kind", VALUES)
    def test_value_is_judged_in_linear_time(self, db: Session, clock: Callable[[], float], kind: str) -> None:
        """Whoever may write may write the worst, and writers wait for each other."""
        query = b"SELECT place FROM liverouter_internal.plain_secret('llm_profile', %s)"
        assert_linear(
            lambda value: db.execute(query, [value]), lambda n: Jsonb(VALUES[kind](n)), clock=clock, floor_s=0.2
        )

    def test_rules_agree_on_what_is_worst(self, db: Session) -> None:
        """Long names, long paths, long texts: what the database refuses, and where, is known before."""
        query = b"SELECT place FROM liverouter_internal.plain_secret('llm_profile', %s)"
        spoilt = [*(make(1_500) for make in VALUES.values()), {"n" * 300: {"token": ["x"]}}, {"a" * 40: "://u:p@h"}]
        deep: Any = {"api_key": "x"}
        for _ in range(20):
            deep = {"k" * 40: deep}
        for value_ in (*spoilt, deep):
            (place,) = db.execute(query, [Jsonb(value_)]).fetchone() or (None,)
            places = [problem.where for problem in plain_secrets("llm_profile", value_, "")]
            assert place in places if place is not None else places == []
            assert place is None or len(place) <= 200

    def test_key_behind_a_hundred_thousand_characters_is_found(self, db: Session) -> None:
        """Time is saved by reading once, not by reading less."""
        for unit in ("?", "a ", "&a=", "://a/", "eyJ.", "-----BEGIN A"):
            for secret in (f"sk-{MARK}", f" https://u:{MARK}@h", f"?token={MARK}"):
                with refused("23514") as refusal:
                    put(db, llm_model=unit * (99_000 // len(unit)) + " " + secret)
                assert "settings take no secrets" in refusal.message
                assert MARK not in refusal.everything


class TestSecrets:
    def test_plain_text_is_refused_with_the_way_to_seal_it(self, db: Session) -> None:
        """A credential put there by hand is refused, not stored readable, and not repeated."""
        broken = f"v1:0a1b2c3d:{'A' * 16}:{MARK}"
        for plain in (MARK, KEYS["anthropic"], "", f"v1:{MARK}", f"v2:0a1b2c3d:{'A' * 16}:{'A' * 30}", broken):
            with refused("23514") as refusal:
                db.execute(b"INSERT INTO liverouter.secrets VALUES ('openai_api_key', %s, '12345678')", [plain])
            assert "secrets.openai_api_key is not sealed" in refusal.message
            assert "liverouter set --secret openai_api_key" in refusal.hint
            assert MARK not in refusal.everything

    def test_fingerprint_that_could_hold_a_secret_is_refused(self, db: Session) -> None:
        """Views show the fingerprint, so it is eight hex digits and no more."""
        for fingerprint in ("", "1234567", "123456789", "1234567g", MARK):
            with refused("23514") as refusal:
                put_secret(db, "openai_api_key", fingerprint)
            assert MARK not in refusal.everything

    def test_name_that_is_none_is_refused(self, db: Session) -> None:
        """A secret's name is shown everywhere: it has the shape of a setting's, and is no key by mistake."""
        for name in ("", "1st", "two words", KEYS["openai"], "x" * 64):
            with refused("23514") as refusal:
                put_secret(db, name)
            assert MARK not in refusal.everything

    def test_key_id_comes_from_the_envelope(self, db: Session) -> None:
        """Which key sealed a secret cannot be misstated: it is generated."""
        put_secret(db, "openai_api_key", envelope=sealed("deadbeef"))
        assert value(db, "SELECT key_id FROM liverouter.secrets") == "deadbeef"
        with refused("428C9"):
            db.execute(b"UPDATE liverouter.secrets SET key_id = '00000000'")

    def test_refused_statement_leaves_the_rest_of_its_transaction_undone(self, db: Session) -> None:
        """One plain secret among good rows: nothing of that statement is stored."""
        with refused("23514"):
            put(db, llm_provider="openai", openai_api_key=MARK)
        assert rows(db, "SELECT * FROM liverouter.settings") == []
        assert revision(db) == 0
