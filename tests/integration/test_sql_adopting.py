"""The page "Adopt an existing settings table", run as it stands: one trigger mirrors the rows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit import pages
from tests.kit.sql import refused, revision, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]

SECTION = pages.section("# Adopt an existing settings table")
SAVE = b"""
    INSERT INTO app_settings VALUES (%s, %s, %s)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_by = excluded.changed_by
"""


@pytest.fixture
def product(db: Session, login: Callable[..., str], connect: Callable[..., Session]) -> Session:
    """A product's session: it owns its table, with rows from before, and may write liverouter's settings."""
    table, trigger = re.findall(r"```sql\n(.*?)```", SECTION, flags=re.DOTALL)
    session = connect(login("liverouter_writer"))
    db.execute(f"CREATE SCHEMA AUTHORIZATION {session.info.user}".encode())
    session.execute(table.encode())
    session.execute(SAVE, ["llm_provider", "openai", "ann"])
    session.execute(SAVE, ["theme", "dark", "ann"])
    session.execute(SAVE, ["openai_api_key", "sk-of-before-12345", "ann"])
    session.execute(trigger.encode())
    return session


def settings(db: Session) -> dict[str, Any]:
    """Return what is mirrored."""
    return {row["key"]: row["value"] for row in rows(db, "SELECT key, value FROM liverouter.settings")}


class TestAdopting:
    def test_rows_from_before_are_mirrored_and_others_never(self, db: Session, product: Session) -> None:
        """Once the trigger stands, what was there is there; themes and keys are not."""
        assert settings(db) == {"llm_provider": "openai"}
        assert value(product, "SELECT count(*) FROM app_settings") == 3

    def test_save_of_the_page_is_one_revision_signed_by_its_user(self, db: Session, product: Session) -> None:
        """Text becomes text, JSON becomes JSON, NULL becomes null, in the page's own transaction."""
        with product.transaction():
            product.execute(SAVE, ["llm_model", "gpt-4o", "bob"])
            product.execute(SAVE, ["llm_temperature", "0.2", "bob"])
            product.execute(SAVE, ["llm_fallback_config", '{"provider": "anthropic", "model": "claude"}', "bob"])
            product.execute(SAVE, ["llm_max_tokens", None, "bob"])
            product.execute(SAVE, ["theme", "light", "bob"])
        assert settings(db) == {
            "llm_provider": "openai",
            "llm_model": "gpt-4o",
            "llm_temperature": 0.2,
            "llm_fallback_config": {"provider": "anthropic", "model": "claude"},
            "llm_max_tokens": None,
        }
        (row,) = rows(db, "SELECT revision, author, role FROM liverouter.revisions ORDER BY revision DESC LIMIT 1")
        assert row == {"revision": 2, "author": "bob", "role": product.info.user}

    def test_named_models_are_mirrored_whatever_their_names(self, db: Session, product: Session) -> None:
        """The page makes, renames and removes them; no list has to name them."""
        fast = {"provider": "openai", "model": "gpt-4o-mini"}
        product.execute(SAVE, ["llm:fast", json.dumps(fast), "bob"])
        assert settings(db) == {"llm_provider": "openai", "llm:fast": fast}
        product.execute(b"UPDATE app_settings SET name = 'llm:quick' WHERE name = 'llm:fast'")
        assert settings(db) == {"llm_provider": "openai", "llm:quick": fast}
        product.execute(b"DELETE FROM app_settings WHERE name = 'llm:quick'")
        assert settings(db) == {"llm_provider": "openai"}

    def test_removed_and_renamed_rows_go(self, db: Session, product: Session) -> None:
        """The mirror has no row that the page has not."""
        product.execute(b"UPDATE app_settings SET name = 'llm_model' WHERE name = 'llm_provider'")
        assert settings(db) == {"llm_model": "openai"}
        product.execute(b"DELETE FROM app_settings")
        assert settings(db) == {}

    def test_save_that_is_rolled_back_changes_nothing(self, db: Session, product: Session) -> None:
        """The page's transaction decides."""
        before = revision(db)
        product.autocommit = False
        product.execute(SAVE, ["llm_model", "gpt-4o", "bob"])
        product.rollback()
        assert revision(db) == before

    def test_value_that_is_no_json_fails_the_save(self, db: Session, product: Session) -> None:
        """As the page says: PostgreSQL's own message, and nothing is stored on either side."""
        with refused("22P02"):
            product.execute(SAVE, ["llm_temperature", "warm", "bob"])
        assert settings(db) == {"llm_provider": "openai"}
