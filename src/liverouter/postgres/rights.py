"""What the roles of schema `liverouter` lack: after a restore into another server, or a REVOKE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from liverouter.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ROLES: Final = ("liverouter_client", "liverouter_writer", "liverouter_inspector")
_HELD: Final = text("""
    SELECT format('%s: %s on %s', r.rolname, x.privilege_type, a.object)
    FROM (
        SELECT c.relname::text, c.relacl FROM pg_class c WHERE c.relnamespace = 'liverouter'::regnamespace
        UNION ALL
        SELECT format('%s.%s', c.relname, t.attname), t.attacl
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid WHERE c.relnamespace = 'liverouter'::regnamespace
        UNION ALL
        SELECT p.oid::regprocedure::text, p.proacl FROM pg_proc p WHERE p.pronamespace = 'liverouter'::regnamespace
        UNION ALL
        SELECT 'schema liverouter', n.nspacl FROM pg_namespace n WHERE n.nspname = 'liverouter') a (object, acl)
    CROSS JOIN LATERAL aclexplode(a.acl) x
    JOIN pg_roles r ON r.oid = x.grantee AND r.rolname = ANY (:roles)
    UNION ALL
    SELECT format('role %s', r.rolname) FROM pg_roles r WHERE r.rolname = ANY (:roles)
""")
_MOST_NAMED: Final = 5


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


def _held(connection: Connection) -> set[str]:
    """Return which roles there are, and each right that one holds."""
    return set(connection.scalars(_HELD, {"roles": list(_ROLES)}))
