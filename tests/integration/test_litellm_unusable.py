"""A litellm that cannot be used: one Problem says why, and the native engine serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.routing.litellm_setup import RANGE
from tests.kit.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from liverouter.testing import StandIn

ROOT: Final = Path(__file__).parents[2]

# Follows the database with what litellm there is until one revision was decided and two more reads were made.
CLIENT: Final = """
import json, sys
for missing in sys.argv[1:]:
    sys.modules[missing] = None
from liverouter import LiveRouter
from liverouter.errors import NotReadyError
from liverouter.events import ConfigApplied, ConfigRead, ConfigRejected
from liverouter.testing import EventLog
events, facts = EventLog(), {}
with LiveRouter(observers=(events,), poll_interval_s=0.05) as live:
    if sys.argv[1:]:
        events.wait_for(ConfigRejected)  # however long that takes: no call waits for it
    try:
        answer = live.chat_model().invoke("hi")
        facts["said"], facts["engine"] = answer.content, answer.response_metadata["liverouter"]["engine"]
    except NotReadyError as exc:
        facts["refused"] = [problem.as_dict() for problem in exc.problems]
    events.wait_for(ConfigRead, count=len(events.of(ConfigRead)) + 3)
    facts["applied"] = [[p.as_dict() for p in e.warnings] for e in events.of(ConfigApplied)]
    facts["rejected"] = [[p.as_dict() for p in e.problems] for e in events.of(ConfigRejected)]
    facts["status"] = [problem.as_dict() for problem in live.status().problems]
    facts["router"] = None if live.status().generation is None else live.router()
print(json.dumps(facts))
"""
BROKEN: Final = """
import pathlib
with (pathlib.Path(__file__).parent / "imports").open("a") as file:
    file.write("x")
"""


@pytest.fixture
def follow(tmp_path: Path, dsn: str, openai: StandIn) -> Iterator[Callable[..., tuple[dict[str, Any], int]]]:
    """A function that returns what a client saw whose litellm has the source *ends*, and how often it was imported."""
    admin = Admin(dsn)
    admin.set(
        llm_provider="openai",
        llm_model="gpt-4o",
        openai_api_base=openai.base_url,
    )
    package = tmp_path / "litellm"
    package.mkdir()
    (tmp_path / "langchain_litellm.py").write_text(
        "class ChatLiteLLMRouter: ...\n"
    )  # the real one takes more of litellm

    def run(ends: str, *missing: str) -> tuple[dict[str, Any], int]:
        (package / "__init__.py").write_text(BROKEN + ends)
        environ = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "LIVEROUTER_DATABASE_URL": dsn,
            "LIVEROUTER_LOG_LEVEL": "error",
            "OPENAI_API_KEY": "sk-openai",
            "LIVEROUTER_READY_TIMEOUT_S": "1" if missing else "120",
        }
        argv = [sys.executable, "-c", CLIENT, *missing]
        done = subprocess.run(argv, env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), len((package / "imports").read_text())

    yield run
    admin.close()


class TestUnusable:
    def test_native_engine_serves_with_one_warning(self, follow: Callable[..., tuple[dict[str, Any], int]]) -> None:
        """It says which version, what is missing and how to mend it; the import is not tried again at every poll."""
        facts, imports = follow("from litellm.gone import Router\n")
        assert (facts["said"], facts["engine"], facts["router"]) == ("gpt-4o says: hi", "native", None)
        (problem,) = facts["status"]
        assert facts["applied"] == [[problem]]
        assert (problem["code"], problem["severity"]) == ("LR309", "warning")
        assert f"litellm {version('litellm')} cannot be used" in problem["message"]
        assert "litellm.gone" in problem["message"]
        assert f"'{RANGE}'" in problem["hint"]
        assert "litellm_enable to false" in problem["hint"]
        assert (facts["rejected"], imports) == ([], 1)

    def test_without_the_native_package_both_are_told(self, follow: Callable[..., tuple[dict[str, Any], int]]) -> None:
        """Rows that neither engine can serve are rejected once, with the reason of each; here litellm lacks a part."""
        facts, imports = follow("", "langchain_openai")
        told = [(problem["code"], problem["severity"]) for problem in facts["status"]]
        assert told == [("LR309", "error"), ("LR109", "error")]
        assert "litellm.llms" in facts["status"][0]["message"]
        assert facts["refused"] == facts["status"]
        assert facts["rejected"] == [facts["status"]]
        assert (facts["applied"], imports) == ([], 1)

    def test_range_is_that_of_the_package(self) -> None:
        """The hint asks for what pyproject.toml asks for."""
        assert RANGE in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
