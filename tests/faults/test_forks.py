"""A process that is forked, in any way: each child is live by itself, and the parent does not notice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.bounds import FORKED
from tests.faults.forks import WORKERS
from tests.faults.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit import Admin

ROOT = Path(__file__).parents[2]


class TestFork:
    @pytest.mark.parametrize("kind", list(WORKERS))
    @pytest.mark.timeout(120)
    def test_children_have_clients_of_their_own(self, admin: Admin, kind: str) -> None:
        """Parent and children answer, listen on connections of their own, and follow the next revision."""
        lines, errors, code = _run(admin, kind, FORKED.limit)
        assert code == 0, errors
        assert errors == "", "silent, the interpreter's exit included"
        parents = [line for line in lines if line["who"] == "parent"]
        children = [line for line in lines if line["who"] == "child"]
        assert {line["first"] for line in lines if "first" in line} == {"first"}
        assert sum("then" in line for line in children) == WORKERS[kind]
        assert parents[-1]["then"] == "second"
        assert parents[-1]["reconnects"] == 0, "the parent's connection was left alone"
        assert len({line["client"] for line in parents}) == 1
        listeners = {line["pid"]: line["listener"] for line in lines if "hears" in line}
        assert len(listeners) == len(set(listeners.values())) == 1 + WORKERS[kind]
        assert len({line["client"] for line in lines}) == 1 + WORKERS[kind]


def _kill_children(lines: list[dict[str, Any]]) -> None:
    """End what a failed test left behind: children hold our pipes open."""
    for pid in {line["pid"] for line in lines if line["who"] == "child"}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _run(admin: Admin, kind: str, start_s: float) -> tuple[list[dict[str, Any]], str, int]:
    """Run the program; write the second revision once everybody listens, at most *start_s* later."""
    environ = os.environ | {
        "LIVEROUTER_DATABASE_URL": admin.dsn,
        "LIVEROUTER_APP": "forks",
        "LIVEROUTER_LOG_LEVEL": "error",
    }
    lines: list[dict[str, Any]] = []
    argv = [sys.executable, "-m", "tests.faults.forks", kind]
    with subprocess.Popen(
        argv, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        stdout, stderr = process.stdout, process.stderr
        errors: list[str] = []
        readers = [
            threading.Thread(target=lambda: lines.extend(json.loads(line) for line in stdout)),
            threading.Thread(target=lambda: errors.extend(stderr)),
        ]
        for reader in readers:
            reader.start()
        try:
            until(
                lambda: sum("hears" in line for line in lines) == 1 + WORKERS[kind] or process.poll() is not None,
                start_s,
                "everybody listens",
            )
            admin.set(llm_model="second")
            process.wait(60)
        finally:
            process.kill()
            _kill_children(lines)
            for reader in readers:
                reader.join()
    return lines, "".join(errors), process.returncode
