"""The operating-system user that PostgreSQL runs as: our own, or another for root, whom PostgreSQL refuses."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

_CANDIDATES: Final = ("postgres", "nobody")  # initdb wants a user that has a name
_MAX_TEMP_PATH: Final = 60  # characters of the folder's path; on macOS the whole path of a socket may have 103 bytes


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Who owns a cluster's files and runs its server. `find` makes one.

    Attributes:
        is_other: whether we are root and have to become this user.
    """

    name: str
    uid: int
    gid: int
    is_other: bool

    @classmethod
    def find(cls, cluster: Path | None) -> Self | None:
        """Return the user for *cluster*, its data directory, or for a new one where that is None.

        That is the owner of *cluster*; for a new one our own user, or for root `postgres`, else `nobody`. None where
        there is no such user, or we cannot become him.
        """
        import pwd  # here, because Windows has no such module, and imports this one

        we_are_root = os.geteuid() == 0
        if cluster:
            entries = [e for e in pwd.getpwall() if e.pw_uid == cluster.stat().st_uid]
        elif we_are_root:
            entries = [e for name in _CANDIDATES for e in pwd.getpwall() if e.pw_name == name]
        else:
            entries = [e for e in pwd.getpwall() if e.pw_uid == os.geteuid()]
        usable = [e for e in entries if (e.pw_uid != 0 if we_are_root else e.pw_uid == os.geteuid())]
        return next((cls(e.pw_name, e.pw_uid, e.pw_gid, we_are_root) for e in usable), None)

    @property
    def popen(self) -> dict[str, Any]:
        """The arguments that make `subprocess` run a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.is_other else {}

    def may_enter(self, folder: Path) -> bool:
        """Return whether this user can reach what lies in *folder*."""
        return self._succeeds("/bin/sh", "-c", 'test -x "$1"', "-", str(folder))

    def may_run(self, program: Path) -> bool:
        """Return whether this user can run *program*."""
        return self._succeeds(str(program), "--version")

    def make_folder(self, path: Path) -> Path:
        """Create a folder that only this user can open."""
        path.mkdir(mode=0o700)
        if self.is_other:
            os.chown(path, self.uid, self.gid)
        return path

    def make_temp_dir(self) -> Path:
        """Make the folder for sockets, staged programs and throw-away data: short, and in reach of this user."""
        preferred = Path(tempfile.gettempdir())
        fits = len(str(preferred)) <= _MAX_TEMP_PATH and '"' not in str(preferred) and self.may_enter(preferred)
        made = Path(tempfile.mkdtemp(prefix="liverouter-pg-", dir=preferred if fits else "/tmp"))  # noqa: S108 - mkdtemp is safe there
        if self.is_other:
            made.chmod(0o711)
        return made

    def write_file(self, path: Path, text: str) -> Path:
        """Create a file that only this user can read."""
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(text)
        if self.is_other:
            os.chown(path, self.uid, self.gid)
        return path

    def _succeeds(self, *argv: str) -> bool:
        """Tell whether a command that this user runs exits with 0; False where it cannot be run."""
        try:
            return not subprocess.run(argv, cwd="/", capture_output=True, check=False, **self.popen).returncode
        except OSError:
            return False
