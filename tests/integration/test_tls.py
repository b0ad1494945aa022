"""Logins and TLS as PostgreSQL's packages set them up: verified, by SCRAM, and every failure named."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psycopg
import pytest

from liverouter.bus import Bus
from liverouter.errors import DatabaseError
from liverouter.events import ListenerConnected
from liverouter.loops.reload_requests import ReloadRequests
from liverouter.postgres import migrate
from liverouter.postgres.dsn import Dsn
from liverouter.postgres.listener import Listener
from liverouter.postgres.repository import SettingsRepository
from tests.kit import patience
from tests.kit.certificates import Certificates
from tests.kit.postgres.debian import CERTIFIED, DebianPostgres
from tests.kit.sql import value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.servers("debian")
patient = patience.patient

ENCRYPTED: Final = """
    SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
    WHERE a.application_name = 'lr-tls-test'
"""


@pytest.fixture
def verified(debian_postgres: DebianPostgres, dsn: str) -> Callable[..., str]:
    """A function that returns the database's URL, its server's certificate verified against a file, by a host name."""

    def url(authority: Path = debian_postgres.authority, *, host: str = CERTIFIED) -> str:
        return f"{dsn.replace('@127.0.0.1:', f'@{host}:')}?sslmode=verify-full&sslrootcert={quote(str(authority))}"

    return url


def refusal(url: str) -> DatabaseError:
    """Return why the database at *url* cannot be asked."""
    with pytest.raises(DatabaseError) as caught:
        migrate.current(url)
    return caught.value


class TestVerified:
    async def test_every_connection_is_encrypted_and_verified(self, verified: Callable[..., str], dsn: str) -> None:
        """Reads, writes and the listener's own connection, by SCRAM over TLS."""
        repository = SettingsRepository(url=verified(), application_name="lr-tls-test")
        try:
            assert await repository.write({"llm_model": "m"}) == 1
            assert (await repository.read()).settings == {"llm_model": "m"}
            with psycopg.connect(dsn) as db:
                assert value(db, ENCRYPTED) is True
        finally:
            await repository.close()

    async def test_listener_connects_over_tls(self, verified: Callable[..., str], dsn: str) -> None:
        """The connection that waits for notifications is as any other."""
        connected = asyncio.Event()
        listener = Listener(
            dsn=Dsn.parse(verified()),
            requests=ReloadRequests(Bus()),
            bus=Bus(lambda event: connected.set() if isinstance(event, ListenerConnected) else None),
            application_name="lr-tls-test",
        )
        task = asyncio.create_task(listener.run())
        try:
            async with asyncio.timeout(60):
                await connected.wait()
            with psycopg.connect(dsn) as db:
                assert value(db, ENCRYPTED) is True
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def test_name_that_the_certificate_is_not_for_is_refused(self, verified: Callable[..., str]) -> None:
        """Somebody in between, or the wrong name in the URL."""
        refused = refusal(verified(host="127.0.0.1"))
        assert (refused.code, refused.message) == ("LR201", "TLS to the database failed")
        assert "sslrootcert" in refused.hint

    def test_certificate_of_another_authority_is_refused(self, verified: Callable[..., str], tmp_path: Path) -> None:
        """A server that anybody could have set up."""
        (tmp_path / "other.pem").write_text(Certificates.make(CERTIFIED).authority)
        assert refusal(verified(tmp_path / "other.pem")).message == "TLS to the database failed"

    def test_missing_certificate_file_is_named_as_such(self, verified: Callable[..., str], tmp_path: Path) -> None:
        """Not as a socket that is missing: nobody would look for the file."""
        refused = refusal(verified(tmp_path / "missing.pem"))
        assert refused.code == "LR201"
        assert refused.hint == "sslrootcert names a file that cannot be read"
        assert "sslrootcert" in refused.hint

    def test_missing_socket_is_still_a_missing_socket(self, tmp_path: Path) -> None:
        """The other file that a connect may not find."""
        assert "socket" in refusal(f"postgresql:///x?host={tmp_path}").message


class TestLogins:
    def test_wrong_password_is_a_refused_login(self, debian_postgres: DebianPostgres, dsn: str) -> None:
        """SCRAM says no more than that; neither do we."""
        refused = refusal(dsn.replace(debian_postgres.password, "not-the-password"))
        assert (refused.code, "not-the-password" in str(refused)) == ("LR202", False)
