"""What people call in psql says in plain words what it does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, put, refused, rows, value

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

pytestmark = pytest.mark.servers("embedded", "debian")

emptied, dsn, db = one_database()

FAR = 2**63 - 1


class TestRefused:
    @pytest.mark.parametrize(
        ("call", "code", "said", "hint"),
        [
            ("prune(-1)", "LR104", "not -1 and 1 day", "usage_days => 90"),
            ("prune(NULL)", "LR104", "not NULL and 1 day", "usage_days => 90"),
            ("prune(35, '-1 hour')", "LR104", "not 35 and -01:00:00", "usage_days => 90"),
            ("prune(35, NULL)", "LR104", "not 35 and NULL", "usage_days => 90"),
            ("wait_applied(NULL)", "LR213", "no revision NULL", "liverouter.revisions"),
            ("wait_applied(-1)", "LR213", "no revision -1", "liverouter.revisions"),
            (f"wait_applied({FAR})", "LR213", f"no revision {FAR}", "liverouter.revisions"),
            ("wait_applied(0, NULL)", "LR104", "not NULL", "30 seconds"),
            ("wait_applied(0, -1)", "LR104", "not -1", "30 seconds"),
            ("wait_applied(0, 'NaN')", "LR104", "not NaN", "30 seconds"),
            ("revision_diff(NULL, 0)", "LR213", "no revision NULL", "holds 0 to 1"),
            (f"revision_diff(0, {FAR})", "LR213", f"no revision {FAR}", "holds 0 to 1"),
            ("rollback(NULL)", "LR213", "no revision NULL", "holds 0 to 1"),
            (f"rollback({-FAR})", "LR213", f"no revision {-FAR}", "holds 0 to 1"),
            ("begin_edit(0)", "LR211", "revision 1, not 0", "revision_diff(0, 1)"),
            ("begin_edit(-1)", "LR211", "revision 1, not -1", "no revision -1: SELECT * FROM liverouter.revisions"),
            (f"begin_edit({FAR})", "LR211", f"not {FAR}", f"no revision {FAR}"),
            ("set_setting('', '1')", "LR106", "no such setting", "lists the names"),
            ("set_setting('llm_temperature', '1e400')", "LR104", "out of range", "from 0 to 2"),
            ("set_secret(NULL, NULL, NULL)", "23514", "a secret needs a name", "anthropic_api_key"),
            ("set_secret('k', '', '')", "23514", "is not sealed", "liverouter set --secret k"),
        ],
    )
    def test_what_it_does_not_take_is_said_with_what_to_do(
        self, db: Session, call: str, code: str, said: str, hint: str
    ) -> None:
        """Nothing, too little, too much."""
        put(db, llm_model="m")
        with refused(code) as refusal:
            db.execute(f"SELECT liverouter.{call}".encode())
        assert said in refusal.message
        assert hint in refusal.hint


class TestForEver:
    def test_what_is_kept_longer_than_all_time_is_kept(self, db: Session) -> None:
        """No number is beyond the calendar, neither here nor in what is kept; reports prune by themselves."""
        Process(db).run(None)
        put(db, llm_model="m")
        db.execute(b"UPDATE liverouter.retention SET history_days = 2147483647, usage_daily_days = 2147483647")
        assert value(db, "SELECT liverouter.prune(2147483647, '178000000 years')") == 0
        assert len(rows(db, "SELECT 1 FROM liverouter.instances")) == 1
