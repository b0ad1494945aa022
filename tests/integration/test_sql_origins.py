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
entries = st.builds(
    lambda provider, rest: {"provider": provider, "model": "m", **dict(rest)},
    providers,
    st.lists(members, max_size=4),
)
configs = st.builds(
    lambda rows, primary, config: {**rows, **primary, "llm_fallback_config": config},
    st.dictionaries(st.sampled_from(bases), urls, max_size=3),
    st.fixed_dictionaries({}, optional={"llm_provider": providers}),
    entries | st.lists(entries | st.sampled_from([None, 3, "x"]), max_size=3) | st.sampled_from([None, 3, "x"]),
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

    def test_clients_of_the_version_before_go_on_writing(self, empty_dsn: str) -> None:
        """Their three arguments store a key as before; it is bound to the rows."""
        migrate.upgrade(empty_dsn)
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            put(db, openai_api_base="https://gw.internal/v1")
            envelope = _store(db, "openai_api_key")
            assert _origins(db) == {"openai_api_key": (envelope, ["https://gw.internal"])}
            assert value(db, "SELECT liverouter.serves(%s)", FORMER) is True

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
