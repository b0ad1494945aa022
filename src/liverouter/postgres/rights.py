"""The roles of this database: what they are called, what they lack, as after a restore, and who else they belong to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from liverouter.errors import DatabaseError
from liverouter.postgres.versions import ROLE_PREFIX

if TYPE_CHECKING:
    from sqlalchemy import Connection

_PREFIX: Final = re.compile(r"(?!pg_)[a-z][a-z0-9_]{0,52}")  # a role name has 63 characters at most; pg_… are reserved
_HELD: Final = text("""
    WITH ours (schema) AS (SELECT n.oid FROM pg_namespace n WHERE n.nspname IN ('liverouter', 'liverouter_internal'))
    SELECT format('%s: %s on %s', r.rolname, x.privilege_type, a.object)
    FROM (
        SELECT c.relname::text, c.relacl FROM pg_class c JOIN ours o ON o.schema = c.relnamespace
        UNION ALL
        SELECT format('%s.%s', c.relname, t.attname), t.attacl
        FROM pg_class c JOIN ours o ON o.schema = c.relnamespace JOIN pg_attribute t ON t.attrelid = c.oid
        UNION ALL
        SELECT p.oid::regprocedure::text, p.proacl FROM pg_proc p JOIN ours o ON o.schema = p.pronamespace
        UNION ALL
        SELECT 'schema ' || n.nspname, n.nspacl FROM pg_namespace n JOIN ours o ON o.schema = n.oid) a (object, acl)
    CROSS JOIN LATERAL aclexplode(a.acl) x
    JOIN pg_roles r ON r.oid = x.grantee AND r.rolname = ANY (:roles)
    UNION ALL
    SELECT format('role %s', r.rolname) FROM pg_roles r WHERE r.rolname = ANY (:roles)
""")
# Rights that a role has in another database stand in what all databases of a server share.
_SHARED: Final = text("""
    SELECT string_agg(DISTINCT d.datname, ', ' ORDER BY d.datname) AS databases,
           string_agg(DISTINCT m.rolname, ', ' ORDER BY m.rolname) AS logins
    FROM pg_roles r
    JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
    JOIN pg_database d ON d.oid = s.dbid AND d.datname <> current_database()
    JOIN pg_auth_members a ON a.roleid = r.oid
    JOIN pg_roles m ON m.oid = a.member AND NOT m.rolsuper AND m.rolname <> current_user
    WHERE r.rolname = ANY (:roles)
      AND has_database_privilege(m.oid, d.oid, 'CONNECT')
      AND has_database_privilege(m.oid, current_database(), 'CONNECT')
    HAVING count(*) > 0
""")
_MOST_NAMED: Final = 5


def roles(prefix: str) -> list[str]:
    """Return what the roles are called whose names begin with *prefix*."""
    return [f"{prefix}_{kind}" for kind in ("client", "writer", "inspector")]


def use_prefix(connection: Connection, prefix: str) -> list[str]:
    """Have this database's roles begin with *prefix* from now on; `restore_rights` makes them.

    Those of before lose their rights here. Returns the statements that are left for somebody else: their members'.

    Raises:
        DatabaseError: no role can be called so, or the schema cannot remember it yet (LR215).
    """
    if not _PREFIX.fullmatch(prefix):
        raise DatabaseError(
            f"no role can be called {prefix!r} and more",
            code="LR215",
            where="database",
            hint="Small letters, digits and _, a letter first but not pg_, 53 characters at most: --role-prefix shop",
        )
    if connection.scalar(text("SELECT to_regproc('liverouter_internal.use_role_prefix')")) is None:
        raise DatabaseError(
            "this revision of the schema has the roles liverouter_client, liverouter_writer and liverouter_inspector",
            code="LR215",
            where="database",
            hint="Migrate to the newest one",
        )
    return list(connection.scalars(text("SELECT liverouter_internal.use_role_prefix(:prefix)"), {"prefix": prefix}))


def restore_rights(connection: Connection) -> tuple[list[str], list[str]]:
    """Make the roles and give them what they lack; return that in words, and the statements left for somebody else.

    `liverouter.install_roles()` is the one list of what they have. A caller that only looks rolls back.
    """
    before = _held(connection)
    statements = list(connection.scalars(text("SELECT liverouter.install_roles()")))
    return sorted(_held(connection) - before), statements


def lacking(lacked: list[str], statements: list[str]) -> DatabaseError:
    """Return the error for roles that lack *lacked*, or for which somebody has to run *statements* (LR207)."""
    if statements:
        return DatabaseError(
            "roles of liverouter are missing, or lack a right",
            code="LR207",
            where="database",
            hint=f"Whoever may create roles runs: {' '.join(statements)}",
        )
    more = f" and {len(lacked) - _MOST_NAMED} more" if len(lacked) > _MOST_NAMED else ""
    return DatabaseError(
        f"roles of liverouter lack rights: {', '.join(lacked[:_MOST_NAMED])}{more}",
        code="LR207",
        where="database",
        hint="Run `liverouter migrate` as the owner of the database: it restores them",
    )


def shared(connection: Connection) -> DatabaseError | None:
    """Return the warning that other databases of the server share the roles (LR216), by which logins; None for none."""
    found = connection.execute(_SHARED, {"roles": roles(_prefix(connection))}).one_or_none()
    if found is None:
        return None
    return DatabaseError(
        f"the roles are those of database {found.databases} as well: what {found.logins} may do there, it may do here",
        code="LR216",
        where="database",
        hint="For roles of its own: liverouter migrate --role-prefix NAME",
    )


def _prefix(connection: Connection) -> str:
    """Return what the names of this database's roles begin with."""
    return str(connection.scalar(text(f"SELECT {ROLE_PREFIX}")))


def _held(connection: Connection) -> set[str]:
    """Return which roles there are, and each right that one holds."""
    return set(connection.scalars(_HELD, {"roles": roles(_prefix(connection))}))
