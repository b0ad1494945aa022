"""Who may use what `liverouter serve` starts: the token that it makes, and the logins of its own database."""

from __future__ import annotations

import shlex
import socket
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from liverouter import OptionsError
from liverouter.daemon import binding
from liverouter.daemon.service import serve
from tests.kit.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

GIVEN: Final = "a-long-random-token"


class TestMadeToken:
    def test_is_told_once_kept_and_wanted(self, dsn: str, tmp_path: Path) -> None:
        """On loopback it makes a token, prints the address with it, and keeps it for this user."""
        kept = tmp_path / "data" / "admin-token"
        with Daemon(log=tmp_path / "log", LIVEROUTER_DATABASE_URL=dsn) as daemon:
            token = daemon.token
            assert daemon.said[-1] == f"liverouter serves at {daemon.url}/#token={token}"
            assert str(kept) in daemon.said[-2]
            assert (kept.read_text().strip(), stat.S_IMODE(kept.stat().st_mode)) == (token, 0o600)
            assert daemon.get("/api/status", headers={}).status_code == 401
            assert daemon.get("/metrics", headers={}).status_code == 401
            assert daemon.get("/api/status").status_code == 200
            assert daemon.get("/livez", headers={"Host": "evil.example"}).status_code == 403
            with open(f"/proc/{daemon.process.pid}/cmdline", "rb") as arguments:  # noqa: PTH123 - read as it is now
                assert token.encode() not in arguments.read()
        assert token not in (tmp_path / "log").read_text()

    def test_given_one_is_not_told(self, dsn: str, tmp_path: Path) -> None:
        """A token that was given is wanted on every address, and not printed; none is made."""
        environment = {"LIVEROUTER_DATABASE_URL": dsn, "LIVEROUTER_ADMIN_TOKEN": GIVEN}
        with Daemon("--host", "0.0.0.0", log=tmp_path / "log", **environment) as daemon:  # noqa: S104 - that is the point
            assert GIVEN not in " ".join(daemon.said)
            daemon.url = daemon.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - what it says that it listens on
            assert daemon.get("/api/status", headers={}).status_code == 401
            assert daemon.get("/api/status").status_code == 200
            assert daemon.get("/readyz", headers={}).status_code == 503
            assert not (tmp_path / "data").exists()
            assert daemon.get("/livez", headers={"Host": "proxied.example"}).status_code == 200

    def test_none_is_wanted_with_no_token(self, dsn: str, tmp_path: Path) -> None:
        """With --no-token everybody on this machine may, and nothing is kept."""
        with Daemon("--no-token", log=tmp_path / "log", LIVEROUTER_DATABASE_URL=dsn) as daemon:
            assert daemon.token == ""
            assert daemon.get("/api/status", headers={}).status_code == 200
            assert daemon.get("/api/status", headers={"Host": "evil.example"}).status_code == 403
            assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize(
        ("host", "token"),
        [("0.0.0.0", ""), ("::", ""), ("0.0.0.0", GIVEN), ("127.0.0.1", GIVEN)],  # noqa: S104 - refused
    )
    def test_no_token_is_for_loopback_alone(
        self, dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, token: str
    ) -> None:
        """Elsewhere, or where a token is set, --no-token is refused before anything is opened."""
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", dsn)
        monkeypatch.setenv("LIVEROUTER_ADMIN_TOKEN", token)
        with pytest.raises(OptionsError) as refused:
            serve(host=host, port=0, data_dir=tmp_path / "data", with_token=False)
        assert refused.value.where == "LIVEROUTER_ADMIN_TOKEN"
        assert list(tmp_path.iterdir()) == []

    def test_localhost_is_what_it_resolves_to(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A name is loopback where its address is: one that resolves to another needs a token."""
        monkeypatch.setattr(binding, "resolve", lambda *_: (socket.AF_INET, "192.0.2.7"))
        with pytest.raises(OptionsError, match=r"localhost \(192\.0\.2\.7\) can be reached by others"):
            serve(host="localhost", port=0, data_dir=tmp_path)

    def test_folder_of_no_use_names_the_variable(
        self, dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Where no token can be kept, as in a unit without a home, the error says what to set."""
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", dsn)
        (tmp_path / "file").touch()
        with pytest.raises(OptionsError) as refused:
            serve(port=0, data_dir=tmp_path / "file" / "data", echo=lambda _: None)
        assert refused.value.where == "LIVEROUTER_ADMIN_TOKEN"


class TestOwnDatabase:
    def test_shows_a_login_for_services_and_not_its_owner(
        self, dsn: str, shared_tmp_path: Path, tmp_path: Path
    ) -> None:
        """What is printed logs in as a service, which may not write; the owner's DSN lies in a file of mode 0600.

        Who served a given database first may later have one of its own in the same folder, with the same token.
        """
        folder = shared_tmp_path / "data"
        with Daemon("--data-dir", str(folder), log=tmp_path / "log", LIVEROUTER_DATABASE_URL=dsn) as daemon:
            token = daemon.token
        with Daemon("--data-dir", str(folder), log=tmp_path / "log") as daemon:
            assert daemon.token == token
            shown = login(daemon)
            owners = (folder / "owner-dsn").read_text().strip()
            password = (folder / "password").read_text().strip()
            assert password in owners
            assert password not in " ".join(daemon.said)
            assert any(str(folder / "owner-dsn") in line for line in daemon.said)
            with closing(psycopg.connect(shown, autocommit=True)) as service_:
                assert ask(service_, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
                assert ask(service_, "SELECT pg_has_role('liverouter_client', 'member')") is True
                assert ask(service_, "SELECT pg_has_role('liverouter_writer', 'member')") is False
                assert ask(service_, "SELECT revision FROM liverouter.head") == 0
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    service_.execute("INSERT INTO liverouter.settings VALUES ('llm_model', '\"m\"')")
            with closing(psycopg.connect(owners, autocommit=True)) as owner:
                assert ask(owner, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
            for path in (p for p in folder.iterdir() if p.is_file() and p.name != "port"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            assert password not in daemon.get("/api/status").text
        assert password not in (tmp_path / "log").read_text()


def login(daemon: Daemon) -> str:
    """Return the DSN that the daemon shows."""
    (line,) = [line for line in daemon.said if line.startswith("export LIVEROUTER_DATABASE_URL=")]
    return shlex.split(line)[1].partition("=")[2]


def ask(connection: psycopg.Connection[Any], query: str) -> Any:
    """Return the one value that *query* has."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
