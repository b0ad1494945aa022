"""Small texts on disk that are for this user's eyes only: tokens, passwords, keys, DSNs."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from liverouter.errors import OptionsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MAX_BYTES: Final = 65_536
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def keep(path: Path, make: Callable[[], str]) -> str:
    """Return the text of the file at *path*, without the space around it; *make* gives it on first use.

    The file is made with mode 0600, whole or not at all: of two processes that make it at once, one does.

    Raises:
        OptionsError: it is a link, belongs to somebody else, or others may use it.
        OSError: it cannot be read or made.
    """
    try:
        return read(path)
    except FileNotFoundError:
        new = _write_beside(path, make())
    try:
        with contextlib.suppress(FileExistsError):  # another process was faster: its file counts
            os.link(new, path)
    finally:
        new.unlink()
    return read(path)


def replace(path: Path, text: str) -> None:
    """Have the file at *path* hold *text* and nothing else, with mode 0600, whatever was there before.

    Raises:
        OSError: it cannot be written.
    """
    _write_beside(path, text).replace(path)


def make_folder(path: Path) -> None:
    """Create the folder *path* where it is missing.

    Root's embedded server runs as another user, who has to pass through; what lies in here stays root's alone.

    Raises:
        OSError: it cannot be made.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)


def read(path: Path) -> str:
    """Return the text of the file at *path*, without the space around it.

    Raises:
        OptionsError: it is a link, belongs to somebody else, or others may use it.
        OSError: it cannot be read.
    """
    try:
        # NONBLOCK: to open a pipe that somebody put here would wait for its writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if path.is_symlink():
            raise _not_private(path, "is a link") from exc
        raise
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_private(path, "is no file")
        if found.st_uid != os.geteuid():
            raise _not_private(path, "belongs to another user")
        if found.st_mode & _OTHERS:
            raise _not_private(path, f"can be used by others (mode {stat.S_IMODE(found.st_mode):o})")
        return file.read(_MAX_BYTES).decode("utf-8", "replace").strip()


def _write_beside(path: Path, text: str) -> Path:
    """Return a new file of the same folder that holds *text* and is on disk."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(descriptor)  # a secret sealed with a key that a crash lost would be lost
    return new


def _not_private(path: Path, what: str) -> OptionsError:
    return OptionsError(
        f"this file is for the eyes of one user, and it {what}",
        where=str(path),
        hint="Make it yours alone (chown, chmod 600); where others may have read or changed it, replace what is in it",
    )
