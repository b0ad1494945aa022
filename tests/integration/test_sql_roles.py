"""What each role can do, and above all what it cannot."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from liverouter.errors import DatabaseError
from liverouter.postgres.migrate import downgrade, upgrade
from liverouter.providers import PROVIDERS
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, put, put_secret, rows, sealed, value
from tests.kit.views import VIEWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Session = psycopg.Connection[Any]
    Connect = Callable[..., Session]
    Login = Callable[..., str]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()

ROLES = ("liverouter_client", "liverouter_inspector", "liverouter_writer")
TABLES = (
    "alembic_version",
    "alert_turn",
    "alerts",
    "apply_log",
    "head",
    "member_providers",
    "probes",
    "processes",
    "providers",
    "report_quota",
    "retention",
    "revision_changes",
    "revision_log",
    "rollout_totals",
    "secrets",
    "setting_specs",
    "settings",
    "spent_envelopes",
    "usage_days",
    "usage_minutes",
)
FORBIDDEN_TO_ALL = [
    "UPDATE liverouter.head SET revision = 99",
    "DELETE FROM liverouter.head",
    "SELECT * FROM liverouter.revision_log",
    "UPDATE liverouter.revision_log SET comment = 'nothing happened'",
    "DELETE FROM liverouter.revision_log",
    "SELECT * FROM liverouter.processes",
    "UPDATE liverouter.processes SET state = 'live'",
    "INSERT INTO liverouter.apply_log VALUES (1, gen_random_uuid(), 'applied', 'live', now())",
    "DELETE FROM liverouter.usage_minutes",
    "UPDATE liverouter.providers SET takes_ambient = true",
    "DELETE FROM liverouter.providers",
    "SELECT * FROM liverouter_internal.fleet",
    "TRUNCATE liverouter.settings",
    "TRUNCATE liverouter.secrets",
    "ALTER TABLE liverouter.settings DISABLE TRIGGER ALL",
    "DROP TRIGGER d_bump_head ON liverouter.settings",
    "DROP TABLE liverouter.settings",
    "CREATE TABLE liverouter.mine (a int)",
    "CREATE OR REPLACE FUNCTION liverouter.epoch() RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$",
    "SELECT liverouter.prune()",
    "SELECT liverouter.install_roles()",
    "CREATE FUNCTION liverouter_internal.mine() RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$",
    "SELECT liverouter_internal.settings_content()",
    "SELECT liverouter_internal.secrets_content()",
    "SELECT liverouter_internal.add_usage(gen_random_uuid(), '[]', now())",
    "SELECT liverouter_internal.revision_of(0)",
    "SELECT liverouter_internal.use_role_prefix('mine')",
    "UPDATE liverouter.alembic_version SET version_num = 'x'",
]
FORBIDDEN = {
    "liverouter_client": [
        "INSERT INTO liverouter.settings (key, value) VALUES ('a', '1')",
        "UPDATE liverouter.settings SET value = '1'",
        "DELETE FROM liverouter.settings",
        "INSERT INTO liverouter.secrets (name, sealed, fingerprint) VALUES ('a', 'x', 'x')",
        "UPDATE liverouter.secrets SET sealed = 'x'",
        "DELETE FROM liverouter.secrets",
        "SELECT liverouter.begin_edit()",
        "SELECT liverouter.set_secret('a', 'x', 'x')",
        "SELECT liverouter.rollback(0)",
        "SELECT * FROM liverouter.revision_diff(0, 0)",
        *(f"SELECT * FROM liverouter.{view}" for view in VIEWS),
    ],
    "liverouter_writer": [
        "SELECT sealed FROM liverouter.secrets",
        "SELECT * FROM liverouter.secrets",
        "DELETE FROM liverouter.secrets RETURNING sealed",
        "UPDATE liverouter.secrets SET fingerprint = left(sealed, 8)",
        "UPDATE liverouter.secrets SET fingerprint = '00000000' WHERE sealed LIKE 'v1%'",
        "INSERT INTO liverouter.secrets (name, sealed) SELECT 'b', sealed FROM liverouter.secrets",
        "COPY liverouter.secrets TO STDOUT",
        "UPDATE liverouter.settings SET updated_by = 'somebody else'",
        "SELECT liverouter_internal.report('{}')",
        *(f"SELECT * FROM liverouter.{view}" for view in VIEWS),
    ],
    "liverouter_inspector": [
        "SELECT * FROM liverouter.settings",
        "SELECT * FROM liverouter.secrets",
        "SELECT * FROM liverouter.head",
        "INSERT INTO liverouter.settings (key, value) VALUES ('a', '1')",
        "DELETE FROM liverouter.instances",
        "UPDATE liverouter.usage SET calls = 0",
        "SELECT liverouter.begin_edit()",
        "SELECT liverouter.rollback(0)",
        "SELECT liverouter_internal.report('{}')",
    ],
}


@contextlib.contextmanager
def roles_hidden(admin: Session) -> Iterator[None]:
    """Have the server seem to lack our roles; what the block makes of them in *admin*'s database is dropped."""
    for role in ROLES:
        admin.execute(f"ALTER ROLE {role} RENAME TO {role}_hidden".encode())
    try:
        yield
    finally:
        for role in ROLES:
            if value(admin, "SELECT to_regrole(%s) IS NOT NULL", role):
                admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
            admin.execute(f"ALTER ROLE {role}_hidden RENAME TO {role}".encode())


class TestRights:
    @pytest.mark.parametrize("role", [*ROLES, ""])
    def test_what_a_role_is_not_given_is_refused(self, db: Session, connect: Connect, login: Login, role: str) -> None:
        """Each statement that is not the role's business fails for want of a right, and changes nothing."""
        put(db, a=1)
        put_secret(db, "openai_api_key")
        session = connect(login(*([role] if role else [])))
        mine = FORBIDDEN.get(role) or [s for more in FORBIDDEN.values() for s in more]
        for statement in [*FORBIDDEN_TO_ALL, *mine]:
            with pytest.raises(psycopg.Error) as caught:
                session.execute(statement.encode())
            # a view that cannot be written to is refused as such: 55000
            assert caught.value.sqlstate in ("42501", "55000"), f"{statement}: {caught.value}"
        assert value(db, "SELECT revision FROM liverouter.head") == 2

    def test_public_is_given_nothing(self, db: Session) -> None:
        """Not the schema, no table, no column, no function."""
        open_to_all = rows(
            db,
            """
            SELECT 'schema' AS object FROM pg_namespace n, aclexplode(n.nspacl) a
            WHERE n.nspname IN ('liverouter', 'liverouter_internal') AND a.grantee = 0
            UNION ALL
            SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a
            WHERE c.relnamespace = ANY ('{liverouter,liverouter_internal}'::regnamespace[]) AND a.grantee = 0
            UNION ALL
            SELECT p.proname FROM pg_proc p,
                aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            WHERE p.pronamespace = ANY ('{liverouter,liverouter_internal}'::regnamespace[]) AND a.grantee = 0
            """,
        )
        assert open_to_all == []

    @pytest.mark.parametrize("role", ROLES)
    def test_every_role_may_look_up_the_providers(self, connect: Connect, login: Login, role: str) -> None:
        """Which there are and how their secrets are named is no secret."""
        assert value(connect(login(role)), "SELECT count(*) FROM liverouter.providers") == len(PROVIDERS)

    def test_client_reads_and_reports(self, db: Session, connect: Connect, login: Login) -> None:
        """A service needs the config with its sealed secrets, and to say what it runs; it has that."""
        put(db, a=1)
        put_secret(db, "openai_api_key")
        client = connect(login("liverouter_client"))
        for statement in (
            "SELECT * FROM liverouter.settings",
            "SELECT * FROM liverouter.secrets",
            "SELECT * FROM liverouter.head",
            "SELECT liverouter.epoch()",
            "SELECT version_num FROM liverouter.alembic_version",
            "SELECT liverouter.serves('x')",
        ):
            assert len(rows(client, statement)) == 1
        process = Process(client)
        process.applied(2)
        assert value(client, "SELECT liverouter.wait_applied(2)") is True

    def test_writer_writes_settings_and_secrets_it_cannot_read_back(
        self, db: Session, connect: Connect, login: Login
    ) -> None:
        """Whoever changes settings stores secrets blindly, sees their fingerprints, and can go back."""
        writer = connect(login("liverouter_writer"))
        with writer.transaction():
            writer.execute(b"SELECT liverouter.begin_edit(0, 'ann', 'first')")
            put(writer, llm_provider="openai", llm_model="gpt-4o")
            put_secret(writer, "openai_api_key", "aaaaaaaa")
        assert value(writer, "SELECT liverouter.set_secret('openai_api_key', %s, 'bbbbbbbb')", sealed()) == 2
        writer.execute(b"UPDATE liverouter.settings SET value = '\"gpt-5\"' WHERE key = 'llm_model'")
        assert rows(writer, "SELECT name, fingerprint, updated_by FROM liverouter.secrets") == [
            {"name": "openai_api_key", "fingerprint": "bbbbbbbb", "updated_by": writer.info.user}
        ]
        assert value(writer, "SELECT count(*) FROM liverouter.revision_diff(1, 3)") == 2
        assert value(writer, "SELECT liverouter.rollback(1)") == 4
        writer.execute(b"DELETE FROM liverouter.secrets WHERE name = 'openai_api_key'")
        writer.execute(b"DELETE FROM liverouter.settings")
        assert value(db, "SELECT author_role FROM liverouter.revision_log WHERE revision = 4") == writer.info.user

    def test_inspector_reads_every_view(self, db: Session, connect: Connect, login: Login) -> None:
        """Who looks sees all that is to be seen, and waits for rollouts."""
        put(db, a=1)
        put_secret(db, "openai_api_key", envelope=sealed("0a1b2c3d"))
        Process(db).applied(2)
        inspector = connect(login("liverouter_inspector"))
        for view in VIEWS:
            rows(inspector, f"SELECT * FROM liverouter.{view}")
        assert value(inspector, "SELECT key_id FROM liverouter.secret_keys") == "0a1b2c3d"
        assert value(inspector, "SELECT count(*) FROM liverouter.revision_diff(0, 2)") == 2
        assert value(inspector, "SELECT liverouter.wait_applied(2)") is True

    def test_history_of_a_role_cannot_be_signed_as_another(self, connect: Connect, login: Login, db: Session) -> None:
        """The application's user is a claim; the login beside it is the truth, also after SET ROLE."""
        writer = connect(login("liverouter_writer"))
        with writer.transaction():
            writer.execute(b"SET LOCAL ROLE liverouter_writer")
            writer.execute(b"SELECT liverouter.begin_edit(NULL, 'the boss')")
            put(writer, a=1)
        (row,) = rows(db, "SELECT author, role FROM liverouter.revisions WHERE revision = 1")
        assert row == {"author": "the boss", "role": writer.info.user}

    def test_caller_cannot_smuggle_code_into_our_functions(self, db: Session, connect: Connect, login: Login) -> None:
        """A writer's own operators, first in its search_path, are never called with the owner's rights."""
        writer = connect(login("liverouter_writer"))
        user = writer.info.user
        db.execute(f"CREATE SCHEMA trap AUTHORIZATION {user}".encode())
        writer.execute(
            b"CREATE FUNCTION trap.eq(jsonb, jsonb) RETURNS boolean LANGUAGE plpgsql AS"
            b" $$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$;"
            b"CREATE OPERATOR trap.= (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = trap.eq);"
            b"SET search_path = trap, pg_catalog"
        )
        assert put(writer, a=1) == 1
        assert value(writer, "SELECT liverouter.rollback(0)") == 2
        writer.execute(b"RESET search_path; DROP SCHEMA trap CASCADE")


class TestInstall:
    def test_migration_without_the_right_to_create_roles_goes_on_and_prints_what_to_run(
        self, empty_dsn: str, login: Login
    ) -> None:
        """Where the roles are missing and may not be made, the schema is installed and the statements are printed."""
        owner = login()
        user = psycopg.conninfo.conninfo_to_dict(owner)["user"]
        name = psycopg.conninfo.conninfo_to_dict(empty_dsn)["dbname"]
        url = owner.rpartition("/")[0] + f"/{name}"
        with psycopg.connect(empty_dsn, autocommit=True) as admin:
            admin.execute(f'ALTER DATABASE "{name}" OWNER TO {user}'.encode())
            try:
                with roles_hidden(admin):
                    said: list[str] = []
                    upgrade(url, echo=said.append)
                    assert said[1:] == [
                        "CREATE ROLE liverouter_client NOLOGIN;",
                        "CREATE ROLE liverouter_writer NOLOGIN;",
                        "CREATE ROLE liverouter_inspector NOLOGIN;",
                        f"SET ROLE {user}; SELECT liverouter.install_roles(); RESET ROLE;",
                    ]
                    assert "may not create roles" in said[0]
                    for statement in said[1:]:
                        admin.execute(statement.encode())
                    with psycopg.connect(url, autocommit=True) as session:
                        assert value(session, "SELECT count(*) FROM liverouter.install_roles()") == 0
                        assert put(session, a=1) == 1
                        assert value(session, "SELECT liverouter.epoch()") == value(admin, "SELECT liverouter.epoch()")
                    query = "SELECT has_table_privilege('liverouter_client', 'liverouter.secrets', 'SELECT')"
                    assert value(admin, query) is True
            finally:
                admin.execute(f"REASSIGN OWNED BY {user} TO CURRENT_USER; DROP OWNED BY {user}".encode())
                admin.execute(f'ALTER DATABASE "{name}" OWNER TO CURRENT_USER'.encode())

    def test_migration_into_a_schema_of_the_administrator_says_what_he_has_to_grant(
        self, empty_dsn: str, login: Login
    ) -> None:
        """A role that may create nothing but tables in a schema made for it installs, and asks for what it lacks."""
        owner = login()
        user = psycopg.conninfo.conninfo_to_dict(owner)["user"]
        url = owner.rpartition("/")[0] + f"/{psycopg.conninfo.conninfo_to_dict(empty_dsn)['dbname']}"
        with psycopg.connect(empty_dsn, autocommit=True) as admin:
            admin.execute(f"CREATE SCHEMA liverouter; GRANT USAGE, CREATE ON SCHEMA liverouter TO {user}".encode())
            try:
                with pytest.raises(DatabaseError, match="may not create schema liverouter_internal") as refused:
                    upgrade(url)
                assert refused.value.code == "LR207"
                admin.execute(refused.value.hint.partition("Whoever may, runs: ")[2].encode())
                said: list[str] = []
                upgrade(url, echo=said.append)
                assert said[1:] == [
                    f"GRANT USAGE ON SCHEMA {schema} TO {role};"
                    for schema in ("liverouter", "liverouter_internal")
                    for role in ("liverouter_client", "liverouter_writer", "liverouter_inspector")
                ]
                for statement in said[1:]:
                    admin.execute(statement.encode())
                with psycopg.connect(url, autocommit=True) as session:
                    assert rows(session, "SELECT liverouter.install_roles()") == []
                    assert put(session, a=1) == 1
                admin.execute(b"SET ROLE liverouter_client")
                assert value(admin, "SELECT revision FROM liverouter.head") == 1
                admin.execute(b"RESET ROLE")
            finally:
                admin.execute(f"REASSIGN OWNED BY {user} TO CURRENT_USER; DROP OWNED BY {user}".encode())

    def test_downgrade_leaves_roles_that_other_databases_use(self, dsn: str, login: Login, connect: Connect) -> None:
        """Roles and their members belong to the server: they survive, and the next upgrade gives the rights again."""
        url = login("liverouter_client")
        downgrade(dsn, "base")
        with psycopg.connect(url) as session:
            member = "SELECT pg_has_role(current_user, 'liverouter_client', 'member')"
            assert value(session, member) is True
            assert value(session, "SELECT has_schema_privilege('liverouter', 'USAGE')") is False
        upgrade(dsn)
        assert value(connect(url), "SELECT revision FROM liverouter.head") == 0

    def test_install_roles_again_changes_nothing(self, db: Session) -> None:
        """It can be run at any time."""
        acls = (
            "SELECT array_agg(relacl::text ORDER BY oid) FROM pg_class WHERE relnamespace = 'liverouter'::regnamespace"
        )
        before = value(db, acls)
        assert rows(db, "SELECT * FROM liverouter.install_roles()") == []
        assert value(db, acls) == before

    def test_lists_above_name_every_table_and_view(self, db: Session) -> None:
        """A new table or view has to be given its place in these tests."""
        found = rows(
            db,
            "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'liverouter'::regnamespace"
            " AND relkind IN ('r', 'v') ORDER BY relname",
        )
        assert tuple(r["relname"] for r in found if r["relkind"] == "r") == TABLES
        assert tuple(r["relname"] for r in found if r["relkind"] == "v") == VIEWS
