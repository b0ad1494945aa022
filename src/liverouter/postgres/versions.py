"""The versions of schema `liverouter`: which there are, which this code works with, and what another one means."""

from __future__ import annotations

from typing import Final

from liverouter.errors import DatabaseError

SCHEMA: Final = "liverouter"
# Every schema that this code can migrate from, oldest first. It works with the last one.
REVISIONS: Final = (
    "0001_config",
    "0002_fleet",
    "0003_roles",
    "0004_origins",
    "0005_reports",
    "0006_plain_secrets",
    "0007_providers",
    "0008_native",
    "0009_aging",
    "0010_names",
    "0012_health",
    "0014_goodbye",
    "0015_psql",
    "0016_roles",
    "0017_in_force",
    "0018_vendors",
    "0019_turns",
    "0020_words",
    "0021_judges",
    "0022_alike",
)
HEAD: Final = REVISIONS[-1]
# What the names of a database's roles begin with: by a function's text, which a login without any right can read, too.
ROLE_PREFIX: Final = """coalesce((
    SELECT substring(p.prosrc FROM '[a-z0-9_]+(?='' )') FROM pg_proc p
    WHERE p.proname = 'role_prefix' AND p.pronamespace = to_regnamespace('liverouter_internal')), 'liverouter')"""


def mismatch(found: str | None, where: str = "database") -> DatabaseError:
    """Return the error for a database whose schema revision is *found*, None for none, instead of HEAD."""
    if found is None:
        return DatabaseError(
            f"schema {SCHEMA} is not installed in this database",
            code="LR204",
            where=where,
            hint="Run `liverouter migrate` as the owner of the database",
        )
    if found in REVISIONS:
        return DatabaseError(
            f"the database's schema is {found}, this liverouter needs {HEAD}",
            code="LR206",
            where=where,
            hint="Run `liverouter migrate`: running processes of the version before go on working",
        )
    return DatabaseError(
        f"the database's schema is {found}, which this liverouter ({HEAD}) does not know",
        code="LR205",
        where=where,
        hint="Upgrade liverouter here: somebody migrated with a newer one",
    )
