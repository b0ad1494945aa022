"""Every file under examples/ does what it says, on a real PostgreSQL and a stand-in provider."""

from __future__ import annotations

import importlib
import json
import os
import re
import runpy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from celery import Celery

from liverouter.testing import Reply, ToolCall
from tests.kit import pages
from tests.kit.redis_servers import RealServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from liverouter.testing import StandIn

FOLDER = pages.ROOT / "examples"


def named(**models: str) -> None:
    """Give each name a row of one of the provider's models."""
    with psycopg.connect(os.environ["LIVEROUTER_DATABASE_URL"]) as connection:
        for name, model in models.items():
            row = json.dumps({"provider": "openai", "model": model})
            connection.execute("INSERT INTO liverouter.settings VALUES (%s, %s)", (f"llm:{name}", row))


def run(name: str) -> dict[str, Any]:
    """Execute the file *name* and return its names."""
    return runpy.run_path(str(FOLDER / name), run_name="example")


class TestFiles:
    def test_script_answers_and_streams(self, provider: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
        """script.py: invoke and stream of the default handle."""
        run("script.py")
        assert capsys.readouterr().out == "gpt-5.4 says: hi\ngpt-5.4 says: and now in pieces\n"
        assert provider.hits == 2

    async def test_fastapi_answers_whole_and_in_pieces(self, provider: StandIn) -> None:
        """fastapi_app.py: the client lives as long as the application."""
        app = run("fastapi_app.py")["app"]
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser,
        ):
            reply = await browser.get("/answer", params={"question": "hi"})
            events = (await browser.get("/stream", params={"question": "hi"})).text
        assert reply.json() == {"answer": "gpt-5.4 says: hi", "served_by": "gpt-5.4"}
        pieces = [json.loads(piece) for piece in re.findall(r"^data: (\".*\")$", events, re.MULTILINE)]
        assert "".join(pieces) == "gpt-5.4 says: hi"
        assert events.endswith("event: end\ndata: {}\n\n")
        assert provider.hits == 2

    @pytest.mark.usefixtures("provider")
    async def test_django_answers(self) -> None:
        """django_site.py: an async view, asked through its ASGI application."""
        sys.path.insert(0, str(pages.ROOT))  # Django finds its routes by the module's name
        site = importlib.import_module("examples.django_site")
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(site.application), base_url="http://testserver"
        ) as browser:
            reply = await browser.get("/answer", params={"question": "hi"})
        assert reply.json() == {"answer": "gpt-5.4 says: hi", "served_by": "gpt-5.4"}

    @pytest.mark.usefixtures("provider", "native")
    def test_celery_s_workers_answer(self, needs_program: Callable[..., Path]) -> None:
        """celery_tasks.py: tasks of a forked worker, through a real Redis."""
        redis = RealServer(needs_program("redis-server", package="redis-server"))
        url = f"redis://127.0.0.1:{redis.port}/0"
        command = [sys.executable, "-m", "celery", "-A", "examples.celery_tasks", "worker", "--concurrency", "1"]
        command += ["--without-gossip", "--without-mingle"]
        worker = subprocess.Popen(command, cwd=pages.ROOT, env=os.environ | {"CELERY_REDIS_URL": url})
        try:
            with Celery(broker=url, backend=url) as app:
                asked = [app.send_task("examples.celery_tasks.summarize", [text]) for text in "abc"]
                answers = [task.get(timeout=150) for task in asked]
        finally:
            worker.terminate()
            worker.wait(90)
            redis.stop()
        assert answers == [f"gpt-5.4 says: Summarize in one sentence: {text}" for text in "abc"]

    @pytest.mark.usefixtures("provider", "native")
    def test_service_goes_on(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """service.py: it asks again and again."""
        pauses = iter([None])
        monkeypatch.setattr("time.sleep", lambda _: next(pauses))
        with pytest.raises(StopIteration):  # at the second pause
            run("service.py")
        assert capsys.readouterr().out == "gpt-5.4 says: gpt-5.4 says: hello\n" * 2

    def test_langgraph_agent_answers(self, provider: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
        """langgraph_agent.py: its tool asks the worker, live and frozen; the planner is told what that said."""
        named(planner="gpt-5.5", worker="gpt-5.4-mini")
        run("langgraph_agent.py")
        said = capsys.readouterr().out.splitlines()
        assert [line.partition("says:")[0] + line.partition("says:")[2][:13] for line in said] == [
            "gpt-5.5  gpt-5.4-mini"
        ] * 2
        asked = [request.body["model"] for request in provider.requests if request.body]
        assert asked == ["gpt-5.5", "gpt-5.4-mini", "gpt-5.5"] * 2

    def test_deep_agent_delegates(self, provider: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
        """deep_agent.py: the planner by its row, its researcher by another; what no row names, as the default."""
        named(planner="gpt-5.5")
        delegate = ToolCall("task", {"description": "look", "subagent_type": "researcher"})
        provider.respond(Reply(tool_calls=(delegate,)))
        run("deep_agent.py")
        assert capsys.readouterr().out.startswith("gpt-5.5 says: gpt-5.4 says: look")

    def test_settings_table_is_the_page_s(self) -> None:
        """settings_table.sql holds the statements of its page, which a test of their own runs."""
        page = (pages.ROOT / "docs" / "how-to" / "adopt-a-settings-table.md").read_text(encoding="utf-8")
        statements = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
        assert (FOLDER / "settings_table.sql").read_text(encoding="utf-8") == "\n".join(statements)

    def test_every_file_is_run(self) -> None:
        """The table of the folder's README names each, and a test here runs it."""
        files = {path.name for path in FOLDER.iterdir() if path.suffix in {".py", ".sql"}}
        table = (FOLDER / "README.md").read_text(encoding="utf-8")
        assert set(re.findall(r"^\| `([a-z_.]+)`", table, re.MULTILINE)) == files
        tests = "".join(test.__doc__ or "" for name, test in vars(TestFiles).items() if name.startswith("test_"))
        assert [name for name in files if name not in tests] == []
