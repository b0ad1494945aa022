"""The steps of the plan that `supervisor` runs, as JSON: initdb, then the server. No process is started here.

The supervisor imports nothing of this, because it is a script without our packages.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Final

from liverouter.embedded.data_folder import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from liverouter.embedded.binaries import Binaries
    from liverouter.embedded.data_folder import DataFolder
    from liverouter.embedded.server_user import ServerUser

    Step = dict[str, Any]

SUPERUSER: Final = "postgres"  # of the database
SETTINGS: Final = {
    "listen_addresses": HOST,
    "max_connections": "100",
    "shared_buffers": "64MB",
    "log_checkpoints": "off",
    # A refused write may hold a secret put in the wrong place: neither its statement nor its row is logged.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
THROW_AWAY: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
}

_BUILTIN_LOCALE_SINCE: Final = 17  # older versions have C.UTF-8 only where the system has it


def initdb_step(folder: DataFolder, user: ServerUser, binaries: Binaries, password_file: Path, *, sync: bool) -> Step:
    """Return the step that makes a cluster beside its place, then moves it there: no half-made one is ever used.

    Removes a half-made one that is there.

    Args:
        folder: where the cluster goes.
        user: who owns it.
        binaries: whose initdb makes it.
        password_file: holds the superuser's password.
        sync: whether initdb waits for the disk.
    """
    new = folder.cluster.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    user.make_folder(new)
    argv = [binaries.program("initdb"), "-D", str(new), "-U", SUPERUSER, f"--pwfile={password_file}"]
    argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    if binaries.major >= _BUILTIN_LOCALE_SINCE:
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if not sync:
        argv.append("--no-sync")
    return step(folder, user, argv, rename=(str(new), str(folder.cluster)))


def step(folder: DataFolder, user: ServerUser, argv: list[str], rename: tuple[str, str] | None = None) -> Step:
    """Return the step that runs *argv* as *user*, with the folder's log for its output.

    Where it succeeds, the first path of *rename* is moved to the second.
    """
    return {"argv": argv, "env": environment(), "user": user.popen, "log": str(folder.log), "rename": rename}


def environment() -> dict[str, str]:
    """Return what a server needs of our environment; neither a provider's key nor a PG* variable is in it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
