"""Redis servers for tests: a fake that speaks over TCP, and Debian's."""

from __future__ import annotations

import signal
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import redis
from fakeredis import TcpFakeServer

from tests.kit.ports import ClosedPort
from tests.kit.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


class FakeServer:
    """A Redis that speaks over TCP, in this process."""

    def __init__(self) -> None:
        self.server = TcpFakeServer(("127.0.0.1", 0))
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, connections included."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(60)


class RealServer:
    """Debian's redis-server on a port of its own, which stays its own while it is down."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._place = ClosedPort(lent=True)
        self.port = self._place.number
        try:
            self.start()
        except BaseException:
            self._place.close()
            raise

    def start(self) -> None:
        """Start it, empty."""
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"]
        self.process = subprocess.Popen([self._program, "--port", str(self.port), *options], stdout=subprocess.DEVNULL)
        try:
            until(self._answers, what="redis-server answers")
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, "redis-server has ended"
        with suppress(redis.ConnectionError), redis.Redis(port=self.port) as client:
            return bool(client.ping())
        return False

    def kill(self) -> None:
        """Kill it."""
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> None:
        """Kill it, and give the port back."""
        self.kill()
        self._place.close()
