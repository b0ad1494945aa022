"""A key of one of litellm's vendors goes to that vendor alone, by whichever door it is stored and rows are changed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.config.environment import Environment
from liverouter.config.validate import validate
from liverouter.postgres.repository import SettingsRepository
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key, seal
from tests.kit.sql import put, revision, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    from liverouter.config.validate import Validation

    Session = psycopg.Connection[Any]
    Cli = Callable[..., Any]

GROQ, OPENROUTER = "https://api.groq.com", "https://openrouter.ai"
AWS: Final = {
    "aws_region_name": "eu-west-1",
    "aws_access_key_id": {"secret": "aws_id"},
    "aws_secret_access_key": {"secret": "aws_secret"},
}


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key that seals, of this process as well."""
    text = generate_key()
    monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", text)
    return text


def by_litellm(model: str, **params: Any) -> dict[str, Any]:
    """Return an entry of *model*, by default with the secret "team"."""
    return {"provider": "litellm", "model": model, "litellm_params": params or {"api_key": {"secret": "team"}}}


def default(model: str, **params: Any) -> dict[str, Any]:
    """Return the rows that make *model* the default's primary."""
    return {f"llm_{k}" if k != "litellm_params" else k: v for k, v in by_litellm(model, **params).items()}


def store(db: Session, name: str, keyring: str) -> None:
    """Store *name* as SQL does it."""
    secret = Secret(f"key-of-{name}")
    sealed = seal(name, secret, Keyring.from_text(keyring))
    db.execute(b"SELECT liverouter.set_secret(%s, %s, %s)", [name, sealed, fingerprint(secret)])


def judged(dsn: str, keyring: str) -> Validation:
    """Return what a process makes of the stored rows."""

    async def read() -> Any:
        repository = SettingsRepository(url=dsn)
        try:
            return await repository.read()
        finally:
            await repository.close()

    return validate(asyncio.run(read()), environment=Environment({}), keyring=Keyring.from_text(keyring))


def origins(db: Session) -> dict[str, list[str]]:
    """Return where each secret may be sent, by name."""
    return {row["name"]: row["origins"] for row in rows(db, "SELECT name, origins FROM liverouter.secrets")}


class TestDoors:
    def test_key_is_bound_to_its_vendor_by_every_door(self, db: Session, cli: Cli, key: str) -> None:
        """SQL and command line, as the page: to the vendors that the default, fallbacks and names have it sent to."""
        names = {"llm:fast": by_litellm("groq/x") | {"fallbacks": [by_litellm("bedrock/x", **AWS)]}}
        put(db, **default("openrouter/a/b"), **names, llm_fallback_config=by_litellm("groq/y"))
        expected = {"team": [GROQ, OPENROUTER], "aws_id": ["https://bedrock-runtime.eu-west-1.amazonaws.com"]}
        for name in expected:
            store(db, name, key)
        assert origins(db) == expected
        for name in expected:
            assert cli("set", "--secret", name, stdin=f"another-{name}").code == 0
        assert origins(db) == expected

    def test_rows_that_move_a_key_are_a_problem_at_every_door(
        self, dsn: str, db: Session, cli: Cli, key: str, tmp_path: Path
    ) -> None:
        """A change of the model, a name that is copied with another model, an exported file, a rollback."""
        put(db, **default("openrouter/a/b"))
        store(db, "team", key)
        good = revision(db)
        assert judged(dsn, key).problems == ()
        moved = cli("set", "llm_model=groq/x", "--json").json
        assert [p["code"] for p in moved["problems"]] == ["LR111"]
        assert judged(dsn, key).snapshot is None
        bad = revision(db)
        assert cli("rollback", str(good)).code == 0
        assert judged(dsn, key).snapshot is not None
        copy = json.dumps(by_litellm("groq/x"))
        copied = cli("set", f"llm:fast={copy}", "--json").json
        assert [(p["code"], p["where"]) for p in copied["problems"]] == [
            ("LR111", "settings.llm:fast.litellm_params.api_key")
        ]
        file = tmp_path / "config.yaml"
        file.write_text(cli("export").out)
        assert cli("unset", "llm:fast").code == 0
        applied = cli("apply", str(file))
        assert "LR111" in applied.err
        assert judged(dsn, key).snapshot is None
        assert cli("rollback", str(bad)).code == 0
        assert origins(db) == {"team": [OPENROUTER]}
        assert judged(dsn, key).snapshot is None
        assert cli("set", "--secret", "team", "--for", GROQ, stdin="key-of-groq").code == 0
        assert judged(dsn, key).snapshot is not None

    def test_rows_and_key_of_one_change_belong_together(self, dsn: str, db: Session, cli: Cli, key: str) -> None:
        """Whoever moves to another vendor stores its key with the row."""
        put(db, **default("openrouter/a/b"))
        store(db, "team", key)
        assert cli("set", "llm_model=groq/x", "--secret", "team", stdin="key-of-groq").code == 0
        assert origins(db) == {"team": [GROQ]}
        assert judged(dsn, key).problems == ()


class TestShown:
    def test_views_say_whose_credential_each_deployment_has(self, dsn: str, db: Session, key: str) -> None:
        """As processes do: of the default, of fallbacks, of names; of several keys the first."""
        names = {"llm:fast": by_litellm("groq/x") | {"fallbacks": [by_litellm("bedrock/x", **AWS)]}}
        put(db, **default("openrouter/a/b"), **names, llm_fallback_config=by_litellm("ollama/x", api_base="http://h:1"))
        for name in ("team", "aws_id", "aws_secret"):
            store(db, name, key)
        snapshot = judged(dsn, key).snapshot
        assert snapshot is not None
        found = rows(
            db,
            "SELECT name, model, credential_source, fingerprint FROM liverouter.desired_config_detail"
            " WHERE credential_source IS NOT NULL ORDER BY name, model",
        )
        assert found == [
            {
                "name": d.name,
                "model": d.model,
                "credential_source": d.credential_source,
                "fingerprint": d.credential_fingerprint,
            }
            for d in sorted(snapshot.deployments, key=lambda d: (d.name, d.model))
            if d.secrets
        ]
        assert len(found) == 3
        assert value(db, "SELECT count(*) FROM liverouter.problems") == 0

    def test_missing_secret_is_told_while_nobody_runs(self, db: Session) -> None:
        """Of a provider that can do without one, too, where rows refer to it; processes may have it in a variable."""
        put(db, **default("openrouter/a/b"), llm_fallback_config=by_litellm("bedrock/x", **AWS))
        found = rows(db, "SELECT code, object, hint FROM liverouter.problems ORDER BY object")
        assert [(row["code"], row["object"]) for row in found] == [
            ("LR102", "secrets.aws_secret"),
            ("LR102", "secrets.team"),
        ]
        assert "LIVEROUTER_SECRET_TEAM" in found[1]["hint"]
        source = "SELECT credential_source FROM liverouter.desired_config_detail WHERE role = 'primary'"
        assert value(db, source) == "environment LIVEROUTER_SECRET_TEAM"
