"""Who may use what `liverouter serve` starts: the token that it makes, and the logins of its own database."""

from __future__ import annotations

import shlex
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from liverouter import OptionsError
from liverouter.cli.app import run
from liverouter.daemon import binding
from liverouter.daemon.service import serve
from tests.kit.daemon import Daemon

GIVEN: Final = "a-long-random-token"


class TestToken:
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


class TestFolder:
    def test_keeps_token_database_and_secrets(
        self, dsn: str, shared_tmp_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Who served a given database first may later have one of its own in the same folder, with the same token."""
        folder, log = shared_tmp_path / "data", tmp_path / "log"
        with Daemon("--data-dir", str(folder), log=log, LIVEROUTER_DATABASE_URL=dsn) as daemon:
            token_is_told_once_and_wanted(daemon, folder / "admin-token")
            token = daemon.token
        assert token not in log.read_text()
        with Daemon("--data-dir", str(folder), log=log) as daemon:
            assert daemon.token == token
            shows_a_login_for_services_and_not_its_owner(daemon, folder)
            exports = exports_of(daemon)
            assert daemon.get("/", headers={}).status_code == 200
            body = {"settings": {"llm_model": "m"}, "secrets": {"openai_api_key": "sk-0123456789abcdef"}}
            headers = daemon.headers | {"If-Match": '"0"'}
            daemon.ask("PUT", "/api/config", headers=headers, json=body).raise_for_status()
            assert run(["serve", "--port", "0", "--data-dir", str(folder)]) == 1
            assert "LR220" in capsys.readouterr().err
            password = (folder / "password").read_text().strip()
        keys = folder / "secret-keys"
        assert exports["LIVEROUTER_SECRET_KEYS_FILE"] == str(keys)
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
        assert password not in log.read_text()
        with Daemon("--data-dir", str(folder), log=log) as daemon:
            config = daemon.get("/api/config").json()
            assert exports_of(daemon) == exports
        assert config["settings"] == {"llm_model": "m"}
        assert config["secrets"]["openai_api_key"]["opens"] is True
        assert "sk-0123456789abcdef" not in log.read_text()


def token_is_told_once_and_wanted(daemon: Daemon, kept: Path) -> None:
    """On loopback it makes a token, prints the address with it, and keeps it for this user."""
    token = daemon.token
    assert daemon.said[-1] == f"liverouter serves at {daemon.url}/#token={token}"
    assert str(kept) in daemon.said[-2]
    assert (kept.read_text().strip(), stat.S_IMODE(kept.stat().st_mode)) == (token, 0o600)
    assert daemon.get("/api/status", headers={}).status_code == 401
    assert daemon.get("/metrics", headers={}).status_code == 401
    assert daemon.get("/api/status").status_code == 200
    assert daemon.get("/livez", headers={"Host": "evil.example"}).status_code == 403
    assert token.encode() not in Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()


def shows_a_login_for_services_and_not_its_owner(daemon: Daemon, folder: Path) -> None:
    """What is printed logs in as a service, which may not write; the owner's DSN lies in a file of mode 0600."""
    owners = (folder / "owner-dsn").read_text().strip()
    password = (folder / "password").read_text().strip()
    assert password in owners
    assert password not in " ".join(daemon.said)
    assert any(str(folder / "owner-dsn") in line for line in daemon.said)
    with closing(psycopg.connect(exports_of(daemon)["LIVEROUTER_DATABASE_URL"], autocommit=True)) as service:
        assert ask(service, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert ask(service, "SELECT pg_has_role('liverouter_client', 'member')") is True
        assert ask(service, "SELECT pg_has_role('liverouter_writer', 'member')") is False
        assert ask(service, "SELECT revision FROM liverouter.head") == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.execute("INSERT INTO liverouter.settings VALUES ('llm_model', '\"m\"')")
    with closing(psycopg.connect(owners, autocommit=True)) as owner:
        assert ask(owner, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
    for path in (p for p in folder.iterdir() if p.is_file() and p.name != "port"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert password not in daemon.get("/api/status").text


def exports_of(daemon: Daemon) -> dict[str, str]:
    """Return the variables that the daemon shows for services."""
    return dict(shlex.split(line)[1].split("=", 1) for line in daemon.said if line.startswith("export "))


def ask(connection: psycopg.Connection[Any], query: str) -> Any:
    """Return the one value that *query* has."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
