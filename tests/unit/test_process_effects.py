"""What a process finds changed after it used the library is what the documentation says, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit import pages

ROOT: Final = Path(__file__).parents[2]
COST_MAP: Final = "LITELLM_LOCAL_MODEL_COST_MAP"  # the host set it, which imports litellm first


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """Return what is changed in a process that used every provider."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("LITELLM_", "LIVEROUTER_"))}
    environ = given | {
        COST_MAP: "True",
        "LIVEROUTER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
        "LIVEROUTER_LOG_LEVEL": "error",
        "LIVEROUTER_READY_TIMEOUT_S": "0.1",
    }
    environ.pop("TIKTOKEN_CACHE_DIR", None)
    argv = [sys.executable, str(ROOT / "tests" / "unit" / "process_effects.py")]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.fixture(scope="module")
def row() -> dict[str, set[str]]:
    """Return the names that each row of the documentation's table gives, by the row's first words."""
    section = pages.section("# What it changes in your process")
    cells = [line.split(" | ")[0].strip("| ") for line in section.splitlines() if line.startswith("| ")]
    return {" ".join(re.sub("[`,]", "", cell).split()[:2]): set(re.findall(r"`([^`]+)`", cell)) for cell in cells}


class TestProcess:
    def test_asyncpg_is_as_the_host_imported_it(self, told: dict[str, Any]) -> None:
        """No class and no function of a driver is replaced, though a connect of ours was cut in the middle."""
        assert not [name for name in told["functions"] if not name.startswith(("litellm.", "openai."))]

    def test_functions_replaced_are_those_of_the_table(self, told: dict[str, Any], row: dict[str, set[str]]) -> None:
        """Each by its class and its name."""
        assert {".".join(name.split(".")[-2:]) for name in told["functions"]} == row["litellm's functions"]

    def test_environment_is_set_as_the_table_says(self, told: dict[str, Any], row: dict[str, set[str]]) -> None:
        """What the host had set is not touched."""
        said = {name for name in row["LITELLM_MODE LITELLM_LOCAL_MODEL_COST_MAP"] if name.isupper()}
        assert set(told["environment"]) | {COST_MAP} == said

    def test_switches_and_levels_are_those_of_the_table(self, told: dict[str, Any], row: dict[str, set[str]]) -> None:
        """Of litellm's alone; a switch may stand as we want it already."""
        assert set(told["switches"]) <= row["litellm's switches"]
        assert set(told["loggers"]) == row["the level"]

    def test_hooks_are_those_of_the_table(self, told: dict[str, Any], row: dict[str, set[str]]) -> None:
        """One for the exit, one for forks."""
        assert told["registered"] == ["atexit", "fork"]
        assert {"os.fork waits", "atexit closes", "SIGTERM where"} <= row.keys()

    def test_manners_of_the_process_stay(self, told: dict[str, Any]) -> None:
        """Other signals, exception hooks, warnings, the root logger, the policy, the collector, paths."""
        assert told["manners"] == []
        assert told["signals"] == ["SIGTERM"]
