"""wait_applied in SQL: done when all applied, failed at once when one rejects, on timeout it says who is missing."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, put, refused, value

if TYPE_CHECKING:
    from collections.abc import Callable

    Session = psycopg.Connection[Any]
    Connect = Callable[..., Session]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()


class Waiter:
    """wait_applied in a thread."""

    def __init__(self, session: Session, revision: int, timeout_s: float = 100) -> None:
        """Start to wait."""
        self.result: object = None
        self.took_s = 0.0
        self._thread = threading.Thread(target=self._run, args=(session, revision, timeout_s))
        self._thread.start()

    def _run(self, session: Session, revision: int, timeout_s: float) -> None:
        start = time.monotonic()
        try:
            self.result = value(session, "SELECT liverouter.wait_applied(%s, %s::numeric)", revision, timeout_s)
        except psycopg.Error as exc:
            self.result = exc
        self.took_s = time.monotonic() - start

    def join(self) -> object:
        """Return what came out."""
        self._thread.join(120)
        assert not self._thread.is_alive()
        return self.result


class TestWaitApplied:
    def test_no_live_instance_is_true_at_once_with_a_notice(self, db: Session) -> None:
        """Nobody to wait for is no failure, but worth a word."""
        put(db, a=1)
        notices: list[str] = []
        db.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))
        assert value(db, "SELECT liverouter.wait_applied(1)") is True
        assert notices == ["no instance is live: there is nobody to wait for"]

    def test_returns_when_the_last_instance_has_applied_it(
        self, db: Session, connect: Connect, wait_until: Callable[..., None]
    ) -> None:
        """True as soon as every live instance runs it or a newer one; dead ones are not waited for."""
        first, second, dead = Process(db), Process(db), Process(db)
        for process in (first, second, dead):
            process.run(0)
        dead.silent_for(60)
        put(db, a=1)
        put(db, a=2)
        session = connect()
        waiter = Waiter(session, 1)
        first.applied(1)
        wait_until(
            lambda: (
                value(db, "SELECT wait_event FROM pg_stat_activity WHERE pid = %s", session.info.backend_pid)
                == "PgSleep"
            )
        )
        assert waiter.result is None
        second.applied(2)
        assert waiter.join() is True

    def test_rejection_ends_the_wait_at_once_and_says_who_and_why(self, db: Session, connect: Connect) -> None:
        """One instance that refuses it fails the rollout, whoever else is still to come."""
        slow, bad = Process(db, pid=1), Process(db, pid=2)
        for process in (slow, bad):
            process.run(0)
        put(db, a=1)
        waiter = Waiter(connect(), 1)
        bad.rejected(1, kept=0, message="provider 'opnai' is not one of ours")
        error = waiter.join()
        assert isinstance(error, psycopg.Error)
        assert (error.sqlstate, error.diag.message_hint) == ("LR403", "Store it")
        assert (
            error.diag.message_primary
            == "revision 1 was rejected by billing on host-1, pid 2: provider 'opnai' is not one of ours [LR102]"
        )
        assert waiter.took_s < 50

    def test_instance_that_rejected_a_newer_one_will_not_apply_this_one(self, db: Session) -> None:
        """It skipped this revision for a newer one, which it refused: it never comes here."""
        process = Process(db)
        process.run(0)
        put(db, a=1)
        put(db, a=2)
        process.rejected(2, kept=0)
        with refused("LR403"):
            db.execute(b"SELECT liverouter.wait_applied(1)")

    def test_instance_that_rejected_it_and_applied_a_newer_one_is_done(self, db: Session) -> None:
        """Mended in the next revision: whoever waits for the bad one is told that something newer runs."""
        process = Process(db)
        put(db, a=1)
        put(db, a=2)
        process.applied(2)
        process.send(rejected_revision=1, rejected_epoch=value(db, "SELECT liverouter.epoch()"))
        assert value(db, "SELECT liverouter.wait_applied(1)") is True

    def test_timeout_says_who_is_missing(self, db: Session) -> None:
        """After timeout_s seconds: how many of how many, and which."""
        for pid in (1, 2, 3):
            Process(db, pid=pid).run(0)
        put(db, a=1)
        Process(db, pid=4).applied(1)
        with refused("LR404") as refusal:
            db.execute(b"SELECT liverouter.wait_applied(1, 0.05)")
        assert refusal.message == (
            "after 0.05 s revision 1 is missing in 3 of 4 live instances: billing on host-1, pid 1;"
            " billing on host-1, pid 2; billing on host-1, pid 3"
        )
        assert "liverouter.problems" in refusal.hint

    def test_higher_number_of_another_line_of_history_does_not_count(self, db: Session) -> None:
        """After a restore, an instance that still runs revision 9 of the old line has not applied the new 1."""
        put(db, a=1)
        Process(db).run(9, epoch="elsewhere")
        with refused("LR404"):
            db.execute(b"SELECT liverouter.wait_applied(1, 0)")

    def test_rejection_by_an_instance_of_another_line_of_history_ends_the_wait(self, db: Session) -> None:
        """After a restore, an instance that goes on with revision 9 of the old line and refuses the new 1."""
        put(db, a=1)
        Process(db, pid=9).rejected(1, kept=9, epoch="elsewhere")
        with refused("LR403") as refusal:
            db.execute(b"SELECT liverouter.wait_applied(1)")
        assert "rejected by billing on host-1, pid 9" in refusal.message

    def test_rejection_of_another_line_of_history_does_not_count(self, db: Session) -> None:
        """What an instance refused before the restore says nothing of a revision of the same number."""
        put(db, a=1)
        Process(db).rejected(1, kept=None, rejected_epoch="elsewhere")
        with refused("LR404"):
            db.execute(b"SELECT liverouter.wait_applied(1, 0)")

    def test_revision_that_is_not_there_is_refused(self, db: Session) -> None:
        """A number beyond the head, or none, is a mistake and not a wait."""
        for number in (1, None):
            with refused("LR213"):
                db.execute(b"SELECT liverouter.wait_applied(%s)", [number])

    def test_wait_inside_the_writing_transaction_is_refused(self, db: Session) -> None:
        """Nobody can apply what is not committed: that would be a wait for the timeout."""
        with refused("LR404") as refusal, db.transaction():
            put(db, a=1)
            db.execute(b"SELECT liverouter.wait_applied(1)")
        assert "COMMIT first" in refusal.hint

    @pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
    def test_wait_in_a_frozen_snapshot_is_refused(
        self, db: Session, connect: Connect, level: psycopg.IsolationLevel
    ) -> None:
        """Such a transaction would never see an instance apply."""
        put(db, a=1)
        session = connect(autocommit=False)
        session.isolation_level = level
        with refused("LR404"):
            session.execute(b"SELECT liverouter.wait_applied(1)")
