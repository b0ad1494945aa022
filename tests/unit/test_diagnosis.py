"""What every failure of driver, network and server becomes: code, sentence, hint, and nothing secret."""

from __future__ import annotations

import socket
import ssl

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from liverouter.errors import CODES, ConflictError, DatabaseError, WriteRefusedError
from liverouter.postgres.errors import from_driver, is_broken

SECRET = "p4ssw0rd-in-a-message"


def server(sqlstate: str, message: str = SECRET, hint: str | None = None) -> asyncpg.PostgresError:
    """Return what asyncpg raises for *sqlstate*."""
    error = asyncpg.PostgresError.new({"C": sqlstate, "M": message, **({"H": hint} if hint else {})})
    assert isinstance(error, asyncpg.PostgresError)
    return error


class TestExplain:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (ConnectionRefusedError(), "LR201"),
            (ConnectionResetError(), "LR201"),
            (TimeoutError(), "LR201"),
            (FileNotFoundError(2, "No such file"), "LR201"),
            (socket.gaierror(-2, "Name or service not known"), "LR201"),
            (ssl.SSLError(1, SECRET), "LR201"),
            (OSError(113, "No route to host"), "LR201"),
            (asyncpg.InterfaceError(SECRET), "LR201"),
            (asyncpg.ConnectionDoesNotExistError(SECRET), "LR201"),
            (server("08006"), "LR201"),
            (server("28P01"), "LR202"),
            (server("28000"), "LR202"),
            (server("3D000"), "LR203"),
            (server("3F000"), "LR204"),
            (server("42P01"), "LR204"),
            (server("42883"), "LR206"),
            (server("42703"), "LR206"),
            (server("25006"), "LR209"),
            (asyncpg.TargetServerAttributeNotMatched(SECRET), "LR209"),
            (server("53300"), "LR201"),
            (server("53100"), "LR208"),
            (server("54000"), "LR208"),
            (server("55P03"), "LR208"),
            (server("57014"), "LR208"),
            (server("57P01"), "LR201"),
            (server("57P03"), "LR201"),
            (server("40001"), "LR208"),
            (server("40P01"), "LR208"),
            (server("22P05"), "LR212"),
            (server("22023"), "LR212"),
            (server("XX000"), "LR208"),
            (ValueError(SECRET), "LR201"),
            (RuntimeError(SECRET), "LR208"),
        ],
    )
    def test_failure_has_its_code_a_hint_and_nothing_of_the_message(self, error: Exception, code: str) -> None:
        """Whatever the server or the library wrote, what we say is ours: it cannot hold a value or a password."""
        found = from_driver(error)
        assert (type(found), found.code) == (DatabaseError, code)
        assert code in CODES
        assert found.hint
        assert SECRET not in str(found)

    def test_messages_of_our_own_functions_come_through(self) -> None:
        """They are written for people: LRnnn as SQLSTATE, and the refusals of our triggers."""
        cases: dict[str, tuple[type[DatabaseError], str]] = {
            "LR211": (ConflictError, "LR211"),
            "LR212": (WriteRefusedError, "LR212"),
            "LR213": (DatabaseError, "LR213"),
            "23514": (WriteRefusedError, "LR212"),
        }
        for sqlstate, (kind, code) in cases.items():
            found = from_driver(server(sqlstate, "what happened", "how to mend it"), where="database x")
            assert (type(found), found.code) == (kind, code)
            assert str(found) == f"what happened [{code} at database x]. how to mend it"

    def test_missing_right_is_named(self) -> None:
        """PostgreSQL names the table and never its content."""
        assert from_driver(server("42501", "permission denied for table settings")).message.endswith(
            "for table settings"
        )

    def test_unknown_code_of_our_shape_is_no_code_of_ours(self) -> None:
        """LR999 is not in the list."""
        assert from_driver(server("LR999")).code == "LR208"

    def test_cause_is_found_inside_what_wraps_it(self) -> None:
        """SQLAlchemy wraps the driver's error, `raise … from` chains it."""
        adapter = Exception("adapter")
        adapter.__cause__ = server("28P01")
        wrapped = DBAPIError("SELECT 1", {"p": SECRET}, adapter)
        wrapped.__cause__ = adapter
        outer = RuntimeError(SECRET)
        outer.__cause__ = wrapped
        found = from_driver(outer)
        assert found.code == "LR202"
        assert SECRET not in str(found)

    @pytest.mark.parametrize(
        ("sqlstate", "word"), [("25P03", "timeout"), ("25P04", "timeout"), ("57P05", "timeout"), ("08P01", "pooler")]
    )
    def test_last_word_of_the_server_says_why_the_connection_ended(self, sqlstate: str, word: str) -> None:
        """The driver raises an error of its own, which is caused by it."""
        ended = asyncpg.ConnectionDoesNotExistError(SECRET)
        ended.__cause__ = server(sqlstate)
        found = from_driver(ended)
        assert (found.code, word in found.message, SECRET in str(found)) == ("LR201", True, False)
        assert is_broken(ended)

    def test_chain_that_bites_its_tail_ends(self) -> None:
        """Nobody loops over causes for ever."""
        first, second = RuntimeError(), RuntimeError()
        first.__cause__, second.__cause__ = second, first
        assert from_driver(first).code == "LR208"

    def test_explained_error_is_itself(self) -> None:
        """Explaining twice loses nothing."""
        error = from_driver(server("28P01"), where="here")
        assert from_driver(error) is error


class TestIsBroken:
    @pytest.mark.parametrize(
        "sqlstate", ["08006", "25P03", "25P04", "57P01", "57P02", "57P03", "57P05", "26000", "42P05"]
    )
    def test_broken_connection_is_worth_a_new_one(self, sqlstate: str) -> None:
        """The server ended it, or a pooler put another server behind it."""
        assert is_broken(server(sqlstate))
        assert is_broken(from_driver(server(sqlstate))) is False  # explained without its cause
        assert is_broken(asyncpg.ConnectionDoesNotExistError())
        assert is_broken(ConnectionResetError())

    @pytest.mark.parametrize("error", [server("57014"), server("42501"), server("40001"), TimeoutError(), ValueError()])
    def test_answer_that_was_no_is_not(self, error: Exception) -> None:
        """A refusal or a timeout would only come again."""
        assert not is_broken(error)
