"""The database binds secrets as Python does, and a migration binds what was stored before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from hypothesis import HealthCheck, given, settings, strategies as st
from psycopg.types.json import Jsonb

from liverouter.config.draft import origins_in_force
from liverouter.postgres import migrate
from liverouter.providers import OWNERS, PROVIDERS
from liverouter.secrecy.origins import origin_of
from tests.kit.sql import put, revision, rows, sealed, value

if TYPE_CHECKING:
    Session = psycopg.Connection[Any]

FORMER = "0003_roles"
PIECES = st.sampled_from(
    [
        *"/\\@:#?.[]%& \t",
        "https://",
        "HTTP://",
        "gw.internal",
        "127.0.0.1",
        "[::1]",
        "443",
        "0",
        "99999",
        "\u017f",
        "\u212a",
    ]
)
urls = st.lists(PIECES, max_size=7).map("".join) | st.sampled_from(
    ["https://gw.internal:8443/v1", "http://h:80", "", None, 7]
)
bases = [spec.base.name for spec in PROVIDERS.values()]
references = st.builds(lambda name: {"secret": name}, st.sampled_from([*OWNERS, "team"])) | st.sampled_from(
    ["x", None, 3]
)
members = st.sampled_from(["api_base", *bases]).flatmap(lambda name: st.tuples(st.just(name), urls)) | st.sampled_from(
    ["api_key", "ad_token", *OWNERS]
).flatmap(lambda name: st.tuples(st.just(name), references))
providers = st.sampled_from([*PROVIDERS, " openai ", "opnai", None, 3])
MODELS: list[Any] = [
    "groq/m",
    " openrouter/a/b ",
    "bedrock/m",
    "bedrock",
    "cohere/m",
    "",
    None,
    3,
    ["groq/m"],
    "\u2003gemini/m",
]
REGIONS: list[Any] = [
    "eu-west-1",
    " cn-north-1 ",
    "EU-1",
    "evil.example/",
    "x@evil",
    "\u212a",
    "",
    "a" * 64,
    None,
    3,
    {},
]
models, regions = st.sampled_from(MODELS), st.sampled_from(REGIONS)
held: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {}, optional={"api_base": urls, "aws_region_name": regions, "api_key": references, "aws_access_key_id": references}
) | st.sampled_from([None, 3, "x", []])
entries = st.builds(
    lambda provider, model, held, rest: {"provider": provider, "model": model, "litellm_params": held, **dict(rest)},
    providers | st.just("litellm"),
    models,
    held,
    st.lists(members, max_size=3),
)
fallbacks = entries | st.lists(entries | st.sampled_from([None, 3, "x"]), max_size=3) | st.sampled_from([None, 3, "x"])
configs = st.builds(
    lambda rows, primary, config: {**rows, **primary, "llm_fallback_config": config},
    st.dictionaries(st.sampled_from(bases), urls, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "llm_provider": providers | st.just("litellm"),
            "llm_model": models,
            "litellm_params": held,
            "llm:fast": st.builds(lambda entry, config: entry | {"fallbacks": config}, entries, fallbacks),
        },
    ),
    fallbacks,
)


class TestTogether:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
    @given(config=configs, name=st.sampled_from([*OWNERS, "team", "x"]))
    def test_both_say_the_same_of_where_rows_send_a_secret(
        self, db: Session, config: dict[str, Any], name: str
    ) -> None:
        """What the command line binds a secret to, psql binds it to as well."""
        found = value(db, "SELECT liverouter_internal.origins_in_force(%s, %s)", Jsonb(config), name)
        assert found == list(origins_in_force(config, name))

    def test_both_say_the_same_of_where_a_vendor_is(self, db: Session) -> None:
        """By the model and the region, in rows, entries and names, whoever names the provider."""
        asked = [("team", model, "eu-west-1") for model in MODELS] + [
            ("team", "bedrock/m", region) for region in REGIONS
        ]
        places: list[dict[str, Any]] = []
        for name, model, region in [*asked, ("openai_api_key", "groq/m", None)]:
            params = {"api_key": {"secret": name}, "aws_region_name": region}
            entry = {"provider": " litellm", "model": model, "litellm_params": params}
            places += [
                {"llm_model": model, "litellm_params": params},
                {"llm_provider": "litellm", "llm_model": model, "litellm_params": params},
                {"llm:fast": {"provider": "openai", "model": "m", "fallbacks": [entry]}},
            ]
        query = """
            SELECT jsonb_agg(liverouter_internal.origins_in_force(p, %s) ORDER BY at)
            FROM jsonb_array_elements(%s) WITH ORDINALITY e (p, at)"""
        team = [[*origins_in_force(place, "team")] for place in places]
        assert value(db, query, "team", Jsonb(places)) == team
        assert ["https://api.groq.com"] in team
        assert value(db, query, "openai_api_key", Jsonb(places[-3:])) == [[], [], []]
        assert [origins_in_force(place, "openai_api_key") for place in places[-3:]] == [(), (), ()]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
    @given(url=st.lists(PIECES, max_size=8).map("".join))
    def test_both_read_a_url_alike(self, db: Session, url: str) -> None:
        """An origin is the same in both, or neither finds one."""
        assert (value(db, "SELECT liverouter_internal.origin_of(%s)", url) or "") == origin_of(url)


class TestMigration:
    def test_what_is_stored_is_bound_to_what_is_in_force(self, empty_dsn: str) -> None:
        """Every revision's secrets to that revision's addresses; it makes no revision, and stamps nothing anew."""
        migrate.upgrade(empty_dsn, FORMER)
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            put(db, openai_api_base="https://old.internal/v1")
            old = _store(db, "openai_api_key")
            first = revision(db)
            put(db, openai_api_base="https://new.internal/v1")
            new = _store(db, "openai_api_key")
            _store(db, "anthropic_api_key")
            stamps = rows(db, "SELECT name, updated_at, updated_by FROM liverouter.secrets ORDER BY 1")
            head = rows(db, "SELECT * FROM liverouter.head")
            migrate.upgrade(empty_dsn)
            assert rows(db, "SELECT * FROM liverouter.head") == head
            assert rows(db, "SELECT name, updated_at, updated_by FROM liverouter.secrets ORDER BY 1") == stamps
            assert _origins(db) == {"openai_api_key": (new, ["https://new.internal"]), "anthropic_api_key": (_any, [])}
            db.execute(b"SELECT liverouter.rollback(%s)", [first])
            assert _origins(db) == {"openai_api_key": (old, ["https://old.internal"])}

    def test_clients_of_the_version_before_go_on_writing(self, db: Session) -> None:
        """Their three arguments store a key as before; it is bound to the rows."""
        put(db, openai_api_base="https://gw.internal/v1")
        envelope = _store(db, "openai_api_key")
        assert _origins(db) == {"openai_api_key": (envelope, ["https://gw.internal"])}
        assert value(db, "SELECT liverouter.serves(%s)", FORMER) is True

    def test_vendor_s_key_is_bound_to_the_vendors_that_it_went_to(self, empty_dsn: str) -> None:
        """Now and in each revision: the head serves on, a rollback serves as it did, and nobody else has the key."""
        migrate.upgrade(empty_dsn, "0017_in_force")
        groq, openrouter = (
            {"llm_provider": "litellm", "llm_model": model, "litellm_params": {"api_key": {"secret": "team"}}}
            for model in ("groq/m", "openrouter/m")
        )
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            db.execute(
                b"INSERT INTO liverouter.providers VALUES ('litellm', '', '{}', '{}', 'api_base', 'api_base', true)"
            )
            db.execute(
                b"INSERT INTO liverouter.providers VALUES ('openai', '', '{openai_api_key}', '{x}', 'b', '', false)"
            )
            team, own = _store(db, "team"), _store(db, "openai_api_key")
            evil = {"model": "xai/m", "api_key": {"secret": "openai_api_key"}, "api_base": "https://evil.example"}
            put(db, **groq, llm_fallback_config={"provider": "litellm", "model": "xai/m", "litellm_params": evil})
            first = revision(db)
            put(db, **openrouter)
            head = rows(db, "SELECT * FROM liverouter.head")
            assert _origins(db) == {"team": (team, []), "openai_api_key": (own, [])}
            migrate.upgrade(empty_dsn)
            assert rows(db, "SELECT * FROM liverouter.head") == head
            both = ["https://api.groq.com", "https://openrouter.ai"]
            assert _origins(db) == {"team": (team, both), "openai_api_key": (own, [])}
            db.execute(b"SELECT liverouter.rollback(%s)", [first])
            assert _origins(db) == {"team": (team, both), "openai_api_key": (own, [])}
            assert value(db, "SELECT count(*) FROM liverouter.problems WHERE code = 'LR214'") == 0
            db.execute(b"DELETE FROM liverouter.secrets")
            db.execute(b"SELECT liverouter.rollback(%s)", [first])
            assert _origins(db) == {"team": (team, both), "openai_api_key": (own, [])}

    def test_way_back_leaves_rows_and_history_as_they_were(self, empty_dsn: str) -> None:
        """Down and up again."""
        migrate.upgrade(empty_dsn, FORMER)
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            put(db, openai_api_base="https://gw.internal/v1")
            _store(db, "openai_api_key")
            before = rows(db, "SELECT * FROM liverouter.revision_log ORDER BY revision")
            migrate.upgrade(empty_dsn)
            migrate.downgrade(empty_dsn, FORMER)
            assert rows(db, "SELECT * FROM liverouter.revision_log ORDER BY revision") == before
            assert _store(db, "openai_api_key")


class _Anything:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


_any = _Anything()


def _store(db: Session, name: str) -> str:
    """Store a sealed value as *name* by the function of the version before, and return the envelope."""
    envelope = sealed()
    db.execute(b"SELECT liverouter.set_secret(%s, %s, '12345678')", [name, envelope])
    return envelope


def _origins(db: Session) -> dict[str, Any]:
    """Return each secret's envelope and origins by name."""
    return {r["name"]: (r["sealed"], r["origins"]) for r in rows(db, "SELECT * FROM liverouter.secrets")}
