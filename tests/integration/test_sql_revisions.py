"""Every change of settings and secrets makes one revision, in commit order, whoever writes and however."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, put_secret, refused, revision, rows, sealed, value

if TYPE_CHECKING:
    from collections.abc import Callable

    Session = psycopg.Connection[Any]
    Connect = Callable[..., Session]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()

SET = b"UPDATE liverouter.settings SET value = %s WHERE key = %s"
HAS_MERGE = 150_000


def log(db: Session, number: int) -> dict[str, Any]:
    """Return one row of the history."""
    (row,) = rows(db, "SELECT * FROM liverouter.revision_log WHERE revision = %s", number)
    return row


def waiting_for_a_lock(db: Session, session: Session) -> bool:
    """Tell whether *session* waits for somebody's lock."""
    query = "SELECT wait_event_type IS NOT DISTINCT FROM 'Lock' FROM pg_stat_activity WHERE pid = %s"
    return bool(value(db, query, session.info.backend_pid))


class InBackground:
    """A statement that runs in a thread, because it waits."""

    def __init__(self, work: Callable[[], object]) -> None:
        """Start *work*."""
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except psycopg.Error as exc:
            self.error = exc

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join(60)
        assert not self._thread.is_alive()


class TestBump:
    def test_migrated_database_starts_at_revision_zero_with_an_empty_history(self, db: Session) -> None:
        """Before anybody wrote, the head is 0 and the history holds its empty content to go back to."""
        assert revision(db) == 0
        assert rows(db, "SELECT revision, content, sealed FROM liverouter.revision_log") == [
            {"revision": 0, "content": {}, "sealed": {}}
        ]

    def test_any_statement_that_changes_something_makes_one_revision(self, db: Session) -> None:
        """Insert, update, delete, truncate, copy and merge bump the head by one, and the history has the content."""
        for statement in (
            "INSERT INTO liverouter.settings VALUES ('b', '2')",
            "UPDATE liverouter.settings SET value = '2'",
            "UPDATE liverouter.settings SET key = 'b'",
            "DELETE FROM liverouter.settings",
            "TRUNCATE liverouter.settings",
            "TRUNCATE liverouter.settings, liverouter.secrets",
            "DELETE FROM liverouter.secrets",
            "UPDATE liverouter.secrets SET sealed = sealed || 'A', fingerprint = '00000000'",
            "COPY liverouter.settings (key, value) FROM STDIN",
            """MERGE INTO liverouter.settings s USING (VALUES ('a'), ('b')) v (key) ON s.key = v.key
               WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (key, value) VALUES (v.key, '1')""",
        ):
            if statement.startswith("MERGE") and db.info.server_version < HAS_MERGE:
                continue
            with db.transaction():
                db.execute(b"DELETE FROM liverouter.settings")
                put(db, a=1)
                before = put_secret(db, "openai_api_key")
            if statement.startswith("COPY"):
                with db.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                    copy.write_row(("b", "2"))
            else:
                db.execute(statement.encode())
            assert revision(db) == before + 1, statement
            content = value(db, "SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM liverouter.settings")
            assert log(db, before + 1)["content"] == content
            assert log(db, before)["content"] == {"a": 1}

    def test_a_statement_that_changes_nothing_makes_no_revision(self, db: Session) -> None:
        """Nobody is woken for an UPDATE that leaves everything as it is, and who wrote last stays who wrote last."""
        put(db, a=1)
        put_secret(db, "openai_api_key")
        tables = ("head", "settings", "secrets", "revision_log")
        before = [rows(db, f"SELECT * FROM liverouter.{table}") for table in tables]
        db.execute(b"LISTEN liverouter")
        for statement in (
            "UPDATE liverouter.settings SET value = value",
            "UPDATE liverouter.settings SET value = '1.0' WHERE value <> '1'",
            "UPDATE liverouter.settings SET value = '2' WHERE key = 'absent'",
            "INSERT INTO liverouter.settings VALUES ('a', '1') ON CONFLICT DO NOTHING",
            "INSERT INTO liverouter.settings VALUES ('a', '1') ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            "DELETE FROM liverouter.settings WHERE false",
            "UPDATE liverouter.secrets SET sealed = sealed",
        ):
            db.execute(statement.encode())
            assert list(db.notifies(timeout=0)) == [], statement
            assert [rows(db, f"SELECT * FROM liverouter.{table}") for table in tables] == before, statement

    def test_many_statements_of_one_transaction_make_one_revision_and_one_notification(
        self, db: Session, connect: Connect
    ) -> None:
        """A transaction is one change: one number, one whole content, one NOTIFY with the number and nothing more."""
        listener = connect()
        listener.execute(b"LISTEN liverouter")
        with db.transaction():
            put(db, llm_provider="openai")
            put(db, llm_model="gpt-4o")
            put_secret(db, "openai_api_key", "aaaaaaaa")
        (heard,) = listener.notifies(timeout=60, stop_after=1)
        assert heard.payload == "1"
        assert list(listener.notifies(timeout=0)) == []
        assert log(db, 1)["content"] == {"llm_provider": "openai", "llm_model": "gpt-4o"}
        assert log(db, 1)["sealed"]["openai_api_key"]["fingerprint"] == "aaaaaaaa"

    def test_change_id_is_new_at_every_change(self, db: Session) -> None:
        """Two changes never share an identity, whatever their number."""
        seen = set()
        for number in range(5):
            put(db, a=number)
            seen.add(value(db, "SELECT change_id FROM liverouter.head"))
        assert len(seen) == 5

    def test_rolled_back_transaction_leaves_no_gap(self, db: Session) -> None:
        """A transaction that fails takes its number with it: the next one gets it."""
        put(db, a=1)
        with db.transaction():
            assert put(db, a=2) == 2
            raise psycopg.Rollback
        assert put(db, a=3) == 2
        assert value(db, "SELECT array_agg(revision ORDER BY revision) FROM liverouter.revision_log") == [0, 1, 2]

    def test_rolled_back_savepoint_leaves_only_the_rest(self, db: Session) -> None:
        """What a savepoint took back is in no revision."""
        with db.transaction():
            with db.transaction():
                put(db, a=1)
                raise psycopg.Rollback
            put(db, b=2)
        assert revision(db) == 1
        assert log(db, 1)["content"] == {"b": 2}

    def test_a_bump_inside_a_released_savepoint_belongs_to_the_same_revision(self, db: Session) -> None:
        """Subtransactions are part of their transaction: one revision."""
        with db.transaction():
            with db.transaction():
                put(db, a=1)
            with db.transaction():
                put(db, b=2)
        assert revision(db) == 1
        assert log(db, 1)["content"] == {"a": 1, "b": 2}

    def test_a_transaction_number_that_comes_again_is_not_mistaken_for_the_same_transaction(self, db: Session) -> None:
        """After a dump is restored elsewhere, a number of the old server's may come again: that is another change."""
        put(db, a=1)
        with db.transaction():
            db.execute(b"UPDATE liverouter.head SET xid = pg_current_xact_id()::text::bigint")
            put(db, a=2)
        assert revision(db) == 2

    def test_json_null_is_a_value(self, db: Session) -> None:
        """`null` for no fallback can be stored, and is told from a missing row."""
        put(db, llm_fallback_config=None)
        assert log(db, 1)["content"] == {"llm_fallback_config": None}


class TestWho:
    def test_history_names_role_application_author_and_comment(self, dsn: str, login: Callable[..., str]) -> None:
        """Who wrote, as which login, through which program, and why; the login cannot be made up."""
        url = login("liverouter_writer")
        name = psycopg.conninfo.conninfo_to_dict(url)["user"]
        with psycopg.connect(url, application_name="settings-page") as writer:
            writer.execute(b"SELECT set_config('liverouter.author', 'ann@example.org', true)")
            writer.execute(b"SELECT set_config('liverouter.comment', 'cheaper', true)")
            writer.execute(b"INSERT INTO liverouter.settings (key, value) VALUES ('a', '1')")
        with psycopg.connect(dsn) as db:
            row = log(db, 1)
            assert (row["author"], row["author_role"]) == ("ann@example.org", name)
            assert (row["application_name"], row["comment"], row["kind"]) == ("settings-page", "cheaper", "edit")
            assert value(db, "SELECT updated_by FROM liverouter.settings") == "ann@example.org"

    def test_row_without_a_named_author_is_stamped_with_the_login(self, db: Session) -> None:
        """Plain SQL is stamped with its login, and with the database's time."""
        put(db, a=1)
        (row,) = rows(
            db, "SELECT *, clock_timestamp() - updated_at < interval '1 min' AS fresh FROM liverouter.settings"
        )
        assert (row["updated_by"], row["fresh"]) == (db.info.user, True)

    def test_stamps_cannot_be_written_by_hand(self, db: Session) -> None:
        """updated_at and updated_by are the database's, even for the owner."""
        put(db, a=1)
        db.execute(
            b"UPDATE liverouter.settings SET value = '2', updated_by = 'somebody else', updated_at = '2001-01-01'"
        )
        (row,) = rows(db, "SELECT updated_by, updated_at > '2002-01-01' AS fresh FROM liverouter.settings")
        assert row == {"updated_by": db.info.user, "fresh": True}

    def test_commit_time_is_that_of_the_commit_and_not_of_the_statement(self, db: Session) -> None:
        """A transaction left open over lunch does not look like a rollout that took an hour."""
        with db.transaction():
            put(db, a=1)
            written_at = value(db, "SELECT committed_at FROM liverouter.head")
            db.execute(b"SELECT pg_sleep(0.05)")
        committed_at = value(db, "SELECT committed_at FROM liverouter.head")
        assert (committed_at - written_at).total_seconds() >= 0.05
        assert log(db, 1)["committed_at"] == committed_at


class TestConcurrency:
    def test_slower_writer_is_not_overtaken(
        self, db: Session, connect: Connect, wait_until: Callable[..., None]
    ) -> None:
        """A writer waits for the one before it, so numbers follow commits and nothing is lost."""
        slow, fast = connect(autocommit=False), connect()
        put(slow, a="slow")
        second = InBackground(lambda: put(fast, b="fast"))
        wait_until(lambda: waiting_for_a_lock(db, fast))
        assert revision(db) == 0
        slow.commit()
        second.join()
        assert second.error is None
        assert revision(db) == 2
        assert log(db, 1)["content"] == {"a": "slow"}
        assert log(db, 2)["content"] == {"a": "slow", "b": "fast"}

    def test_writers_that_touch_rows_in_opposite_order_do_not_deadlock(self, db: Session, connect: Connect) -> None:
        """The head is locked before any row, so two admins cannot wait for each other."""
        put(db, a=0, b=0)
        rounds = 30
        barrier = threading.Barrier(2)

        def write(keys: tuple[str, str]) -> None:
            session = connect(autocommit=False)
            for number in range(rounds):
                barrier.wait(60)
                for key in keys:
                    session.execute(SET, [str(number + 1 if keys[0] == "a" else -number - 1), key])
                session.commit()

        writers = [InBackground(lambda: write(("a", "b"))), InBackground(lambda: write(("b", "a")))]
        for writer in writers:
            writer.join()
        assert [w.error for w in writers] == [None, None]
        assert revision(db) == 1 + 2 * rounds
        contents = [r["content"] for r in rows(db, "SELECT content FROM liverouter.revision_log WHERE revision > 0")]
        assert all(content["a"] == content["b"] for content in contents)

    @pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
    def test_stale_snapshot_fails_instead_of_losing_an_update(
        self, db: Session, connect: Connect, level: psycopg.IsolationLevel
    ) -> None:
        """Whoever read before somebody else committed cannot write over it: 40001, to be tried again."""
        put(db, a=1)
        session = connect(autocommit=False)
        session.isolation_level = level
        assert value(session, "SELECT value FROM liverouter.settings WHERE key = 'a'") == 1
        put(db, b=2)
        with refused("40001"):
            put(session, a=3)
        session.rollback()
        assert put(session, a=3) == 3
        session.commit()
        assert log(db, 3)["content"] == {"a": 3, "b": 2}

    def test_readers_never_wait_for_a_writer(self, db: Session, connect: Connect) -> None:
        """A writer that does not commit holds up no reader."""
        put(db, a=1)
        writer = connect(autocommit=False)
        put(writer, a=2)
        db.execute(b"SET lock_timeout = '30s'")
        assert value(db, "SELECT value FROM liverouter.settings") == 1
        writer.rollback()

    def test_two_statements_in_one_repeatable_read_see_one_revision(self, db: Session, connect: Connect) -> None:
        """Secrets and settings read in one snapshot belong to one revision, whatever is written in between."""
        put(db, tag=0)
        put_secret(db, "tag", "00000000")
        stop = threading.Event()

        def write() -> None:
            session, number = connect(), 0
            while not stop.is_set():
                number += 1
                with session.transaction():
                    put(session, tag=number)
                    put_secret(session, "tag", f"{number:08x}")

        writer = InBackground(write)
        reader = connect(autocommit=False)
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        try:
            reads = 0
            while reads < 100 or revision(db) < 40:
                tag = value(reader, "SELECT value FROM liverouter.settings")
                mark = value(reader, "SELECT fingerprint FROM liverouter.secrets")
                reader.rollback()
                assert f"{tag:08x}" == mark
                reads += 1
        finally:
            stop.set()
            writer.join()


class TestHead:
    def test_head_row_cannot_be_removed_or_doubled(self, db: Session) -> None:
        """Every write hangs on that one row: no DELETE, no TRUNCATE, no second one, not even by the owner."""
        for statement in (b"DELETE FROM liverouter.head", b"TRUNCATE liverouter.head"):
            with refused("LR212") as seen:
                db.execute(statement)
            assert "rollback" in seen.hint
        with refused("23505"):
            db.execute(
                b"INSERT INTO liverouter.head (revision, change_id, committed_at, xid, xact_at)"
                b" VALUES (9, gen_random_uuid(), now(), 1, now())"
            )
        with refused("23514"):
            db.execute(b"UPDATE liverouter.head SET only_row = false")

    def test_write_without_a_head_row_is_refused(self, db: Session) -> None:
        """Where somebody removed it after all, writes fail with a hint rather than go unnoticed."""
        db.execute(b"ALTER TABLE liverouter.head DISABLE TRIGGER head_is_kept")
        db.execute(b"DELETE FROM liverouter.head")
        with refused("LR212") as seen:
            put(db, a=1)
        assert "revision_log" in seen.hint

    def test_epoch_differs_between_a_database_and_its_copy(
        self, db: Session, dsn: str, server: Any, wait_until: Callable[..., None]
    ) -> None:
        """A backup restored beside the original is another line of history; asking twice gives the same answer."""
        name = db.info.dbname
        copy = f"{name}_copy"
        epoch = value(db, "SELECT liverouter.epoch()")
        db.close()
        with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            wait_until(lambda: value(admin, sessions, name) == 0)  # a template has none
            admin.execute(
                f'CREATE DATABASE "{copy}" TEMPLATE "{psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]}"'.encode()
            )
            try:
                with psycopg.connect(server.dsn(copy)) as other, psycopg.connect(dsn) as same:
                    assert value(same, "SELECT liverouter.epoch()") == epoch
                    assert value(other, "SELECT liverouter.epoch()") != epoch
                    assert value(other, "SELECT liverouter.epoch() ~ '^[0-9a-f]+-[0-9a-f]+-[0-9]+$'")
            finally:
                admin.execute(f'DROP DATABASE "{copy}" WITH (FORCE)'.encode())

    def test_epoch_degrades_where_the_server_keeps_its_identity_to_itself(
        self, db: Session, login: Callable[..., str]
    ) -> None:
        """On a managed service that forbids pg_control_system, the epoch still names timeline and database."""
        whole = value(db, "SELECT liverouter.epoch()")
        plain = login()
        user = psycopg.conninfo.conninfo_to_dict(plain)["user"]
        db.execute(f"ALTER FUNCTION liverouter.epoch() OWNER TO {user}".encode())
        db.execute(b"REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        try:
            assert value(db, "SELECT liverouter.epoch()") == "unknown-" + whole.partition("-")[2]
        finally:
            db.execute(b"GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
            db.execute(f"REASSIGN OWNED BY {user} TO CURRENT_USER".encode())


class TestBeginEdit:
    def test_expected_revision_that_is_not_the_head_is_refused(self, db: Session) -> None:
        """A lost update is refused before anything is written, and says who was faster."""
        put(db, a=1)
        db.execute(b"SELECT set_config('application_name', 'settings-page', false)")
        put(db, a=2)
        with refused("LR211") as seen:
            db.execute(b"SELECT liverouter.begin_edit(1)")
        assert "revision 2, not 1" in seen.message
        assert "settings-page" in seen.message
        assert db.info.user in seen.message
        assert "revision_diff(1, 2)" in seen.hint

    def test_author_and_comment_last_for_the_transaction_only(self, db: Session) -> None:
        """The next transaction of a pooled session is not signed with the name of the one before."""
        with db.transaction():
            assert value(db, "SELECT liverouter.begin_edit(0, 'ann', 'try it')") == 0
            put(db, a=1)
        put(db, a=2)
        assert (log(db, 1)["author"], log(db, 1)["comment"]) == ("ann", "try it")
        assert (log(db, 2)["author"], log(db, 2)["comment"]) == (None, None)

    def test_begin_edit_holds_off_other_writers(
        self, db: Session, connect: Connect, wait_until: Callable[..., None]
    ) -> None:
        """From begin_edit to COMMIT nobody else writes, so a check made in between stays true."""
        first, second = connect(autocommit=False), connect()
        first.execute(b"SELECT liverouter.begin_edit()")
        other = InBackground(lambda: put(second, a=2))
        wait_until(lambda: waiting_for_a_lock(db, second))
        put(first, a=1)
        first.commit()
        other.join()
        assert log(db, 1)["content"] == {"a": 1}
        assert log(db, 2)["content"] == {"a": 2}


class TestSealedStamp:
    def test_secret_that_stays_the_same_keeps_its_stamps(self, db: Session) -> None:
        """An UPDATE of a secret to what it is leaves who and when as they were."""
        envelope = sealed()
        put_secret(db, "x", envelope=envelope)
        before = rows(db, "SELECT * FROM liverouter.secrets")
        put_secret(db, "x", envelope=envelope)
        assert rows(db, "SELECT * FROM liverouter.secrets") == before
        assert before[0]["key_id"] == "0a1b2c3d"
