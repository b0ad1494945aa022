"""What an error of driver, network or server means to an operator: a DatabaseError with code and hint, no SQL."""

from __future__ import annotations

import re
import socket
import ssl
import traceback
from typing import TYPE_CHECKING, Final

import asyncpg

from liverouter.errors import CODES, ConflictError, DatabaseError, WriteRefusedError
from liverouter.postgres.visibility import RESTORE_HEAD, show_all

if TYPE_CHECKING:
    from collections.abc import Iterator

_START: Final = "Is the server up, and do host and port of the DSN name it?"
_ESCAPE: Final = "In user and password write @ : / ? # [ ] % as %40 %3A %2F %3F %23 %5B %5D %25"
_MIGRATE: Final = "Run `liverouter migrate` as the owner of the database"
_RIGHTS: Final = (
    "GRANT {prefix}_client TO services, {prefix}_writer TO who changes settings, {prefix}_inspector TO who "
    "looks. What those roles lack, and the roles where they are missing, the owner restores: "
    "SELECT * FROM liverouter.install_roles()"
)
# What the server says of a right. Functions of its own may have been taken from PUBLIC.
_DENIED: Final = re.compile(r"permission denied for function (pg_\w+)")
_BY_POLICY: Final = re.compile(r"row-level security policy (?:\"[^\"]*+\" )?for table \"(\w+)\"")

_HEAD: Final = f"{show_all(['head'])} or {RESTORE_HEAD}"
_TIMED_OUT: Final = (
    "the server ended this connection by a timeout of this role or database",
    "See which: SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout'",
)

# SQLSTATE, or its first two characters -> code, message, hint. The whole one is looked up first.
_BY_STATE: Final[dict[str, tuple[str, str, str]]] = {
    "08": ("LR201", "the connection to the database broke", _START),
    "08P01": (
        "LR201",
        "a pooler or proxy before the database refused, and said no more",
        "So it does to a login that it does not know, and to a transaction where pool_mode is statement: see its log",
    ),
    "28": ("LR202", "the database refused the login", "Check user and password of the DSN, and pg_hba.conf"),
    "3D000": ("LR203", "the database does not exist", "Create it, or mend the name at the end of the DSN"),
    "3F000": ("LR204", "schema liverouter is not installed in this database", _MIGRATE),
    "42P01": ("LR204", "schema liverouter is not installed in this database", _MIGRATE),
    "42883": ("LR206", "a function of schema liverouter is missing", _MIGRATE),
    "42703": ("LR206", "a column of schema liverouter is missing", _MIGRATE),
    "42501": ("LR207", "this database role lacks a right", _RIGHTS),
    "P0002": ("LR208", "liverouter.head has lost its row, or row-level security hides it", f"As the owner: {_HEAD}"),
    "25P03": ("LR201", *_TIMED_OUT),
    "25P04": ("LR201", *_TIMED_OUT),
    "57P05": ("LR201", *_TIMED_OUT),
    "25006": (
        "LR209",
        "this database takes no writes: a standby, or set read-only",
        "Name the primary in the DSN, or reset default_transaction_read_only of this database and role",
    ),
    "22": (
        "LR212",
        "the database cannot store a value",
        "Text holds no NUL and no half characters; numbers have bounds",
    ),
    "23514": ("LR212", "the database refused the write", ""),
    "53300": ("LR201", "the database has no connection left", "Raise max_connections, or put a pooler before it"),
    "53": ("LR208", "the database ran out of disk, memory or another resource", "Look at its log"),
    "54000": (
        "LR208",
        "the database's notification queue is full",
        "A session that listens sits in an open transaction: see pg_stat_activity, state 'idle in transaction'",
    ),
    "55000": (
        "LR201",
        "the database takes no new connections",
        "Somebody shut it for them; its owner opens it: ALTER DATABASE … WITH ALLOW_CONNECTIONS true",
    ),
    "55P03": ("LR208", "a lock was not to be had in time", "Somebody holds a table of schema liverouter: see pg_locks"),
    "57014": ("LR208", "a statement took too long", "Somebody holds a table of ours: see pg_locks"),
    "57": ("LR201", "the database is starting, stopping, or ended this connection", "It is tried again"),
    "40": ("LR208", "another transaction came in between", "Try again"),
}
# Class, the first that fits -> code, message, hint. An empty hint stands for the library's text, which may be shown.
_BY_KIND: Final[tuple[tuple[type[Exception], str, str, str], ...]] = (
    (TimeoutError, "LR201", "the database did not answer in time", _START),
    (socket.gaierror, "LR201", "the database's host name cannot be resolved", "Check the host in the DSN, and DNS"),
    (ssl.SSLError, "LR201", "TLS to the database failed", "Check sslmode and sslrootcert in the DSN"),
    (ConnectionRefusedError, "LR201", "the database refused the connection", _START),
    (FileNotFoundError, "LR201", "the database's socket file does not exist", _START),
    (OSError, "LR201", "the database cannot be reached", _START),
    (asyncpg.TargetServerAttributeNotMatched, *_BY_STATE["25006"]),
    (asyncpg.ClientConfigurationError, "LR201", "the DSN cannot be used", ""),
    (ValueError, "LR201", "the DSN cannot be read", _ESCAPE),
    (asyncpg.InterfaceError, "LR201", "the connection to the database broke", "It is tried again"),
    (asyncpg.InternalClientError, "LR201", "the connection to the database broke", "It is tried again"),
)
_NEXT_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_OWN_STATE: Final = re.compile(r"LR\d{3}")  # our SQL functions raise with the code as SQLSTATE


def from_driver(exc: BaseException, *, where: str = "database", role_prefix: str = "liverouter") -> DatabaseError:
    """Return what *exc* means, as an error whose text is fit for people and logs.

    Takes what asyncpg, the resolver, TLS and the socket raise, wrapped or not. A missing right names the roles that
    begin with *role_prefix*. Nothing of the statement, its parameters or the DSN is repeated, but for messages that our
    own functions and triggers wrote.
    """
    if isinstance(exc, DatabaseError):
        return exc
    for cause in _chain(exc):
        if isinstance(cause, asyncpg.ConnectionDoesNotExistError) and isinstance(
            cause.__cause__, asyncpg.PostgresError
        ):
            continue  # with what the server said as it ended the connection, which says more
        if isinstance(cause, asyncpg.PostgresError):
            return _from_server(cause, where, role_prefix)
        for kind, code, message, hint in _BY_KIND:
            if isinstance(cause, kind):
                return DatabaseError(message, code=code, where=where, hint=hint or str(cause.args[0]))
    return DatabaseError(
        f"the database driver failed: {type(exc).__name__}", code="LR208", where=where, hint="Look at the server's log"
    )


def is_garbled(exc: BaseException) -> bool:
    """Tell whether asyncpg stumbled: it takes for part of a result what a server says as it ends the connection."""
    frames = list(traceback.walk_tb(exc.__traceback__))
    module = str(frames[-1][0].f_globals.get("__name__")) if frames else ""
    return isinstance(exc, TypeError) and module.startswith("asyncpg.")


def is_lock_timeout(exc: BaseException) -> bool:
    """Tell whether a lock was not to be had in time."""
    return any(getattr(cause, "sqlstate", None) == "55P03" for cause in _chain(exc))


def is_broken(exc: BaseException) -> bool:
    """Tell whether the connection is gone, or what was prepared on it is, so that another try may succeed at once."""
    for cause in _chain(exc):
        if isinstance(cause, asyncpg.InvalidCachedStatementError | asyncpg.InternalClientError):
            return True  # a statement prepared before a migration changed the columns of a view
        if isinstance(cause, asyncpg.PostgresError):
            state = cause.sqlstate or ""
            # 26000 and 42P05: a pooler put another server behind our prepared statements
            return (state[:2] in ("08", "57") and state != "57014") or state in ("25P03", "25P04", "26000", "42P05")
        if isinstance(cause, asyncpg.InterfaceError | ConnectionError):
            return True
    return False


def ends_connection(exc: BaseException) -> bool:
    """Tell whether a connection on which *exc* was raised is of no more use: it broke, or a statement was left."""
    return not isinstance(exc, Exception) or is_broken(exc) or is_garbled(exc)


def _from_server(exc: asyncpg.PostgresError, where: str, role_prefix: str) -> DatabaseError:
    """Return what the server's error means, by its SQLSTATE; an unknown one becomes LR208 with the name of its class.

    The server's own text is kept only of errors that our functions and triggers raise, and of a missing right, where
    it names the object.
    """
    state = exc.sqlstate or ""
    if _OWN_STATE.fullmatch(state) and state in CODES:
        kind = {"LR211": ConflictError, "LR212": WriteRefusedError}.get(state, DatabaseError)
        return kind(exc.message or CODES[state], code=state, where=where, hint=exc.hint or "")
    if state == "23514":  # our triggers raise it, with a text for people
        return WriteRefusedError(exc.message or CODES["LR212"], code="LR212", where=where, hint=exc.hint or "")
    found = _BY_STATE.get(state) or _BY_STATE.get(state[:2])
    if found is None:
        message = f"a statement failed: {_words(type(exc).__name__)} ({state})"
        return DatabaseError(message, code="LR208", where=where, hint="Look at the server's log")
    code, message, hint = found
    if code == "LR207":
        said = exc.message or ""
        message, hint = f"{message}: {said}", exc.hint or hint.format(prefix=role_prefix)
        if (denied := _DENIED.search(said)) is not None:
            hint = f"As a superuser, in this database: GRANT EXECUTE ON FUNCTION {denied[1]} TO PUBLIC"
        elif (policy := _BY_POLICY.search(said)) is not None:
            hint = f"As the owner: {show_all([policy[1]])}"
    return DatabaseError(message, code=code, where=where, hint=hint)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield *exc*, then what each one wraps, outermost first; ends where it would come round again."""
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _words(name: str) -> str:
    """Return a class's *name* in words: ``LockNotAvailableError`` is "lock not available"."""
    return _NEXT_WORD.sub(" ", name).removesuffix(" Error").lower()
