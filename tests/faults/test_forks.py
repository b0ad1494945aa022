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
from tests.kit.forks import WORKERS
from tests.kit.waiting import until

if TYPE_CHECKING:
    from tests.kit.admin import Admin

ROOT = Path(__file__).parents[2]
# Several processes start, on a busy machine, where no connection is to be replaced for an answer that comes late.
PATIENT = {"LIVEROUTER_READY_TIMEOUT_S": "120", "LIVEROUTER_PROBE_INTERVAL_S": "600"}
WITH_LITELLM = "prefork"  # the others are native: each import of litellm costs seconds


class TestFork:
    @pytest.mark.parametrize("kind", list(WORKERS))
    def test_children_have_clients_of_their_own(self, admin: Admin, kind: str) -> None:
        """Parent and children answer, under each name, listen on connections of their own, and follow a revision."""
        admin.set(**{"llm:fast": {"provider": "openai", "model": "first-fast"}})
        lines, errors, code = _run(admin, kind, FORKED.limit)
        assert code == 0, errors
        assert errors == "", "silent, the interpreter's exit included"
        parents = [line for line in lines if line["who"] == "parent"]
        children = [line for line in lines if line["who"] == "child"]
        assert {line["first"] for line in lines if "first" in line} == {"first"}
        assert sum("then" in line for line in children) == WORKERS[kind]
        served = {(line.get("first") or line.get("then"), line["named"]) for line in lines if "named" in line}
        assert served == {("first", "first-fast"), ("second", "second-fast")}
        assert parents[-1]["then"] == "second"
        assert parents[-1]["reconnects"] == 0, "the parent's connection was left alone"
        assert len({line["client"] for line in parents}) == 1
        listeners = {line["pid"]: line["listener"] for line in lines if "hears" in line}
        assert len(listeners) == len(set(listeners.values())) == 1 + WORKERS[kind]
        assert len({line["client"] for line in lines}) == 1 + WORKERS[kind]

    def test_child_tells_those_who_subscribed_before_the_fork(self, admin: Admin) -> None:
        """An observer added to a running client hears of the child's own life, until it is taken back."""
        environ = (
            os.environ
            | PATIENT
            | {"LIVEROUTER_DATABASE_URL": admin.dsn, "LIVEROUTER_LOG_LEVEL": "error", "LITELLM_ENABLE": "false"}
        )
        argv = [sys.executable, "-c", SUBSCRIBED]
        limit_s = FORKED.limit
        done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=limit_s, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        child, parent = (json.loads(line) for line in done.stdout.splitlines())
        assert child["stays"][0] == "client.started"
        assert child["stays"][-1] == "client.closed"
        assert "config.applied" in child["stays"]
        assert child["ends later"] == child["stays"][: len(child["ends later"])]
        assert child["ends later"]
        assert "client.closed" not in child["ends later"]
        assert child["ended before"] == []
        assert (parent["stays"][-1], parent["ended before"]) == ("client.closed", []), "as before in the parent"
        assert parent["ends later"][-1] == "client.closed", "what the child takes back is its own"

    @pytest.mark.parametrize("engine", ["litellm", "native"])
    def test_children_of_a_preloaded_parent_import_next_to_nothing(self, admin: Admin, engine: str) -> None:
        """The parent has one thread and no socket when it forks; each child answers by what it imported."""
        environ = os.environ | PATIENT | {"LIVEROUTER_DATABASE_URL": admin.dsn, "LIVEROUTER_LOG_LEVEL": "error"}
        if engine == "native":
            environ["LITELLM_ENABLE"] = "false"
            admin.set(litellm_enable=False)
        argv = [sys.executable, "-c", PRELOADED, engine]
        limit_s = FORKED.limit
        done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=limit_s, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        *children, parent = (json.loads(line) for line in done.stdout.splitlines())
        assert (parent["threads"], parent["sockets"]) == (1, [])
        assert parent["frozen"], "no collection touches, and so copies, what they share"
        assert [child["said"] for child in children] == ["first says: hi", "first says: hi"]
        assert {child["engine"] for child in children} == {engine}
        assert [child["loads"] for child in children] == [["litellm"] if engine == "litellm" else []] * 2
        assert max(child["imported"] for child in children) < 300, "without it: two to four thousand modules"


PRELOADED = """
import gc, json, os, sys
import psutil
import liverouter
liverouter.preload(litellm=True if sys.argv[1] == "litellm" else None)  # else as the environment says
process = psutil.Process()
sockets = [repr(socket) for socket in process.net_connections("all")]
parent = {"threads": process.num_threads(), "sockets": sockets, "frozen": gc.get_freeze_count() > 100_000}
loaded = set(sys.modules)
for _ in range(2):
    if not (pid := os.fork()):
        answer = liverouter.get_chat_model().invoke("hi")
        engine, imported = answer.response_metadata["liverouter"]["engine"], len(set(sys.modules) - loaded)
        loads = [name for name in ("alembic", "litellm", "sqlalchemy") if name in sys.modules]
        child = {"said": answer.text, "engine": engine, "imported": imported, "loads": loads}
        os.write(1, (json.dumps(child) + "\\n").encode())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print(json.dumps(parent))
"""

SUBSCRIBED = """
import json, os, threading
from liverouter import LiveRouter
heard = {"stays": [], "ends later": [], "ended before": []}
applied = threading.Event()
with LiveRouter() as live:
    live.wait_ready()
    ends = {who: live.subscribe(lambda event, names=names: names.append(event.name)) for who, names in heard.items()}
    ends["ended before"]()
    pid = os.fork()
    for names in heard.values():
        names.clear()
    if not pid:
        live.subscribe(lambda event: event.name == "config.applied" and applied.set())
        live.start()
        assert applied.wait(60)
        ends["ends later"]()
        live.close()
        os.write(1, (json.dumps(heard) + "\\n").encode())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    for names in heard.values():
        names.clear()
print(json.dumps(heard))
"""


def _kill_children(lines: list[dict[str, Any]]) -> None:
    """End what a failed test left behind: children hold our pipes open."""
    for pid in {line["pid"] for line in lines if line["who"] == "child"}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _run(admin: Admin, kind: str, start_s: float) -> tuple[list[dict[str, Any]], str, int]:
    """Run the program; write the second revision once everybody listens, at most *start_s* later."""
    environ = os.environ | {
        **PATIENT,
        "LIVEROUTER_DATABASE_URL": admin.dsn,
        "LIVEROUTER_APP": "forks",
        "LIVEROUTER_LOG_LEVEL": "error",
        "LITELLM_ENABLE": str(kind == WITH_LITELLM).lower(),
    }
    lines: list[dict[str, Any]] = []
    argv = [sys.executable, "-m", "tests.kit.forks", kind]
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
            admin.set(llm_model="second", **{"llm:fast": {"provider": "openai", "model": "second-fast"}})
            process.wait(FORKED.limit)
        finally:
            process.kill()
            _kill_children(lines)
            for reader in readers:
                reader.join()
    return lines, "".join(errors), process.returncode
