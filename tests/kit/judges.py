"""The two judges of rows: a process that has keys, and the database, which sees the rows alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg.types.json import Jsonb

from liverouter.config.environment import Environment
from liverouter.config.validate import validate
from liverouter.revision import Rows
from tests.kit.sql import rows

if TYPE_CHECKING:
    import psycopg

    from liverouter.errors import Problem

    Session = psycopg.Connection[Any]

GOOD: Final = {"llm_provider": "openai", "llm_model": "gpt-4o"}
KEYS: Final = Environment({"OPENAI_API_KEY": "k1", "ANTHROPIC_API_KEY": "k2", "AZURE_OPENAI_API_KEY": "k3"})
JUDGED: Final = "SELECT code, object, hint FROM liverouter_internal.judge_settings(%s)"
# What the database can see of rows alone.
_SEEN: Final = frozenset(
    {
        *("LR100", "LR101", "LR103", "LR104", "LR105", "LR106", "LR107", "LR108"),
        *("LR110", "LR112", "LR116"),
    }
)


def problems_of(config: dict[str, Any]) -> list[Problem]:
    """Return what a process with keys says of rows, but for what a provider needs: that may be the environment's."""
    raw = Rows("e", 1, "c", datetime(2026, 11, 23, tzinfo=UTC), 0.0, config, {})
    found = validate(raw, environment=KEYS, keyring=None).problems
    return [p for p in found if p.code in _SEEN and " needs " not in p.message]


def by_process(config: dict[str, Any]) -> set[tuple[str, str]]:
    """Return code and place of what a process with keys says of rows."""
    return {(p.code, p.where) for p in problems_of(config)}


def by_database(db: Session, config: dict[str, Any]) -> set[tuple[str, str]]:
    """Return code and place of what the database says of rows."""
    found = rows(db, JUDGED, Jsonb(config))
    return {(row["code"], row["object"]) for row in found}


def assert_alike(db: Session, config: dict[str, Any]) -> None:
    """Fail where one takes rows that the other refuses, or the database keeps back what a process says.

    It may say more at once: a process looks no further at a deployment that it cannot make.
    """
    told, said = by_database(db, config), by_process(config)
    assert said <= told
    assert bool(said) == bool(told)
