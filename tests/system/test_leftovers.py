"""A run of the suite that leaves a process fails and names it, and ends it even when the run itself is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
LEAVING = """\
import subprocess, sys, time
from pathlib import Path

def test_leaves_one():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # the one that is left"])
    Path(__file__).with_name("pid").write_text(f"{process.pid}\\n")
    {then}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A function that starts a run of one test, which leaves a process and then goes on as told; by workers or none."""

    def start(then: str, workers: str) -> subprocess.Popen[str]:
        path = tmp_path / "test_leaving.py"
        path.write_text(LEAVING.replace("{then}", then))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.conftest",
            "-c",
            "pyproject.toml",
            workers,
            str(path),
        ]
        environment = os.environ | {"LIVEROUTER_TEST_PATIENCE_S": "0.5"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    return start


def _left(tmp_path: Path, wait_until: Callable[..., None]) -> int:
    pid = tmp_path / "pid"
    wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), 100)
    return int(pid.read_text())


def _has_ended(pid: int) -> bool:
    """Return whether nothing runs under the number, though nobody may have asked yet how it ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_run_that_leaves_a_process_fails_and_names_it(
    run: Callable[..., subprocess.Popen[str]], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """Its number and its command are told, and it is ended."""
    with run("pass", "-n1") as process:
        pid = _left(tmp_path, wait_until)
        said, _ = process.communicate(timeout=150)
    assert process.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"process {pid} is left: {sys.executable} -c import time; time.sleep(600)  # the one that is left" in said
    wait_until(lambda: _has_ended(pid))


def test_process_ends_with_a_run_that_is_killed(
    run: Callable[..., subprocess.Popen[str]], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """Nobody is there to end it but the guard."""
    with run("time.sleep(600)", "-n0") as process:
        pid = _left(tmp_path, wait_until)
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: _has_ended(pid), 40)
