"""A real PgBouncer before a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

import psycopg

from tests.kit.waiting import until

_STARTS: Final = 5  # another program may take the port between our look and its start


class PgBouncer:
    """One pooler in *mode* ("transaction" or "session") on a loopback port, stopped on leaving."""

    def __init__(self, program: Path, dsn: str, mode: str) -> None:
        """Prepare to stand before the database of *dsn*."""
        self._program, self._target, self._mode = program, urlsplit(dsn), mode
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """The URL of the same database through the pooler."""
        login = self._target.netloc.rpartition("@")[0]
        return f"postgresql://{login}@127.0.0.1:{self._port}{self._target.path}?sslmode=disable"

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="liverouter-pgbouncer-"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        """Start on the first port that nobody takes meanwhile."""
        if not any(self._starts() for _ in range(_STARTS)):
            raise RuntimeError(f"pgbouncer does not start: {(self._folder / 'log').read_text()}")

    def _starts(self) -> bool:
        """Start on a port that is free at the moment; return once it answers, or False where it has ended."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        user, password = unquote(self._target.username or ""), unquote(self._target.password or "")
        users = self._folder / "users"
        users.write_text(f'"{user}" "{password}"\n')
        config = self._folder / "pgbouncer.ini"
        config.write_text(
            "[databases]\n"
            f"* = host={self._target.hostname} port={self._target.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self._port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            f"pool_mode = {self._mode}\ndefault_pool_size = 5\n"
        )
        argv = [str(self._program), "-q", str(config)]
        if os.geteuid() == 0:  # it refuses to run as root
            argv[1:1] = ["-u", "nobody"]
            for path in (self._folder, users, config):
                shutil.chown(path, "nobody")
        with (self._folder / "log").open("wb") as log:
            self._process = process = subprocess.Popen(argv, stdout=log, stderr=log)
        until(lambda: self._answers() or process.poll() is not None, what="pgbouncer")
        return process.poll() is None

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
