"""Every Python example of the documentation runs, on a real PostgreSQL and stand-in providers."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from liverouter import default
from liverouter.postgres import migrate
from tests.kit import pages

if TYPE_CHECKING:
    from liverouter.testing import StandIn

EXAMPLES = dict(re.findall(r"<!-- run: ([a-z-]+) -->\n```python\n(.*?)```", pages.text(), re.DOTALL))

HOST_ENV = """
from alembic import context
from sqlalchemy import NullPool, create_engine
from liverouter.postgres.host import include_name

url = context.config.attributes["url"].replace("postgresql://", "postgresql+psycopg://")
with create_engine(url, poolclass=NullPool).connect() as connection:
    context.configure(connection=connection, include_name=include_name)
    with context.begin_transaction():
        context.run_migrations()
"""


def run(name: str) -> dict[str, Any]:
    """Execute an example as a module and return its names."""
    names: dict[str, Any] = {"__name__": f"example_{name}"}
    exec(compile(EXAMPLES[name], name, "exec"), names)  # noqa: S102 - the page's own text
    return names


class TestExamples:
    @pytest.mark.usefixtures("provider")
    @pytest.mark.parametrize("name", ["readme", "home", "service"])
    def test_first_lines_make_a_model_that_answers(self, name: str) -> None:
        """What somebody reads first works as it stands."""
        assert run(name)["model"].invoke("hi").text == "gpt-5.4 says: hi"

    def test_names_are_served_by_their_rows(self, provider: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
        """Each of three handles by its own row; the name without one as the default is."""
        assert default.get_chat_model().invoke("warm").content
        with psycopg.connect(os.environ["LIVEROUTER_DATABASE_URL"]) as connection:
            row = '{"provider": "openai", "model": "gpt-5.4-mini", "params": {"seed": 7}}'
            connection.execute("INSERT INTO liverouter.settings VALUES ('llm:fast', %s)", (row,))
            (revision,) = connection.execute("SELECT revision FROM liverouter.head").fetchone() or (0,)
        default.default_client().wait_applied(revision, timeout_s=60)
        run("names")
        assert (
            capsys.readouterr().out == "gpt-5.4 says: plan it\ngpt-5.4-mini says: title it\ngpt-5.4 says: sum it up\n"
        )
        assert [r.body and r.body.get("seed") for r in provider.requests[1:]] == [None, 7, None]

    def test_threads_share_one_handle(self, provider: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
        """Sixteen calls of eight threads are all answered."""
        run("threads")
        assert capsys.readouterr().out == "16\n"
        assert provider.hits == 16

    @pytest.mark.usefixtures("provider", "native")
    def test_prefork_child_has_a_client_of_its_own(self) -> None:
        """Parent and child both answer after a fork, in a process of their own."""
        done = subprocess.run(
            [sys.executable, "-c", EXAMPLES["prefork"]],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
            env=os.environ,
        )
        assert done.stdout.splitlines() == ["child: gpt-5.4 says: hi", "parent: gpt-5.4 says: hi"], done.stderr

    @pytest.mark.usefixtures("provider")
    def test_notebook_may_await_and_block(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Both forms work inside a running loop, as a notebook executes cells."""

        async def cell() -> None:
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            code = compile(EXAMPLES["notebook"], "notebook", "exec", flags=flags)
            await eval(code, {})  # noqa: S307 - the page's own text

        asyncio.run(cell())
        assert capsys.readouterr().out == "gpt-5.4 says: hi\ngpt-5.4 says: hi\n"

    def test_testing_example_is_a_passing_test(self) -> None:
        """What the page tells users to write passes."""
        names = run("testing")
        names["test_summary_survives_a_broken_provider"]()

    def test_alembic_of_an_application_installs_and_removes_the_schema(self, empty_dsn: str, tmp_path: Path) -> None:
        """A migration of an application, as a file of an Alembic that is not ours."""
        (tmp_path / "versions").mkdir()
        (tmp_path / "versions" / "a1b2c3.py").write_text(EXAMPLES["alembic"])
        (tmp_path / "env.py").write_text(HOST_ENV)
        config = Config(attributes={"url": empty_dsn})
        config.set_main_option("script_location", str(tmp_path))
        command.upgrade(config, "head")
        migrate.check(empty_dsn)
        command.downgrade(config, "base")
        assert migrate.current(empty_dsn) is None


class TestAll:
    def test_every_python_block_is_run(self) -> None:
        """No example is left out: each has a name, by which a test here or of the quickstart runs it."""
        assert len(re.findall(r"^```python$", pages.text(), re.MULTILINE)) == len(EXAMPLES)
        tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
        assert [name for name in EXAMPLES if f'"{name}"' not in tests] == []
