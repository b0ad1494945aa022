"""URLs as vendors give them, connected: TLS, sockets, proxies that refuse settings, passwords that expire."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from liverouter import LiveRouter
from liverouter.errors import DatabaseError, OptionsError
from liverouter.events import DatabaseOptionsIgnored
from liverouter.options import load
from liverouter.postgres.asked_url import AskedUrl
from liverouter.postgres.connection import connect
from liverouter.postgres.dsn import Dsn
from liverouter.postgres.repository import SettingsRepository
from liverouter.testing import EventLog
from tests.kit import patience
from tests.kit.postgres.emptied import one_database
from tests.kit.postgres.front import Front, make_certificate, refusing
from tests.kit.postgres.pgbouncer import PgBouncer
from tests.kit.sql import put
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()

patient = patience.patient

PATIENCE_S = 60.0


async def read(url: Any) -> int:
    """Return the revision that a read of *url* finds."""
    repository = SettingsRepository(url=url, connect_timeout_s=PATIENCE_S)
    try:
        return (await repository.read()).revision
    finally:
        await repository.close()


async def failure(url: Any) -> DatabaseError:
    """Return how a read of *url* fails."""
    with pytest.raises(DatabaseError) as caught:
        await read(url)
    return caught.value


async def shown(url: str, *names: str, **settings: str) -> list[str]:
    """Return what the session of a connection to *url* has for the run-time parameters *names*."""
    connection = await connect(
        Dsn.parse(url), application_name="ours", timeout_s=PATIENCE_S, server_settings=settings or None
    )
    try:
        return [await connection.fetchval("SELECT current_setting($1)", name) for name in names]
    finally:
        await connection.close()


class TestTls:
    async def test_certificate_is_verified_as_the_url_says(
        self, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a file or by what the machine trusts; the server hears the name that vendors route by."""
        context, root = make_certificate(tmp_path, "localhost")
        with Front(dsn, tls=context) as front:
            assert (await failure(front.url("sslmode=disable"))).code == "LR202"
            assert await read(front.url("sslmode=require&channel_binding=require", host="localhost")) == 0
            assert await read(front.url(f"sslmode=verify-full&sslrootcert={root}", host="localhost")) == 0
            assert set(front.names) == {"localhost"}
            wrong_name = await failure(front.url(f"sslmode=verify-full&sslrootcert={root}"))
            assert (wrong_name.code, "sslrootcert" in wrong_name.hint) == ("LR201", True)
            system = front.url("sslrootcert=system", host="localhost")
            assert (await failure(system)).code == "LR201"
            monkeypatch.setenv("SSL_CERT_FILE", str(root))
            assert await read(system) == 0

    async def test_file_that_is_missing_is_named(self, dsn: str) -> None:
        """And not told as a socket that does not exist."""
        found = await failure(f"{dsn}?sslmode=verify-full&sslrootcert=/nowhere/root.pem")
        assert (found.code, found.hint) == ("LR201", "sslrootcert names a file that cannot be read")


class TestOptions:
    async def test_socket_in_a_folder_connects(self, dsn: str, shared_tmp_path: Path) -> None:
        """As Cloud SQL has it, colons and all."""
        folder = shared_tmp_path / "project:region:db"
        folder.mkdir()
        with Front(dsn, folder=folder) as front:
            assert await read(front.url()) == 0

    async def test_start_up_options_reach_the_server(self, dsn: str) -> None:
        """The application's name is the URL's where it has one; what proxies route by goes along."""
        with Front(dsn) as front:
            url = front.url("options=-c%20work_mem%3D3MB&application_name=theirs")
            assert await shown(url, "work_mem", "application_name") == ["3MB", "theirs"]
        with Front(dsn, refuse=refusing("08P01", "options")) as front:
            url = front.url("options=endpoint%3Dep-1%20-c%20work_mem%3D3MB%20--search-path%3Da\\%20b")
            assert (await failure(url)).code == "LR208"  # the real server knows no endpoint
            assert [startup.get("options") for startup in front.startups[-2:]] == ["endpoint=ep-1"] * 2

    @pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="needs Linux")
    async def test_keepalive_is_as_the_url_says(self, dsn: str) -> None:
        """Ours, where it does not say."""
        for query, idle, on in (("", 30, 1), ("?keepalives_idle=7", 7, 1), ("?keepalives=0", 30, 0)):
            connection = await connect(Dsn.parse(f"{dsn}{query}"), application_name="x", timeout_s=PATIENCE_S)
            sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001 - nowhere else
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == on
            await connection.close()

    def test_options_that_mean_nothing_are_told_once(self) -> None:
        """By one event, whether the URL stands or is given by a function."""
        url = "postgresql://u:p@127.0.0.1:1/d?pgbouncer=true&schema=public"
        for given in (url, lambda: url):
            events = EventLog()
            with LiveRouter(database_url=given, observers=(events,)):
                told = events.wait_for(DatabaseOptionsIgnored)
            assert told.options == ("pgbouncer", "schema")
            assert len(events.of(DatabaseOptionsIgnored)) == 1


class TestRefusedSettings:
    @pytest.mark.parametrize("state", ["08P01", "0A000", "22023", "28000", "42501", "42704", "55P02", "XX000"])
    async def test_settings_that_are_refused_at_the_start_are_set_afterwards(self, dsn: str, state: str) -> None:
        """By whatever code a proxy refuses them, the name of the application as well."""
        names = ("statement_timeout", "work_mem", "application_name")
        with Front(dsn, refuse=refusing(state)) as front:
            url = front.url("options=-c%20work_mem%3D3MB")
            assert await shown(url, *names, statement_timeout="70s") == ["70s", "3MB", "ours"]
            assert len(front.startups) == 3
        with Front(dsn, refuse=refusing(state, "application_name")) as front:
            assert await read(front.url()) == 0
            assert len(front.startups) == 2

    async def test_what_is_refused_for_other_reasons_is_asked_once(self, dsn: str) -> None:
        """A wrong password is no matter of settings, and a lock-out counts."""
        for state in ("28P01", "3D000", "53300", "57P03"):
            with Front(dsn, refuse=refusing(state)) as front:
                with pytest.raises(asyncpg.PostgresError):
                    await shown(front.url(), statement_timeout="70s")
                assert len(front.startups) == 1

    async def test_nothing_is_left_to_other_clients_of_a_pooler(
        self, dsn: str, needs_program: Callable[..., Path]
    ) -> None:
        """A pooler hands a session on, with whatever was set on it."""
        with PgBouncer(needs_program("pgbouncer", package="pgbouncer"), dsn, "transaction") as pooler:
            before = await shown(pooler.dsn, "statement_timeout", "idle_session_timeout")
            assert await read(pooler.dsn) == 0
            assert await shown(pooler.dsn, "statement_timeout", statement_timeout="70s") == before[:1]

    async def test_pooler_that_takes_no_transaction_is_named(
        self, dsn: str, needs_program: Callable[..., Path]
    ) -> None:
        """Reads are single statements, and pass; a write is not, and the server is not to blame."""
        with PgBouncer(needs_program("pgbouncer", package="pgbouncer"), dsn, "statement") as pooler:
            assert await read(pooler.dsn) == 0
            repository = SettingsRepository(url=pooler.dsn, connect_timeout_s=PATIENCE_S)
            with pytest.raises(DatabaseError) as caught:
                await repository.write({"llm_model": "m"})
            await repository.close()
            assert (caught.value.code, "pool_mode" in caught.value.hint) == ("LR201", True)

    def test_client_is_live_behind_such_a_proxy(self, dsn: str, db: Session) -> None:
        """Its listener, too."""
        put(db, llm_provider="openai", llm_model="m", litellm_enable=False)
        with (
            Front(dsn, refuse=refusing("0A000")) as front,
            LiveRouter(database_url=front.url(), heartbeat_interval_s=1) as live,
        ):
            until(lambda: live.status().mode == "listen")


class Passwords:
    """A login whose password changes, and the function that tells its URL."""

    def __init__(self, url: str, db: Session) -> None:
        self.url, self._db = url, db
        self.asked = 0
        self.stale: list[str] = []  # answers to give first

    def change(self) -> str:
        """Give the login another password, end its sessions, and return the URL of before."""
        before, parts = self.url, urlsplit(self.url)
        password = f"changed-{len(before)}-{self.asked}"
        self._db.execute(f"ALTER ROLE {parts.username} PASSWORD '{password}'".encode())
        ended = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = %s"
        self._db.execute(ended, [parts.username])
        self.url = parts._replace(netloc=f"{parts.username}:{password}@{parts.hostname}:{parts.port}").geturl()
        return before

    def __call__(self) -> str:
        """Return the URL, or a stale one."""
        self.asked += 1
        return self.stale.pop(0) if self.stale else self.url


class TestAskedUrl:
    @pytest.fixture
    def passwords(self, db: Session, login: Callable[..., str]) -> Passwords:
        """A client's login."""
        return Passwords(login("liverouter_client"), db)

    async def test_function_is_asked_at_each_connect(self, passwords: Passwords) -> None:
        """A kept connection asks for nothing; one that broke has a new one made with the password of now."""
        repository = SettingsRepository(url=passwords)
        await repository.read()
        await repository.read()
        assert passwords.asked == 1
        passwords.change()
        await repository.read()
        assert passwords.asked == 2
        await repository.close()

    async def test_refused_login_is_tried_again_at_once_with_a_fresh_url(self, passwords: Passwords) -> None:
        """A token that ran out between two looks costs nothing; one that is no newer is tried no second time."""
        stale = passwords.change()
        passwords.stale = [stale]
        assert await read(passwords) == 0
        assert passwords.asked == 2
        passwords.stale = [stale] * 9
        assert (await failure(passwords)).code == "LR202"
        assert passwords.asked == 4

    async def test_function_may_be_async(self, dsn: str) -> None:
        """As the libraries of clouds have them."""

        async def url() -> str:
            return dsn

        assert await read(url) == 0

    @pytest.mark.parametrize("answer", [None, "", "mysql://u:s3cretpart@h/d", b"postgresql://h/d"])
    async def test_answer_that_is_no_url_is_told_without_it(self, answer: Any) -> None:
        """The error names the function, and repeats nothing."""
        found = await failure(lambda: answer)
        assert (found.code, found.where) == ("LR201", "database_url")
        assert found.hint
        assert "s3cretpart" not in str(found)

    def test_function_that_fails_is_told_and_asked_again(self, dsn: str, db: Session) -> None:
        """A token service that is down for a while delays the start, and ends no process."""
        put(db, llm_provider="openai", llm_model="m")
        secret, down = "s3cretpart-of-an-error", [True]

        def url() -> str:
            if down:
                raise RuntimeError(secret)
            return dsn

        with LiveRouter(database_url=url) as live:
            error = live.status().last_error
            assert error is not None
            assert (error.code, error.message) == ("LR201", "database_url gave no URL: RuntimeError")
            down.clear()
            until(lambda: (found := live.status().last_error) and found.code == "LR102")  # a row's, which was read
            assert secret not in repr(live)

    async def test_file_is_read_at_each_connect(self, passwords: Passwords, tmp_path: Path) -> None:
        """Whatever writes it: a mounted secret, a sidecar. DATABASE_URL comes after it."""
        file = tmp_path / "url"
        file.write_text(f"{passwords.url}\n")
        environ = {"LIVEROUTER_DATABASE_URL_FILE": str(file), "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}
        options = load(environ)
        assert isinstance(options.dsn, AskedUrl)
        repository = SettingsRepository(url=options.dsn)
        await repository.read()
        assert options.database_name == passwords.url.partition("@")[2]
        passwords.change()
        file.write_text(passwords.url)
        await repository.read()
        await repository.close()
        assert load(environ | {"LIVEROUTER_DATABASE_URL": "postgresql://h/d"}).database_url == "postgresql://h/d"

    def test_file_that_cannot_serve_is_told_at_the_start(self, tmp_path: Path) -> None:
        """Missing, or no URL in it: exit 78, as any wrong option."""
        file = tmp_path / "url"
        for words in ("cannot be read: FileNotFoundError", "is not a PostgreSQL URL"):
            with pytest.raises(OptionsError, match=words) as caught:
                load({"LIVEROUTER_DATABASE_URL_FILE": str(file)})
            assert caught.value.where == "LIVEROUTER_DATABASE_URL_FILE"
            file.write_text("s3cretpart")

    def test_commands_take_the_file(
        self, dsn: str, tmp_path: Path, shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`migrate` and those that read."""
        (tmp_path / "url").write_text(dsn)
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL_FILE", str(tmp_path / "url"))
        assert shell("migrate").code == 0
        assert shell("history", "--json").code == 0
