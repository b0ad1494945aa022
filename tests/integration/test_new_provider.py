"""Adding a provider is a file and its place in a table: the core, both engines and the database take it from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.postgres import migrate
from liverouter.providers import PROVIDERS
from liverouter.testing import StandIn
from tests.kit.sql import put, put_secret, rows, value

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

ROOT: Final = Path(__file__).parents[2]
PROVIDER: Final = '''
"""Sixth: an API like OpenAI's."""

import re
from dataclasses import replace

from liverouter.providers import openai
from liverouter.providers.openai import CHAT_COMPLETIONS, CHAT_OPENAI, chat_options
from liverouter.providers.spec import Field, ProviderSpec


def _params(deployment):
    key = deployment.secrets["sixth_api_key"].reveal()
    return {"model": f"openai/{deployment.model}", "api_key": key, "api_base": deployment.settings["sixth_api_base"]}


def _build(deployment, http):
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    key = SecretStr(deployment.secrets["sixth_api_key"].reveal())
    base = deployment.settings["sixth_api_base"]
    return ChatOpenAI(model=deployment.model, api_key=key, base_url=base, **chat_options(http))


SPEC = ProviderSpec(
    name="sixth",
    label="Sixth",
    fields=(
        Field("sixth_api_key", "secret", "API key", "api_key"),
        Field("sixth_second_key", "secret", "Second key", "second"),
        Field("sixth_api_base", "url", "Base URL", "api_base", default="https://api.sixth.example/v1"),
    ),
    needs=(("sixth_api_key",),),
    endpoint=lambda settings, _: settings["sixth_api_base"],
    normalize_url=str,
    own_hosts=re.compile("api.sixth.example"),
    litellm_provider="sixth",
    litellm_params=_params,
    litellm_client=openai.SPEC.litellm_client,
    native=lambda _: replace(CHAT_OPENAI, build=_build),
    dialect=lambda _: CHAT_COMPLETIONS,
    parameters=lambda _: openai.PARAMETERS,
    libraries=("openai",),
    aliases=("number-six",),
)
'''
USED: Final = """
import json, sys
from datetime import UTC, datetime
from liverouter.config.validate import validate
from liverouter.config.environment import Environment
from liverouter.revision import Rows
from liverouter.testing import MemoryRouter

for rows in ({"llm_provider": "sixth"}, {"llm_provider": "number-six"}):
    raw = Rows("e", 1, "c", datetime.now(UTC), 0.0, rows | {"llm_model": "six-1"}, {})
    problem = validate(raw, environment=Environment({}), keyring=None).problems[0]
    print(json.dumps([problem.code, problem.message, problem.hint]))
rows = {"llm_provider": "sixth", "llm_model": "six-1", "sixth_api_base": sys.argv[1], "litellm_timeout": 60}
with MemoryRouter(rows, secrets={"sixth_api_key": "sk-six"}) as live:
    for enabled in (True, False):
        live.set(litellm_enable=enabled)
        answer = live.chat_model().invoke("hi")
        told = answer.response_metadata["liverouter"]
        print(json.dumps([answer.text, told["provider"], told["deployment_id"].partition("#")[0]]))
"""
MIGRATED: Final = "import sys; from liverouter.postgres import migrate; print(migrate.upgrade(sys.argv[1]))"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a liverouter that knows a sixth provider: one more file, and its place in the table."""
    folder = tmp_path_factory.mktemp("six")
    shutil.copytree(ROOT / "src" / "liverouter", folder / "liverouter")
    shutil.copytree(ROOT / "migrations", folder / "liverouter" / "_migrations")
    providers = folder / "liverouter" / "providers"
    (providers / "sixth.py").write_text(PROVIDER, encoding="utf-8")
    table = (providers / "__init__.py").read_text(encoding="utf-8")
    known = table.replace("openai, snowflake", "openai, sixth, snowflake").replace(
        "    snowflake.SPEC,\n", "    sixth.SPEC,\n    snowflake.SPEC,\n"
    )
    assert known.count("sixth") == 2
    (providers / "__init__.py").write_text(known, encoding="utf-8")
    return folder


def run(package: Path, script: str, *arguments: str) -> list[str]:
    """Return what *script* prints, run with the liverouter of *package*."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(package)},
        cwd=package,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def codes(db: Session) -> list[str]:
    """Return the codes of the rows of problems."""
    return [row["code"] for row in rows(db, "SELECT code FROM liverouter.problems")]


def test_new_provider_is_validated_and_served_by_both_engines(package: Path) -> None:
    """What it needs and is called, its file says; it serves through litellm and by its own LangChain class."""
    with StandIn("openai") as standin:
        needs, unknown, *answers = [json.loads(line) for line in run(package, USED, standin.api_base)]
        assert {request.headers["authorization"] for request in standin.requests} == {"Bearer sk-six"}
    assert needs == [
        "LR102",
        "sixth needs sixth_api_key",
        "Store it: liverouter set --secret sixth_api_key; or set the environment variable SIXTH_API_KEY",
    ]
    assert unknown[0] == "LR101"
    assert "openai, sixth, snowflake-cortex" in unknown[1]
    assert unknown[2] == "Did you mean 'sixth'?"
    assert [answer[1:] for answer in answers] == [["sixth", "sixth/six-1"]] * 2
    assert all(answer[0] for answer in answers)


def test_new_provider_needs_no_migration(package: Path, dsn: str, db: Session) -> None:
    """Each run of `liverouter migrate` tells the database which there are, though its schema is up to date."""
    put(db, llm_provider="sixth", llm_model="six-1", sixth_api_base="https://gateway.example/v1")
    assert codes(db) == ["LR101", "LR106"]  # its own setting is not known either
    assert "vertex-ai" in value(db, "SELECT message FROM liverouter.problems")
    assert value(db, "SELECT credential_source FROM liverouter.desired_config") is None

    assert run(package, MIGRATED, dsn) == [migrate.HEAD]
    assert codes(db) == ["LR102"]
    assert value(db, "SELECT credential_source FROM liverouter.desired_config") == "environment SIXTH_API_KEY"
    put_secret(db, "sixth_second_key", "bbbbbbbb")
    assert value(db, "SELECT credential_source FROM liverouter.desired_config") == "secret sixth_second_key"
    put_secret(db, "sixth_api_key", "aaaaaaaa")
    assert value(db, "SELECT fingerprint FROM liverouter.desired_config") == "aaaaaaaa"
    assert codes(db) == []
    bound = value(db, "SELECT origins FROM liverouter.secrets WHERE name = 'sixth_api_key'")
    assert bound == ["https://gateway.example"]

    migrate.upgrade(dsn)  # by a liverouter that knows it no more
    assert codes(db) == ["LR101", "LR106"]
    assert [row["name"] for row in rows(db, "SELECT name FROM liverouter.providers ORDER BY 1")] == sorted(PROVIDERS)
