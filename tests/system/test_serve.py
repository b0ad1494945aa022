"""`liverouter serve` as supervisors, operators and newcomers meet it: a real process, real signals, real exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from liverouter import OptionsError, SecretError
from liverouter.cli.app import run
from liverouter.daemon.service import serve
from liverouter.postgres import migrate
from tests.kit.daemon import Daemon, reserved_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PATIENCE_S: Final = 120.0


def log_of(daemon: Daemon) -> list[dict[str, Any]]:
    """Return the daemon's log so far; every line of it must be JSON. One that is being written is left out."""
    whole, _, _ = daemon.log.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


class TestGivenDatabase:
    def test_empty_one_is_named_and_waited_for(
        self, empty_dsn: str, tmp_path: Path, wait_until: Callable[..., None]
    ) -> None:
        """A database without the schema is not migrated: it stays up and says what to run.

        Once it was migrated, and without any setting, log, problems and page say what to set. With --no-token
        everybody on this machine may ask, and nothing is kept.
        """
        with Daemon("--no-token", log=tmp_path / "log", LIVEROUTER_DATABASE_URL=empty_dsn) as daemon:
            assert daemon.token == ""
            answer = daemon.get("/api/config", headers={})
            assert daemon.get("/api/config", headers={"Host": "evil.example"}).status_code == 403
            assert not (tmp_path / "data").exists()
            assert (answer.status_code, answer.json()["code"]) == (503, "LR204")
            assert "liverouter migrate" in answer.json()["hint"]
            assert daemon.get("/readyz").status_code == 503
            assert migrate.current(empty_dsn) is None
            wait_until(lambda: any(line["event"] == "database.read_failed" for line in log_of(daemon)))
            migrate.upgrade(empty_dsn, echo=lambda _: None)
            wait_until(lambda: daemon.get("/readyz").json()["degraded"] == ["LR100"])
            failed = [line for line in log_of(daemon) if line["event"] == "database.read_failed"]
            assert failed[0]["code"] == "LR204"
            wait_until(lambda: any(line["event"] == "config.rejected" for line in log_of(daemon)))
            rejected = next(line for line in log_of(daemon) if line["event"] == "config.rejected")
            assert "liverouter set llm_provider=" in rejected["reasons"][0]
            wheres = {problem["where"] for problem in daemon.get("/api/config").json()["problems"]}
            assert wheres == {"settings.llm_provider", "settings.llm_model"}


class TestSignals:
    def test_second_signal_ends_it_at_once(self, dsn: str, tmp_path: Path, wait_until: Callable[..., None]) -> None:
        """Who asks twice does not wait for a request that hangs."""
        with (
            reserved_port() as port,
            Daemon("--port", str(port), log=tmp_path / "log", LIVEROUTER_DATABASE_URL=dsn) as daemon,
            socket.socket() as slow,
        ):
            slow.connect(("127.0.0.1", port))
            slow.sendall(
                b"POST /api/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
                b"Authorization: Bearer " + daemon.token.encode() + b"\r\n\r\n{"
            )
            daemon.get("/livez").raise_for_status()  # the request before it has arrived

            def refuses() -> bool:
                with socket.socket() as another:
                    return another.connect_ex(("127.0.0.1", port)) != 0

            daemon.process.send_signal(signal.SIGTERM)
            wait_until(refuses)  # it heeds the first one: of two that come while it does not run it would see one
            assert daemon.process.poll() is None
            assert daemon.end(signal.SIGTERM) == -signal.SIGTERM


class TestSystemd:
    @pytest.fixture
    def supervisor(self, tmp_path: Path) -> Iterator[tuple[str, list[dict[str, str]]]]:
        """Systemd's end of the notify socket: its address, and the messages so far."""
        address = f"{tmp_path}/notify"
        messages: list[dict[str, str]] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(address)

            def read() -> None:
                while datagram := channel.recv(4096):
                    messages.append(dict(line.split("=", 1) for line in datagram.decode().splitlines()))

            thread = threading.Thread(target=read)
            thread.start()
            yield address, messages
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"", address)
            thread.join()

    def test_is_told_of_every_step(
        self, dsn: str, tmp_path: Path, supervisor: Any, wait_until: Callable[..., None]
    ) -> None:
        """READY once it serves, WATCHDOG from its loop, RELOADING with a timestamp until READY, STOPPING at the end.

        An open stream does not hold the graceful end: it is closed, and the exit code is 0.
        """
        address, messages = supervisor

        def told(key: str) -> list[dict[str, str]]:
            return [message for message in messages if key in message]

        # A sign of life a second: the socket holds ten messages, then loses those that come while nobody reads here.
        environment = {"LIVEROUTER_DATABASE_URL": dsn, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}
        with Daemon(log=tmp_path / "log", **environment) as daemon:
            wait_until(lambda: told("READY"))
            assert "revision" in told("READY")[0]["STATUS"]
            pings = len(told("WATCHDOG"))
            wait_until(lambda: len(told("WATCHDOG")) >= pings + 3)
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(told("READY")) == 2)
            (reloading,) = told("RELOADING")
            assert int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            order = [key for message in messages for key in message if key in ("READY", "RELOADING")]
            assert order == ["READY", "RELOADING", "READY"]
            with httpx.stream("GET", f"{daemon.url}/api/events", headers=daemon.headers, timeout=_PATIENCE_S) as stream:
                lines = stream.iter_lines()
                next(lines)
                assert daemon.end(signal.SIGTERM) == 0
                deque(lines, maxlen=0)  # the stream ended, and was not cut off: that would raise
            events = [line["event"] for line in log_of(daemon)]
            assert events[-1] == "client.closed"
            assert "http.complained" not in events  # as it does when it had to cut something off
        wait_until(lambda: told("STOPPING"))


class TestExitCodes:
    def test_address_in_use_is_a_failure(self, dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A port that is taken: 1, with code and hint, before anything else was started."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert run(["serve", "--port", port, "--database-url", dsn]) == 1
        assert "LR610" in capsys.readouterr().err

    def test_bad_option_is_78(self, dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
        """An option that cannot work is 78, which tells a supervisor not to try again; the message names it."""
        arguments = ["serve", "--host", "0.0.0.0", "--port", "0", "--database-url", dsn]  # noqa: S104 - it must be refused
        assert run(arguments) == 78
        assert "LIVEROUTER_ADMIN_TOKEN" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("host", "environment", "where"),
        [
            ("::", {}, "LIVEROUTER_ADMIN_TOKEN"),
            ("", {}, "LIVEROUTER_ADMIN_TOKEN"),
            ("::ffff:0.0.0.0", {}, "LIVEROUTER_ADMIN_TOKEN"),
            ("127.0.0.1", {"LIVEROUTER_ADMIN_TOKEN": "fifteen-letters"}, "LIVEROUTER_ADMIN_TOKEN"),
            ("127.0.0.1", {"LIVEROUTER_ADMIN_TOKEN_FILE": "/nowhere"}, "LIVEROUTER_ADMIN_TOKEN_FILE"),
            ("127.0.0.1", {"LIVEROUTER_ADMIN_TOKEN_FILE": os.devnull}, "LIVEROUTER_ADMIN_TOKEN_FILE"),
            ("127.0.0.1", {"LIVEROUTER_DATABASE_URL": "mysql://x"}, "LIVEROUTER_DATABASE_URL"),
            ("127.0.0.1", {"LIVEROUTER_SECRET_KEYS": "short"}, "LIVEROUTER_SECRET_KEYS"),
        ],
    )
    def test_bad_option_is_named(
        self, dsn: str, monkeypatch: pytest.MonkeyPatch, host: str, environment: dict[str, str], where: str
    ) -> None:
        """Each option that cannot work is refused before anything is opened, and says where it comes from."""
        for name, value in ({"LIVEROUTER_DATABASE_URL": dsn} | environment).items():
            monkeypatch.setenv(name, value)
        with pytest.raises((OptionsError, SecretError)) as refused:
            serve(host=host, port=0)
        assert refused.value.where == where
