"""The commands of the page on other providers, against the database: what is stored, bound, shown and judged."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

from liverouter.secrecy.sealing import generate_key
from tests.kit import pages
from tests.kit.sql import put, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]
    Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret key, configured."""
    monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", generate_key())


def commands() -> list[list[str]]:
    """Return the arguments of each command on the page, comments and redirections left out."""
    lines = (line.partition("       #")[0] for line in pages.section("# Use another provider").splitlines())
    return [shlex.split(line.partition(" < ")[0])[1:] for line in lines if line.startswith("liverouter ")]


def test_commands_of_the_page_make_a_config(cli: Cli, db: Session) -> None:
    """Each is stored without an error; the keys are bound to where rows or `--for` send them."""
    found = commands()
    assert len(found) == 8
    for arguments in found:
        done = cli(*arguments, stdin="key-of-somebody" if "--secret" in arguments else None)
        assert done.code == 0, done.err
        assert "nothing uses a secret" not in done.err
    for name in ("aws_id", "aws_secret"):
        assert cli("set", "--secret", name, stdin="key-of-aws").code == 0
    assert cli("set", "--secret", "groq", "--for", "https://api.groq.com", stdin="key-of-groq").code == 0
    bound = {row["name"]: row["origins"] for row in rows(db, "SELECT name, origins FROM liverouter.secrets")}
    assert bound == {
        "openai_compatible_api_key": ["https://gateway.internal"],
        "groq": ["https://api.groq.com"],
        "openrouter": ["https://openrouter.ai"],
        "aws_id": ["https://bedrock-runtime.eu-west-1.amazonaws.com"],
        "aws_secret": ["https://bedrock-runtime.eu-west-1.amazonaws.com"],
    }
    shown = cli("show", "--json").json
    assert [p for p in shown["problems"] if p["severity"] == "error"] == []
    assert {d["provider"] for d in rows(db, "SELECT provider FROM liverouter.desired_config")} == {
        "litellm",
        "openai-compatible",
    }


def test_database_judges_and_binds_them(cli: Cli, db: Session) -> None:
    """While nobody runs: an object where one belongs, a warning of keys that rows refer to; no plain key."""
    put(db, llm_provider="openai-compatible", llm_model="m", openai_compatible_api_base="http://gateway.internal/v1")
    assert rows(db, "SELECT code FROM liverouter.problems") == []
    db.execute(b"""SELECT liverouter.set_setting('litellm_params', '{"api_key": {"secret": "x"}}')""")
    put(db, llm_provider="litellm", llm_model="openrouter/x")
    assert rows(db, "SELECT code, object FROM liverouter.problems") == [{"code": "LR102", "object": "secrets.x"}]
    assert value(db, "SELECT provider FROM liverouter.desired_config") == "litellm"
    refused = cli("set", 'litellm_params={"api_key": "sk-plain-key-of-mine"}')
    assert refused.code == 1
    assert "LR110" in refused.err
    assert "sk-plain" not in refused.err
    warned = cli("set", 'litellm_params={"api_kye": {"secret": "x"}}')
    assert "Did you mean 'api_key'?" in warned.err
