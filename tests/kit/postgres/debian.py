"""The PostgreSQL of the distribution, as people run it: stock settings but for fsync, JIT, TLS, logins by SCRAM."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final, Self

import psycopg

from liverouter.embedded.plan import SUPERUSER, environment
from liverouter.embedded.server_user import ServerUser
from tests.kit.certificates import Certificates
from tests.kit.waiting import until

PACKAGE: Final = "postgresql"
CERTIFIED: Final = "localhost"  # the one name that its certificate is for
_INSTALLED: Final = Path("/usr/lib/postgresql")
_STARTS: Final = 5  # another program may take the port between our look and its start


def programs() -> Path | None:
    """Return the folder of the newest installed server that has JIT, or None where there is none."""
    found = [path.parents[1] / "bin" for path in _INSTALLED.glob("*/lib/llvmjit.so")]
    return max((path for path in found if (path / "initdb").exists()), key=lambda p: float(p.parent.name), default=None)


class DebianPostgres:
    """One server of the distribution's programs on a loopback port; its data is thrown away on leaving.

    Attributes:
        host: the address it listens on.
        port: of that address.
        user: the superuser.
        password: the superuser's.
        authority: the file of the certificate authority that made its certificate.
    """

    def __init__(self, programs: Path) -> None:
        """Run what *programs*, a folder, holds; starts with `with`."""
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self.host, self.port, self.user, self.password = "127.0.0.1", 0, SUPERUSER, secrets.token_hex(8)

    @property
    def authority(self) -> Path:
        """The certificate of the authority that its own certificate is by."""
        return self._folder / "authority.pem"

    def __enter__(self) -> Self:
        user = ServerUser.find(None)
        assert user is not None
        self._folder = user.make_temp_dir()
        try:
            self._make(user)
            self._start(user)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown: sessions are ended
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make(self, user: ServerUser) -> None:
        """Make the data folder; everything but TLS and fsync is as initdb leaves it."""
        data = user.make_folder(self._folder / "data")
        password = user.write_file(self._folder / "password", self.password)
        initdb = [str(self._programs / "initdb"), "-D", str(data), "-U", self.user, f"--pwfile={password}"]
        initdb += ["--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", env=environment(), **user.popen)
        made = Certificates.make(CERTIFIED)
        self.authority.write_text(made.authority)
        for name, text in (("server.crt", made.certificate), ("server.key", made.key)):
            user.write_file(data / name, text)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write("ssl = on\n")
            settings.write("fsync = off\n")  # each CREATE and DROP DATABASE would wait for the disk

    def _start(self, user: ServerUser) -> None:
        """Start on the first port that nobody takes meanwhile."""
        if not any(self._starts(user) for _ in range(_STARTS)):
            raise RuntimeError(f"Debian's PostgreSQL does not start: {(self._folder / 'log').read_text()}")

    def _starts(self, user: ServerUser) -> bool:
        """Start on a port that is free at the moment; return once it answers, or False where it has ended."""
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = probe.getsockname()[1]
        # -F: nothing here has to survive a power cut; no plan and no answer depends on it.
        argv = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-F"]
        argv += ["-p", str(self.port), "-h", self.host, "-k", ""]
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/", env=environment(), **user.popen)
        self._process = process
        until(lambda: self._answers() or process.poll() is not None, what="Debian's PostgreSQL")
        return process.poll() is None

    def _answers(self) -> bool:
        try:
            psycopg.connect(
                host=self.host, port=self.port, user=self.user, password=self.password, connect_timeout=5
            ).close()
        except psycopg.OperationalError:
            return False
        return True
