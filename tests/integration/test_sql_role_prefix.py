"""Roles belong to the whole server: a database can have its own, and hears where another one shares them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from liverouter.errors import DatabaseError
from liverouter.postgres import migrate
from liverouter.postgres.repository import SettingsRepository
from liverouter.postgres.versions import HEAD
from tests.kit import patience
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Session = psycopg.Connection[Any]
    Login = Callable[..., str]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()
patient = patience.patient

KINDS = ("client", "writer", "inspector")
GRANTED = """
    SELECT DISTINCT r.rolname FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.relnamespace = 'liverouter'::regnamespace AND r.oid <> c.relowner ORDER BY 1
"""


def named(prefix: str) -> list[str]:
    """Return what the roles are called, as sorted by name."""
    return sorted(f"{prefix}_{kind}" for kind in KINDS)


def granted(url: str) -> list[str]:
    """Return which roles have a right on a table or view in the database at *url*."""
    with psycopg.connect(url) as db:
        return [row["rolname"] for row in rows(db, GRANTED)]


def elsewhere(login: str, url: str) -> str:
    """Return the DSN of *login* for the database at *url*."""
    return f"{login.rpartition('/')[0]}/{conninfo_to_dict(url)['dbname']}"


@pytest.fixture
def prefix(server: Any, empty_dsn: str) -> Iterator[str]:
    """A name that no role of the server begins with; what is called so is dropped in the end."""
    name = f"shop{secrets.token_hex(3)}"
    yield name
    for url in (empty_dsn, server.admin_dsn):
        with psycopg.connect(url, autocommit=True) as db:
            for role in named(name):
                if value(db, "SELECT to_regrole(%s) IS NOT NULL", role):
                    db.execute(f"DROP OWNED BY {role}".encode())
    with psycopg.connect(server.admin_dsn, autocommit=True) as db:
        for role in named(name):
            db.execute(f"DROP ROLE IF EXISTS {role}".encode())


class TestPrefix:
    def test_database_has_roles_of_its_own_and_remembers_them(
        self, empty_dsn: str, prefix: str, shell: Callable[..., Any]
    ) -> None:
        """From the first migration on, none of another name gets a right; what they lose is seen and restored."""
        found = shell("migrate", "--role-prefix", prefix, "--database-url", empty_dsn)
        assert (found.code, found.err) == (0, "")
        assert granted(empty_dsn) == named(prefix)
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            db.execute(f"REVOKE SELECT ON liverouter.head FROM {prefix}_client".encode())
        found = shell("migrate", "--check", "--database-url", empty_dsn)
        assert (found.code, f"{prefix}_client: SELECT on head" in found.err) == (1, True)
        found = shell("migrate", "--database-url", empty_dsn)
        assert f"restored what roles lacked: {prefix}_client: SELECT on head" in found.err
        assert shell("migrate", "--check", "--database-url", empty_dsn).code == 0
        assert granted(empty_dsn) == named(prefix)

    async def test_login_of_the_roles_works_and_one_of_others_is_told_which_it_needs(
        self, empty_dsn: str, prefix: str, login: Login
    ) -> None:
        """Also where the login may not even look into the schema."""
        migrate.upgrade(empty_dsn, role_prefix=prefix)
        ours = SettingsRepository(url=elsewhere(login(f"{prefix}_client", f"{prefix}_writer"), empty_dsn))
        theirs = SettingsRepository(url=elsewhere(login("liverouter_client", "liverouter_writer"), empty_dsn))
        try:
            assert await ours.write({"llm_model": "m"}) == 1
            assert (await ours.read()).settings == {"llm_model": "m"}
            with pytest.raises(DatabaseError, match="lacks a right") as caught:
                await theirs.read()
        finally:
            await ours.close()
            await theirs.close()
        assert caught.value.hint.startswith(f"GRANT {prefix}_client TO services, {prefix}_writer TO who changes")

    def test_roles_of_before_lose_their_rights_and_their_members_are_named(
        self, empty_dsn: str, prefix: str, login: Login
    ) -> None:
        """As on a database that shares them with the rest of the server: the way out of it."""
        migrate.upgrade(empty_dsn)
        assert granted(empty_dsn) == named("liverouter")
        service = elsewhere(login("liverouter_client"), empty_dsn)
        said: list[str] = []
        migrate.upgrade(empty_dsn, role_prefix=prefix, echo=said.append)
        assert granted(empty_dsn) == named(prefix)
        grant = f"GRANT {prefix}_client TO {conninfo_to_dict(service)['user']};"
        assert said[-1] == grant
        with psycopg.connect(service) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(b"SELECT * FROM liverouter.head")
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            db.execute(grant.encode())
            assert put(db, llm_model="m") == 1
        with psycopg.connect(service) as db:
            assert value(db, "SELECT revision FROM liverouter.head") == 1

    def test_way_back_gives_the_common_names_again(self, empty_dsn: str, prefix: str) -> None:
        """An older schema knows no others."""
        migrate.upgrade(empty_dsn, role_prefix=prefix)
        migrate.downgrade(empty_dsn, "0015_psql", echo=lambda _: None)
        assert granted(empty_dsn) == named("liverouter")
        with pytest.raises(DatabaseError, match="this revision of the schema") as caught:
            migrate.upgrade(empty_dsn, "0015_psql", role_prefix=prefix)
        assert caught.value.code == "LR215"
        assert migrate.upgrade(empty_dsn, role_prefix=prefix) == HEAD
        assert granted(empty_dsn) == named(prefix)

    def test_name_that_no_role_can_have_is_refused(self, dsn: str) -> None:
        """Before anything is changed."""
        for name in ("", "Shop", "1shop", 'a"b', "a b", "a" * 54, "shop'; --", "shop\n", "pg_shop"):
            with pytest.raises(DatabaseError) as caught:
                migrate.upgrade(dsn, role_prefix=name)
            assert caught.value.code == "LR215", name
        assert granted(dsn) == named("liverouter")


class TestShared:
    def test_database_that_shares_its_roles_is_told_of_who_comes_from_there(
        self, empty_dsn: str, dsn: str, prefix: str, login: Login, shell: Callable[..., Any]
    ) -> None:
        """By migrate and by its check; not where nobody is a member, and not with roles of its own."""
        migrate.upgrade(empty_dsn)
        check = ("migrate", "--check", "--database-url", empty_dsn)
        assert shell(*check).err == ""
        user = conninfo_to_dict(login("liverouter_writer"))["user"]
        for run in (check, ("migrate", "--database-url", empty_dsn)):
            found = shell(*run)
            assert found.code == 0
            assert "warning: the roles are those of database " in found.err
            assert str(conninfo_to_dict(dsn)["dbname"]) in found.err
            assert f"what {user} may do there, it may do here [LR216" in found.err
        migrate.upgrade(empty_dsn, role_prefix=prefix, echo=lambda _: None)
        assert shell(*check).err == ""
