"""The last-known-good revision on disk, sealed: what a process starts from while the database does not answer.

The file holds the rows and the sealed secrets as the database gave them. It is sealed once more as a whole: nobody can
read a row or the name of a secret in it, or change anything. No plain secret is ever in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import stat
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.draft import origins_in_force
from liverouter.errors import LiveRouterError, SecretError
from liverouter.events import SnapshotFileIgnored, SnapshotFileWritten
from liverouter.revision import Rows, SealedSecret
from liverouter.secrecy.sealing import open_bytes, seal_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from liverouter.bus import Bus
    from liverouter.errors import Problem
    from liverouter.options import Options
    from liverouter.revision import Head
    from liverouter.secrecy.sealing import Keyring

_CONFIRM_EVERY_S: Final = 86_400.0
_RETRY_S: Final = 60.0
_MAX_AGE_S: Final = 30 * 86_400.0  # since the database confirmed it; an older one is not used
_MAGIC: Final = b"liverouter snapshot "
_FORMAT: Final = 1
_PURPOSE: Final = f"snapshot file {_FORMAT}"
_MAX_BYTES: Final = 64 * 1024 * 1024
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_REMOVE: Final = "Remove it; it is written anew once the database answers"


@dataclass(frozen=True, slots=True)
class _Write:
    """The last write of the file.

    Attributes:
        head: the revision that was written.
        at: when it was, monotonic seconds.
        problem: why it failed; None where it did not.
    """

    head: Head
    at: float
    problem: Problem | None = None

    def is_due(self, head: Head) -> bool:
        """Tell whether to write *head* again though it is the revision that was written.

        After a failure that is due once a minute. Else it is due once a day, for the file's age tells when the database
        held that revision last.
        """
        wait_s = _CONFIRM_EVERY_S if self.problem is None else _RETRY_S
        return head == self.head and time.monotonic() - self.at > wait_s


class SnapshotFile:
    """The last-known-good of one client, on disk: kept after each activation, read for a start without the database.

    It is used in the engine's loop. What goes wrong with it is told to *bus*, once for each reason, and stops nothing.

    Args:
        path: where it is; its folder is made with the first write.
        keyring: seals and opens it; without one it is neither written nor read, and that is told.
        options: name the database that its rows belong to; that is not asked for while nobody knows it.
        bus: hears of each write, and of what goes wrong.
    """

    def __init__(self, path: Path, keyring: Keyring | None, *, options: Options, bus: Bus) -> None:
        self._path, self._keyring, self._options, self._bus = path, keyring, options, bus
        self._last: _Write | None = None

    def read(self) -> Rows | None:
        """Return the revision that it holds, None where it holds none that can be used. Blocks for the disk."""
        try:
            return read_snapshot_file(self._path, self._keyring, database=self._options.database_name)
        except LiveRouterError as exc:
            self._bus.emit(SnapshotFileIgnored(str(self._path), exc.problem))
            return None

    async def keep(self, rows: Rows) -> None:
        """Write *rows*, which are in force now."""
        await self._write(rows, told=None)

    async def confirm(self, rows: Rows) -> None:
        """Write *rows*, which the database still holds, again once a day; after a failure, once a minute."""
        if self._last is not None and self._last.is_due(rows.head):
            await self._write(rows, told=self._last.problem)

    async def _write(self, rows: Rows, *, told: Problem | None) -> None:
        """Write *rows* in a thread; a failure is told unless it is the Problem that was *told*."""
        try:
            await asyncio.to_thread(
                write_snapshot_file, self._path, rows, self._keyring, database=self._options.database_name
            )
        except LiveRouterError as exc:
            self._last = _Write(rows.head, time.monotonic(), exc.problem)
            if exc.problem != told:
                self._bus.emit(SnapshotFileIgnored(str(self._path), exc.problem))
            return
        self._last = _Write(rows.head, time.monotonic())
        self._bus.emit(SnapshotFileWritten(str(self._path), rows.revision))


def write_snapshot_file(path: Path, rows: Rows, keyring: Keyring | None, *, database: str) -> None:
    """Replace the file at *path* by *rows*, atomically, readable by its owner alone; blocks for the disk's fsync.

    A reader finds the former file or the new one, whole. *database* names where *rows* come from, without password.

    Raises:
        LiveRouterError: LR504, and why; the former file is as it was, unless its folder cannot be synced.
    """
    content = {
        "database": database,
        "epoch": rows.epoch,
        "revision": rows.revision,
        "change_id": rows.change_id,
        "committed_at": rows.committed_at.isoformat(),
        "settings": dict(rows.settings),
        "secrets": {name: [secret.sealed, secret.fingerprint] for name, secret in rows.secrets.items()},
        "bound": {name: list(secret.origins) for name, secret in rows.secrets.items()},
    }
    try:
        sealed = seal_bytes(_PURPOSE, json.dumps(content).encode(), keyring)
        _replace(path.resolve(), b"%s%d\n%s\n" % (_MAGIC, _FORMAT, sealed))
    except SecretError as exc:
        raise _error(path, f"cannot be sealed: {exc.message}", exc.hint) from exc
    except (OSError, RuntimeError) as exc:  # a loop of links is a RuntimeError, before Python 3.13
        hint = "Give a path on a disk that this user may write to and that has room"
        raise _error(path, f"cannot be written: {getattr(exc, 'strerror', '') or type(exc).__name__}", hint) from exc


def read_snapshot_file(path: Path, keyring: Keyring | None, *, database: str) -> Rows:
    """Return the revision that the file at *path* holds for *database*, or where that is empty for any.

    Raises:
        LiveRouterError: LR504, and why: not there, not readable, writable by others, another format, damaged, sealed
            with an unknown key, of another database, or not confirmed for 30 days.
    """
    sealed = _checked(path, _read(path))
    try:
        content = open_bytes(_PURPOSE, sealed, keyring)
    except SecretError as exc:
        if exc.code == "LR503":
            raise _error(path, "is damaged", _REMOVE) from exc
        raise _error(path, f"cannot be opened: {exc.message}", exc.hint) from exc
    try:
        belongs_to, rows = _content(json.loads(content))
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as exc:
        raise _error(path, "holds no revision that this liverouter can read", _REMOVE) from exc
    if database and belongs_to != database:
        hint = f"{_REMOVE}, or name the database that it belongs to"
        raise _error(path, f"belongs to database {belongs_to}, not to {database}", hint)
    return rows


def _content(content: dict[str, Any]) -> tuple[str, Rows]:
    """Return the database that *content*, as `write_snapshot_file` makes it, came from, and its rows.

    What has another shape raises whatever that leads to: a key or an index error, a type, value or attribute error.
    """
    committed_at = datetime.fromisoformat(content["committed_at"])
    rows = Rows(
        epoch=content["epoch"],
        revision=content["revision"],
        change_id=content["change_id"],
        committed_at=committed_at,
        age_ms=max(0.0, (datetime.now(UTC) - committed_at).total_seconds() * 1000),
        settings=dict(content["settings"].items()),
        secrets={name: _secret(name, content) for name in content["secrets"]},
    )
    return content["database"], rows


def _secret(name: str, content: dict[str, Any]) -> SealedSecret:
    """Return the secret *name* of *content*, bound to origins.

    An older version's file has no "bound": its secrets were bound to fewer origins, in "origins", or to none. What
    its rows have them sent to was allowed then, or they would not have been in force.
    """
    sealed, fingerprint = content["secrets"][name]
    if "bound" in content:
        return SealedSecret(sealed, fingerprint, tuple(content["bound"][name]))
    bound = {*content.get("origins", {}).get(name, ()), *origins_in_force(content["settings"], name)}
    return SealedSecret(sealed, fingerprint, tuple(sorted(bound)))


def _read(path: Path) -> bytes:
    """Return what the file at *path* holds, at most `_MAX_BYTES` of it.

    Raises:
        LiveRouterError: it is no plain file, or cannot be read; others may write it, for whoever can put an old file in
            its place brings an old revision back; or it was written too long ago.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _error(path, "is not a plain file", "Give the path of a file")
            if found.st_mode & _OTHERS_MAY_WRITE or found.st_uid not in (0, os.geteuid()):
                hint = f"Others could put an old revision in its place: chown it to this user and chmod 600 {path}"
                raise _error(path, "may be written by other users", hint)
            if time.time() - found.st_mtime > _MAX_AGE_S:
                days = (time.time() - found.st_mtime) / 86_400
                raise _error(path, f"was last confirmed by the database {days:.0f} days ago", _REMOVE)
            return file.read(_MAX_BYTES)
    except FileNotFoundError as exc:
        raise _error(path, "does not exist", "It is written once a revision is live") from exc
    except OSError as exc:
        hint = "Let this user read it, and the folders above it"
        raise _error(path, f"cannot be read: {exc.strerror or type(exc).__name__}", hint) from exc


def _open_without_waiting(path: str, flags: int) -> int:
    """Open as `open` does, but return at once where a pipe of that name has no writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _checked(path: Path, data: bytes) -> bytes:
    """Return the sealed part of *data*, without the line that names the format.

    Raises:
        LiveRouterError: *data* is no snapshot file, or one of another format.
    """
    head, _, rest = data.partition(b"\n")
    if not head.startswith(_MAGIC):
        raise _error(path, "is not a liverouter snapshot", "Give another path; this file is left alone")
    if head != b"%s%d" % (_MAGIC, _FORMAT):
        found = head.removeprefix(_MAGIC)[:20].decode(errors="replace")
        raise _error(path, f"is of format {found}, this liverouter reads {_FORMAT}", _REMOVE)
    return rest.removesuffix(b"\n")


def _replace(path: Path, data: bytes) -> None:
    """Have *path* hold *data* when the disk has it: written beside it, synced, renamed. Makes the folders above it.

    Raises:
        OSError: the disk's; nothing is left beside *path*.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def _error(path: Path, why: str, hint: str) -> LiveRouterError:
    """Return an LR504 that names the file."""
    return LiveRouterError(f"the snapshot file {why}", code="LR504", where=f"file {path}", hint=hint)
