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
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.faults.bounds import FORKED
from tests.kit.admin import Admin
from tests.kit.forks import CHILDREN
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from liverouter.testing import StandIn

ROOT = Path(__file__).parents[2]
# Several processes start, on a busy machine, where no connection is to be replaced for an answer that comes late.
PATIENT = {"LIVEROUTER_READY_TIMEOUT_S": "120", "LIVEROUTER_PROBE_INTERVAL_S": "600"}


class Family:
    """A parent of one *engine* and its children; what they say, and their end.

    Attributes:
        admin: of the database that they follow.
    """

    def __init__(self, engine: str, admin: Admin) -> None:
        self.engine, self.admin = engine, admin
        self._lines: list[dict[str, Any]] = []
        self._errors: list[str] = []

    def __enter__(self) -> Self:
        environ = os.environ | {
            **PATIENT,
            "LIVEROUTER_DATABASE_URL": self.admin.dsn,
            "LIVEROUTER_APP": "forks",
            "LIVEROUTER_LOG_LEVEL": "error",
            "LITELLM_ENABLE": str(self.engine == "litellm").lower(),
            "OPENAI_API_KEY": "sk-fault",
        }
        argv, pipe = [sys.executable, "-m", "tests.kit.forks", self.engine], subprocess.PIPE
        self._process = subprocess.Popen(argv, cwd=ROOT, env=environ, stdout=pipe, stderr=pipe, text=True)
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for pid in {line["pid"] for line in self._lines if line["who"] == "child" and "pid" in line}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # where it is left behind it holds our pipes open
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(map(json.loads, self._process.stdout))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def said(self, part: str, done: Callable[[dict[str, Any]], object], within_s: float, count: int = 1) -> Any:
        """Return the lines of *part*, once *count* of them are *done*: those of the children, and of the parent."""

        def lines() -> list[dict[str, Any]]:
            return [line for line in self._lines if line["part"] == part]

        def is_done() -> bool:
            return sum(map(bool, map(done, lines()))) == count

        until(lambda: is_done() or self._process.poll() is not None, within_s)
        assert is_done() or self.end(within_s) == (0, "")
        return [[line for line in lines() if line["who"] == who] for who in ("child", "parent")]

    def end(self, within_s: float) -> tuple[int, str]:
        """Return the parent's exit code, and what was written to standard error by anybody."""
        code = self._process.wait(within_s)
        for reader in self._readers:
            reader.join(within_s)
        return code, "".join(self._errors)


@pytest.fixture(scope="module", params=list(CHILDREN))
def family(
    request: pytest.FixtureRequest, new_database: Callable[[str], AbstractContextManager[str]], standin: StandIn
) -> Iterator[Family]:
    """The parent and children of one engine, at the first revision."""
    with new_database("forks") as dsn, contextlib.closing(Admin(dsn)) as admin:
        fast = {"llm:fast": {"provider": "openai", "model": "first-fast"}}
        admin.set(llm_provider="openai", llm_model="first", openai_api_base=standin.api_base, **fast)
        with Family(request.param, admin) as family:
            yield family


class TestFork:
    def test_children_of_a_preloaded_parent_import_next_to_nothing(self, family: Family) -> None:
        """The parent has one thread and no socket when it forks; each child answers by what it imported."""
        children, (parent,) = family.said("preloaded", lambda line: line["who"] == "parent", FORKED.limit)
        assert (parent["threads"], parent["sockets"]) == (1, [])
        assert parent["frozen"], "no collection touches, and so copies, what they share"
        assert [child["said"] for child in children] == ["first says: hi", "first says: hi"]
        assert {child["engine"] for child in children} == {family.engine}
        loads = ["litellm"] if family.engine == "litellm" else []
        assert [child["loads"] for child in children] == [loads] * 2
        assert max(child["imported"] for child in children) < 300, "without it: two to four thousand modules"

    @pytest.mark.parametrize("family", ["native"], indirect=True, scope="module")
    def test_child_tells_those_who_subscribed_before_the_fork(self, family: Family) -> None:
        """An observer added to a running client hears of the child's own life, until it is taken back."""
        (child,), (parent,) = family.said("subscribed", lambda line: line["who"] == "parent", FORKED.limit)
        assert child["stays"][0] == "client.started"
        assert child["stays"][-1] == "client.closed"
        assert "config.applied" in child["stays"]
        assert child["ends later"] == child["stays"][: len(child["ends later"])]
        assert child["ends later"]
        assert "client.closed" not in child["ends later"]
        assert child["ended before"] == []
        assert (parent["stays"][-1], parent["ended before"]) == ("client.closed", []), "as before in the parent"
        assert parent["ends later"][-1] == "client.closed", "what the child takes back is its own"

    def test_children_have_clients_of_their_own(self, family: Family) -> None:
        """Parent and children answer, under each name, listen on connections of their own, and follow a revision."""
        count = len(CHILDREN[family.engine])
        family.said("live", lambda line: "hears" in line, FORKED.limit, count=1 + count)
        family.admin.set(llm_model="second", **{"llm:fast": {"provider": "openai", "model": "second-fast"}})
        code, errors = family.end(FORKED.limit)
        assert code == 0, errors
        assert errors == "", "silent, the interpreter's exit included"
        children, parents = family.said("live", lambda line: "then" in line, 0, count=1 + count)
        lines = [*children, *parents]
        assert {line["first"] for line in lines if "first" in line} == {"first"}
        assert sum("then" in line for line in children) == count
        served = {(line.get("first") or line.get("then"), line["named"]) for line in lines if "named" in line}
        assert served == {("first", "first-fast"), ("second", "second-fast")}
        assert parents[-1]["then"] == "second"
        assert parents[-1]["reconnects"] == 0, "the parent's connection was left alone"
        assert len({line["client"] for line in parents}) == 1
        listeners = {line["pid"]: line["listener"] for line in lines if "hears" in line}
        assert len(listeners) == len(set(listeners.values())) == 1 + count
        assert len({line["client"] for line in lines}) == 1 + count
