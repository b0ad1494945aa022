"""Who may write settings may not read keys: a login with `liverouter_writer` alone against a fleet that holds keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter import LiveRouter
from liverouter.config.draft import origins_in_force
from liverouter.events import ConfigApplied, ConfigRejected
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key, seal
from liverouter.testing import EventLog, StandIn
from tests.kit import patience
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, refused, revision, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()
patient = patience.patient

EVIL: Final = "https://evil.example"
KEY: Final = "sk-the-fleet-s-own-key"
# What an admin stored, who has the keyring; the writer has not.
STORED: Final = {"openai_api_key": KEY, "anthropic_api_key": "sk-ant-stored", "team": "sk-team"}
# Rows by which a writer would like to have a key, a file or the environment sent to an address of his own.
ATTACKS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("LR111", {"openai_api_base": f"{EVIL}/v1"}),
    ("LR111", {"openai_api_base": "http://api.openai.com/v1"}),
    ("LR111", {"openai_api_base": "https://api.openai.com.evil.example/v1"}),
    ("LR105", {"openai_api_base": "https://api.openai.com\\@evil.example/v1"}),
    ("LR111", {"llm_fallback_config": {"provider": "openai", "model": "m", "api_base": EVIL}}),
    (
        "LR111",
        {"llm_fallback_config": {"provider": "openai", "model": "m", "api_base": EVIL, "api_key": {"secret": "team"}}},
    ),
    (
        "LR111",
        {"llm_fallback_config": {"provider": "anthropic", "model": "m", "api_key": {"secret": "openai_api_key"}}},
    ),
    ("LR111", {"llm_provider": "anthropic", "anthropic_api_base": EVIL}),
    ("LR111", {"llm_provider": "azure-openai", "azure_openai_endpoint": EVIL}),
    ("LR111", {"llm_provider": "vertex-ai", "vertex_ai_project_id": "p", "vertex_ai_api_base": EVIL}),
    ("LR104", {"llm_provider": "vertex-ai", "vertex_ai_project_id": "p", "vertex_ai_location": "evil.example/"}),
    ("LR104", {"llm_provider": "snowflake-cortex", "snowflake_account": "evil.example#"}),
    ("LR112", {"azure_openai_api_version": "os.environ/LIVEROUTER_ADMIN_TOKEN"}),
    ("LR112", {"azure_openai_api_version": "oidc/file//etc/passwd"}),
    ("LR112", {"llm_model": "os.environ/LIVEROUTER_SECRET_KEYS"}),
    ("LR112", {"litellm_model_name": "os.environ/HOME"}),
    *(
        ("LR102", {"llm_fallback_config": {"provider": "openai", "model": "m", "api_key": {"secret": name}}})
        for name in ("stripe_secret_key", "aws_web_identity_token", "keys", "liverouter_secret_keys", "admin_token")
    ),
)


@pytest.fixture
def ring() -> str:
    """The fleet's keyring, as text."""
    return generate_key()


@pytest.fixture
def writer(connect: Callable[..., Session], login: Callable[..., str]) -> Session:
    """The attacker's session."""
    return connect(login("liverouter_writer"))


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """Every stand-in knows one key."""
    return {"accept_keys": [KEY]}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fleet's processes have in their environment, and no row may read."""
    file = tmp_path / "token"
    file.write_text("content-of-a-file")
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk-of-the-application")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("LIVEROUTER_ADMIN_TOKEN", "the-daemon-s-own-token")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-of-the-environment")
    monkeypatch.setenv("SNOWFLAKE_TOKEN", "snowflake-of-the-environment")


def store(db: Session, ring: str) -> None:
    """Store the fleet's keys, as an admin does."""
    keyring = Keyring.from_text(ring)
    for name, text in STORED.items():
        mark = fingerprint(Secret(text))
        db.execute(b"SELECT liverouter.set_secret(%s, %s, %s)", [name, seal(name, Secret(text), keyring), mark])


class TestRows:
    @pytest.mark.usefixtures("environment")
    def test_no_row_gets_a_key_out_of_a_fleet(
        self, db: Session, dsn: str, ring: str, writer: Session, openai: StandIn
    ) -> None:
        """Each is rejected whole, by its code; calls go on with the last-known-good, and no other request is made."""
        store(db, ring)
        good = {"llm_provider": "openai", "llm_model": "gpt-4o", "openai_api_base": openai.api_base}
        events = EventLog()
        with LiveRouter(database_url=dsn, secret_keys=ring, observers=(events,)) as live:
            applied = put(writer, **good)
            events.wait_for(ConfigApplied, revision=applied)
            for code, attack in ATTACKS:
                with writer.transaction():
                    writer.execute(b"DELETE FROM liverouter.settings WHERE NOT key = ANY (%s)", [list(good)])
                    bad = put(writer, **(good | attack))
                said = events.wait_for(ConfigRejected, revision=bad)
                assert code in {problem.code for problem in said.problems}, attack
                assert not any(
                    text in str(said) for text in (*STORED.values(), "content-of", "of-the-app", "own-token")
                )
                assert live.chat_model().invoke("hi").response_metadata["liverouter"]["revision"] == applied
        assert {request.headers["authorization"] for request in openai.requests} == {f"Bearer {KEY}"}
        assert len(openai.requests) == len(ATTACKS)


class TestStatements:
    def test_no_statement_binds_a_stored_key_anew(self, db: Session, ring: str, writer: Session) -> None:
        """Neither the column, nor an upsert, nor a base put first and the binding renewed after it."""
        store(db, ring)
        put(writer, openai_api_base=EVIL)
        before = rows(db, "SELECT * FROM liverouter.secrets")
        for statement in (
            f"UPDATE liverouter.secrets SET origins = '{{{EVIL}}}'",
            "UPDATE liverouter.secrets SET origins = NULL WHERE name = 'openai_api_key'",
            f"UPDATE liverouter.secrets SET origins = origins || '{EVIL}'::text WHERE name = 'team'",
            "UPDATE liverouter.secrets SET fingerprint = '00000000'",
            "UPDATE liverouter.secrets SET name = 'other' WHERE name = 'team'",
        ):
            with refused("23514") as refusal:
                writer.execute(statement.encode())
            assert "--for" in refusal.hint
        assert rows(db, "SELECT * FROM liverouter.secrets") == before

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT sealed FROM liverouter.secrets",
            "SELECT s FROM liverouter.secrets s",
            "UPDATE liverouter.secrets SET fingerprint = fingerprint RETURNING sealed",
            "UPDATE liverouter.secrets SET sealed = sealed",
            "INSERT INTO liverouter.secrets (name, sealed, fingerprint) SELECT 'x', sealed, '' FROM liverouter.secrets",
            "COPY liverouter.secrets TO STDOUT",
            "SELECT sealed FROM liverouter.revision_log",
            "SELECT liverouter_internal.secrets_content()",
            "ALTER TABLE liverouter.secrets DISABLE TRIGGER USER",
            "CREATE TRIGGER z BEFORE INSERT ON liverouter.secrets EXECUTE FUNCTION liverouter_internal.stamp_row()",
            "SET session_replication_role = replica",
        ],
    )
    def test_nothing_sealed_is_readable_and_no_trigger_is_in_his_hands(
        self, db: Session, ring: str, writer: Session, statement: str
    ) -> None:
        """All of it is refused for want of a right."""
        store(db, ring)
        with refused("42501"):
            writer.execute(statement.encode())

    def test_way_back_brings_back_the_old_binding(self, db: Session, ring: str, writer: Session) -> None:
        """Deleting a key and rolling back does not bind it to the base that stands there meanwhile."""
        put(writer, openai_api_base="https://gateway.internal/v1")
        store(db, ring)
        stored = revision(db)
        writer.execute(b"DELETE FROM liverouter.secrets")
        put(writer, openai_api_base=EVIL)
        writer.execute(b"SELECT liverouter.rollback(%s)", [stored])
        found = value(db, "SELECT origins FROM liverouter.secrets WHERE name = 'openai_api_key'")
        assert found == ["https://gateway.internal"]

    def test_who_can_read_the_envelope_cannot_store_it_for_elsewhere(
        self, db: Session, ring: str, connect: Callable[..., Session], login: Callable[..., str]
    ) -> None:
        """A login that may read sealed values and write them has no key: an envelope once stored stays bound."""
        store(db, ring)
        both = connect(login("liverouter_writer", "liverouter_client"))
        (row,) = rows(both, "SELECT name, sealed, fingerprint FROM liverouter.secrets WHERE name = 'openai_api_key'")
        both.execute(b"DELETE FROM liverouter.secrets WHERE name = 'openai_api_key'")
        with refused("23514"):
            both.execute(b"SELECT liverouter.set_secret(%s, %s, %s, %s)", [*row.values(), [EVIL]])
        put(both, openai_api_base=EVIL)
        with refused("23514"):
            both.execute(b"SELECT liverouter.set_secret(%s, %s, %s)", [*row.values()])

    @pytest.mark.parametrize(
        "origin", ["evil", "https://evil.example/path", "https://EVIL.example", "ftp://x", "", None]
    )
    def test_binding_is_an_origin_or_nothing(self, writer: Session, ring: str, origin: str | None) -> None:
        """What is no scheme, host and port as processes read them is refused, and nothing is stored."""
        envelope = seal("team", Secret("x"), Keyring.from_text(ring))
        with refused("23514"):
            writer.execute(b"SELECT liverouter.set_secret('team', %s, '12345678', %s)", [envelope, [origin]])
        assert value(writer, "SELECT count(*) FROM liverouter.secrets") == 0


class TestBinding:
    def test_key_stored_by_sql_is_bound_to_the_rows_in_force(self, db: Session, ring: str, writer: Session) -> None:
        """Base URLs of rows and of entries that use it; the same as Python says of a draft."""
        entry = {
            "provider": "openai",
            "model": "m",
            "api_base": "http://10.0.0.7:8000/v1",
            "api_key": {"secret": "team"},
        }
        settings = {"openai_api_base": "https://Gateway.internal:443/v1", "llm_fallback_config": [entry]}
        put(writer, **settings)
        store(db, ring)
        found = {r["name"]: r["origins"] for r in rows(writer, "SELECT name, origins FROM liverouter.secrets")}
        assert found == {
            "openai_api_key": ["https://gateway.internal"],
            "anthropic_api_key": [],
            "team": ["http://10.0.0.7:8000"],
        }
        assert {name: list(origins_in_force(settings, name)) for name in STORED} == found

    def test_history_says_when_a_binding_changed(self, db: Session, ring: str) -> None:
        """The same key stored for another address differs in its origins alone."""
        store(db, ring)
        first = revision(db)
        mark = fingerprint(Secret(KEY))
        again = seal("openai_api_key", Secret(KEY), Keyring.from_text(ring))
        db.execute(
            b"SELECT liverouter.set_secret('openai_api_key', %s, %s, %s)", [again, mark, ["https://gw.internal"]]
        )
        (change,) = rows(db, "SELECT * FROM liverouter.revision_diff(%s, %s)", first, revision(db))
        assert (change["object"], change["key"]) == ("origins", "openai_api_key")
        assert (change["old"], change["new"]) == ([], ["https://gw.internal"])
