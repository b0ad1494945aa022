"""The way back: what changed between two revisions, and restoring one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, put_secret, refused, revision, rows, sealed, value

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()

CONTENT = """
    SELECT (SELECT jsonb_object_agg(key, value) FROM liverouter.settings) AS settings,
           (SELECT jsonb_object_agg(name, sealed || fingerprint) FROM liverouter.secrets) AS secrets
"""


class TestRollback:
    def test_rollback_restores_settings_and_secrets_as_a_new_revision(self, db: Session) -> None:
        """Changed rows are changed back, new ones go, removed ones come again, secrets included."""
        put(db, llm_provider="openai", llm_model="gpt-4o", litellm_enable=True)
        put_secret(db, "openai_api_key", "aaaaaaaa")
        good = put_secret(db, "gone_later", "bbbbbbbb")
        before = rows(db, CONTENT)
        put(db, llm_model="typo", llm_temperature=0.2)
        db.execute(b"DELETE FROM liverouter.settings WHERE key = 'litellm_enable'")
        db.execute(b"DELETE FROM liverouter.secrets WHERE name = 'gone_later'")
        put_secret(db, "openai_api_key", "cccccccc")
        last = put_secret(db, "new_one")
        assert value(db, "SELECT liverouter.rollback(%s, 'the new key is wrong')", good) == last + 1
        assert rows(db, CONTENT) == before
        (row,) = rows(db, "SELECT kind, comment FROM liverouter.revisions ORDER BY revision DESC LIMIT 1")
        assert row == {"kind": "rollback", "comment": "the new key is wrong"}

    def test_rollback_is_one_revision_and_one_notification(self, db: Session) -> None:
        """Restoring many rows is one change, and everybody is told of it as of any other."""
        put(db, a=1, b=1)
        put(db, a=2, b=2, c=2)
        db.execute(b"LISTEN liverouter")
        assert value(db, "SELECT liverouter.rollback(1)") == 3
        assert [n.payload for n in db.notifies(timeout=0)] == ["3"]
        assert (
            value(db, "SELECT comment FROM liverouter.revisions ORDER BY revision DESC LIMIT 1") == "back to revision 1"
        )

    def test_rollback_to_what_is_there_already_makes_no_revision(self, db: Session) -> None:
        """Where nothing differs the head is returned, and it stays an edit."""
        put(db, a=1)
        put(db, a=2)
        put(db, a=1)
        assert value(db, "SELECT liverouter.rollback(1)") == 3
        assert revision(db) == 3
        assert value(db, "SELECT kind FROM liverouter.revisions ORDER BY revision DESC LIMIT 1") == "edit"

    def test_rollback_can_be_undone(self, db: Session) -> None:
        """The revision before the rollback is as good a goal as any."""
        put(db, a=1)
        put(db, a=2)
        db.execute(b"SELECT liverouter.rollback(1)")
        assert value(db, "SELECT liverouter.rollback(2)") == 4
        assert value(db, "SELECT value FROM liverouter.settings") == 2

    def test_rollback_to_the_beginning_empties_everything(self, db: Session) -> None:
        """Revision 0 is the empty config."""
        put(db, a=1)
        put_secret(db, "x")
        db.execute(b"SELECT liverouter.rollback(0)")
        assert rows(db, CONTENT) == [{"settings": None, "secrets": None}]

    def test_unknown_revision_is_refused_and_says_which_there_are(self, db: Session) -> None:
        """A number that never was, and NULL, change nothing."""
        put(db, a=1)
        for number in (7, -1, None):
            with refused("LR213") as refusal:
                db.execute(b"SELECT liverouter.rollback(%s)", [number])
            assert "0 to 1" in refusal.hint
        assert revision(db) == 1


class TestDiff:
    def test_diff_lists_settings_and_secrets_that_differ(self, db: Session) -> None:
        """Added, changed and removed rows, NULL for not there, JSON null as itself."""
        put(db, kept=1, changed="a", removed=True)
        put(db, changed="b", added=None)
        db.execute(b"DELETE FROM liverouter.settings WHERE key = 'removed'")
        assert rows(db, "SELECT object, key, old, new, new IS NULL AS gone FROM liverouter.revision_diff(1, 3)") == [
            {"object": "setting", "key": "added", "old": None, "new": None, "gone": False},
            {"object": "setting", "key": "changed", "old": "a", "new": "b", "gone": False},
            {"object": "setting", "key": "removed", "old": True, "new": None, "gone": True},
        ]

    def test_diff_shows_fingerprints_and_never_a_sealed_value(self, db: Session) -> None:
        """Two keys are told apart, and neither shows."""
        envelopes = [sealed(), sealed()]
        put_secret(db, "openai_api_key", "aaaaaaaa", envelopes[0])
        put_secret(db, "openai_api_key", "bbbbbbbb", envelopes[1])
        diff = rows(db, "SELECT * FROM liverouter.revision_diff(1, 2)")
        assert diff == [{"object": "secret", "key": "openai_api_key", "old": "aaaaaaaa", "new": "bbbbbbbb"}]

    def test_secret_sealed_anew_is_no_difference(self, db: Session) -> None:
        """The same credential under another nonce or key serves the same."""
        put_secret(db, "openai_api_key", "aaaaaaaa")
        put_secret(db, "openai_api_key", "aaaaaaaa")
        assert revision(db) == 2
        assert rows(db, "SELECT * FROM liverouter.revision_diff(1, 2)") == []

    def test_diff_works_backwards_and_with_itself(self, db: Session) -> None:
        """From newer to older swaps old and new."""
        put(db, a=1)
        put(db, a=2)
        assert rows(db, "SELECT key, old, new FROM liverouter.revision_diff(2, 1)") == [
            {"key": "a", "old": 2, "new": 1}
        ]
        assert rows(db, "SELECT * FROM liverouter.revision_diff(2, 2)") == []

    def test_diff_with_an_unknown_revision_is_refused(self, db: Session) -> None:
        """A typo in the number is an error, not an empty answer."""
        with refused("LR213"):
            db.execute(b"SELECT * FROM liverouter.revision_diff(0, 9)")


class TestRevisionsView:
    def test_revisions_say_who_changed_what(self, db: Session) -> None:
        """Newest first, with the names of the settings and secrets that changed and no value of theirs."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        with db.transaction():
            db.execute(b"SELECT liverouter.begin_edit(1, 'ann', 'try the new one')")
            put(db, llm_model="gpt-5")
            put_secret(db, "openai_api_key")
        found = rows(
            db, "SELECT revision, author, kind, changed, comment, role FROM liverouter.revisions ORDER BY 1 DESC"
        )
        me = db.info.user
        assert found == [
            {
                "revision": 2,
                "author": "ann",
                "kind": "edit",
                "changed": "llm_model, secret openai_api_key",
                "comment": "try the new one",
                "role": me,
            },
            {
                "revision": 1,
                "author": me,
                "kind": "edit",
                "changed": "llm_model, llm_provider",
                "comment": None,
                "role": me,
            },
            {
                "revision": 0,
                "author": me,
                "kind": "edit",
                "changed": None,
                "comment": "empty: the schema was installed",
                "role": me,
            },
        ]
