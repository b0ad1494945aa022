"""Rows that a login cannot see, or that have to be there and are not: an error, and never an empty config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from liverouter.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable

# In `statements.READ`: whether row-level security may hide a row of the config. Without it, this costs next to nothing.
GUARDED: Final = " OR ".join(
    f"row_security_active('liverouter.{table}')" for table in ("settings", "secrets", "head", "providers")
)
# The tables of which it does: no policy shows every row to this login, or another one holds some back.
HIDDEN: Final = """
    SELECT t.name FROM unnest('{alembic_version,head,providers,secrets,settings}'::text[]) t (name)
    CROSS JOIN LATERAL (
        SELECT bool_or(p.polpermissive AND pg_get_expr(p.polqual, p.polrelid) = 'true') AS shows_all,
               bool_or(NOT p.polpermissive) AS holds_back
        FROM pg_policy p
        WHERE p.polrelid = to_regclass('liverouter.' || t.name) AND p.polcmd IN ('r', '*')
          AND EXISTS (SELECT FROM unnest(p.polroles) r WHERE r = 0 OR pg_has_role(r, 'USAGE'))) policies
    WHERE row_security_active('liverouter.' || t.name) AND (shows_all IS NOT true OR holds_back)
"""
RESTORE_HEAD: Final = (
    "INSERT INTO liverouter.head (revision, change_id, committed_at, xid, xact_at) "
    "SELECT revision, change_id, committed_at, 0, committed_at FROM liverouter.revision_log "
    "ORDER BY revision DESC LIMIT 1"
)


def hidden(tables: Iterable[str], where: str = "database") -> DatabaseError:
    """Return the error for *tables* of schema liverouter of which row-level security hides rows (LR207)."""
    names = sorted(tables)
    return DatabaseError(
        f"row-level security hides rows of {', '.join(f'liverouter.{name}' for name in names)} from this login",
        code="LR207",
        where=where,
        hint="As the owner: " + show_all(names),
    )


def show_all(tables: Iterable[str]) -> str:
    """Return the statements by which row-level security hides nothing of *tables*; their rights guard them already."""
    return " ".join(f"ALTER TABLE liverouter.{name} DISABLE ROW LEVEL SECURITY;" for name in tables)


def no_head(where: str = "database") -> DatabaseError:
    """Return the error for a table `head` that has lost its row (LR208)."""
    return DatabaseError(
        "liverouter.head has lost its row", code="LR208", where=where, hint=f"As the owner: {RESTORE_HEAD}"
    )
