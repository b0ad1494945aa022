"""Connections and logins for the tests that talk SQL; the command line, called in this process."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest

from liverouter.cli.app import run
from tests.kit.sql import verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def connect_to() -> Iterator[Callable[..., psycopg.Connection[Any]]]:
    """A function that opens a session on a database; closed at the end."""
    opened: list[psycopg.Connection[Any]] = []

    def open_one(url: str, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(url, autocommit=autocommit))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


@pytest.fixture
def connect(dsn: str, connect_to: Callable[..., psycopg.Connection[Any]]) -> Callable[..., psycopg.Connection[Any]]:
    """A function that opens one more session on this test's database, or on another; closed at the end."""

    def open_one(url: str = "", *, autocommit: bool = True) -> psycopg.Connection[Any]:
        return connect_to(url or dsn, autocommit=autocommit)

    return open_one


@pytest.fixture
def db(connect: Callable[..., psycopg.Connection[Any]]) -> psycopg.Connection[Any]:
    """A session of the schema's owner, every statement its own transaction."""
    return connect()


@pytest.fixture
def login(dsn: str, db: psycopg.Connection[Any]) -> Iterator[Callable[..., str]]:
    """A function that makes a login with the roles named and returns its DSN; dropped at the end."""
    made: list[str] = []

    def make(*roles: str, rights: str = "") -> str:
        name, password = f"lr_test_{secrets.token_hex(6)}", secrets.token_hex(8)
        db.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{verifier(password)}' {rights}".encode())
        made.append(name)
        for role in roles:
            db.execute(f"GRANT {role} TO {name}".encode())
        parts = urlsplit(dsn)
        return parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}").geturl()

    yield make
    for name in made:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])
        db.execute(f"DROP OWNED BY {name}".encode())
        db.execute(f"DROP ROLE {name}".encode())


@dataclass(frozen=True, slots=True)
class Result:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """A function that runs one command, with *stdin* piped in; it names no database."""

    def call(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = run(arguments)
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def cli(shell: Callable[..., Result], dsn: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that runs one command, with *stdin* piped in, on this test's database."""
    monkeypatch.setenv("LIVEROUTER_DATABASE_URL", dsn)
    return shell


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The (module, seconds) of every sleep that litellm, LangChain's or a provider's library asks for."""
    asked: list[tuple[str, float]] = []
    sleep = asyncio.sleep

    async def listen(delay: float, result: Any = None) -> Any:
        module = sys._getframe(1).f_globals["__name__"]  # noqa: SLF001 - there is no other way to know who sleeps
        if delay > 0 and module.partition(".")[0] in {
            "anthropic",
            "litellm",
            "langchain_litellm",
            "openai",
            "tenacity",
        }:
            asked.append((module, delay))
        return await sleep(delay, result)

    monkeypatch.setattr(asyncio, "sleep", listen)
    return asked
