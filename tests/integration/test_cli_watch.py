"""`watch` beside a database in which things happen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, put, put_secret, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()

_LINE_S = 90.0  # a busy machine, and the process starts in it


class Watch:
    """A running `liverouter watch`, its lines as they come."""

    def __init__(self, dsn: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "liverouter", "watch", *arguments],
            env=os.environ | {"LIVEROUTER_DATABASE_URL": dsn},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: dict[str, list[str]] = {"out": [], "err": []}
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, "out")),
            threading.Thread(target=self._read, args=(self.process.stderr, "err")),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, name: str) -> None:
        for line in stream:
            with self._news:
                self.lines[name].append(line.rstrip("\n"))
                self._news.notify_all()

    def line(self, *parts: str, stream: str = "out", after: int = 0) -> str:
        """Return the first line that holds all *parts* behind the first *after* ones, once it is there."""

        def find() -> str:
            return next((line for line in self.lines[stream][after:] if all(part in line for part in parts)), "")

        with self._news:
            found = self._news.wait_for(find, _LINE_S)
        assert found, f"no line with {parts} in {self.lines}"
        return found

    def event(self, **facts: Any) -> dict[str, Any]:
        """Return the first JSON line with these *facts*, once it is there."""
        found: dict[str, Any] = json.loads(self.line(*(f'"{k}": {json.dumps(v)}' for k, v in facts.items())))
        return found

    def end(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(_LINE_S)
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self._ended()


@pytest.fixture
def watch(dsn: str) -> Iterator[Callable[..., Watch]]:
    """A function that starts `watch` on this test's database."""
    started: list[Watch] = []

    def start(*arguments: str) -> Watch:
        started.append(Watch(dsn, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


class TestWatch:
    def test_each_change_and_each_process_is_told_as_it_happens(self, watch: Callable[..., Watch], db: Session) -> None:
        """Who changed what; who applied it after how many ms; who rejected it and why; Ctrl-C ends it with 0."""
        put(db, llm_model="gpt-4o")
        process = Process(db)
        process.applied(1)
        watching = watch()
        watching.line("revision 1, ", ", by postgres")
        watching.line("  llm_model: - → gpt-4o")
        watching.line("billing on host-1, pid 7: serves revision 1")

        put(db, llm_model="gpt-4.1")
        watching.line("revision 2, ")
        watching.line("  llm_model: gpt-4o → gpt-4.1")
        process.applied(2)
        assert watching.line("serves revision 2, ").endswith(" ms after the commit")

        put_secret(db, "openai_api_key", "aaaabbbb")
        watching.line("  secret openai_api_key: - → aaaabbbb")
        process.rejected(3, kept=2)
        watching.line("billing on host-1, pid 7: rejects revision 3, goes on with 2")
        watching.line("  the key is missing [LR102]")
        watching.line("  hint: Store it")
        process.send(bye=True)
        assert watching.end() == 0
        assert watching.lines["err"] == []

    def test_json_is_one_object_a_line(self, watch: Callable[..., Watch], db: Session) -> None:
        """For scripts: every line has an event and its facts."""
        watching = watch("--json")
        watching.event(event="revision", revision=0)
        process = Process(db)
        process.run(0)
        put(db, llm_model="gpt-4o")
        change = watching.event(event="revision", revision=1)
        assert change["changes"] == [{"object": "setting", "key": "llm_model", "old": None, "new": "gpt-4o"}]
        process.applied(1)
        applied = watching.event(event="applied", revision=1)
        assert (applied["app"], applied["pid"]) == ("billing", 7)
        assert applied["ms"] > 0
        process.rejected(2, kept=1)
        assert watching.event(event="rejected", revision=2)["serves"] == 1
        process.silent_for(60)
        watching.event(event="state", state="offline")
        assert watching.end() == 0

    def test_lost_connection_is_told_and_waited_out(
        self, watch: Callable[..., Watch], db: Session, wait_until: Callable[..., None]
    ) -> None:
        """Its sessions are killed: it says so on stderr, comes back by itself and misses nothing of much, in order."""
        mine = "FROM pg_stat_activity WHERE application_name = 'liverouter watch' AND datname = current_database()"
        watching = watch("--json")
        watching.event(event="revision", revision=0)
        wait_until(lambda: value(db, f"SELECT count(*) {mine}") == 2)
        db.execute(f"SELECT pg_terminate_backend(pid) {mine}".encode())
        watching.line("[LR201 at database]", stream="err")
        for number in range(1, 8):
            put(db, llm_model=f"m{number}")
        watching.event(event="revision", revision=7)
        assert watching.end() == 0
        told = [json.loads(line)["revision"] for line in watching.lines["out"] if '"event": "revision"' in line]
        assert told == list(range(8))
        assert not any("Traceback" in line for line in watching.lines["err"])

    def test_change_that_could_not_be_looked_up_is_told_later(
        self, watch: Callable[..., Watch], db: Session, login: Callable[..., str]
    ) -> None:
        """While its diff is refused, a revision is not taken for told, nor while what the processes say is.

        To whoever may look, which is enough.
        """
        watching = watch("--json", "--database-url", login("liverouter_inspector"))
        watching.event(event="revision", revision=0)
        watching.event(event="revision", revision=put(db, llm_model="gpt-4o"))
        assert watching.lines["err"] == []
        for right in ("EXECUTE ON FUNCTION liverouter.revision_diff", "SELECT ON liverouter.instances_detail"):
            before = len(watching.lines["err"])
            db.execute(f"REVOKE {right} FROM liverouter_inspector, PUBLIC".encode())
            made = put(db, llm_model=right)
            watching.line("[LR207", stream="err", after=before)
            db.execute(f"GRANT {right} TO liverouter_inspector".encode())
            (change,) = watching.event(event="revision", revision=made)["changes"]
            assert change["new"] == right
        assert watching.end() == 0

    def test_history_may_be_pruned(self, watch: Callable[..., Watch], db: Session) -> None:
        """What is left of it is told, once; what a revision changed is unknown where the one before it is gone."""
        put(db, llm_model="gpt-4")
        db.execute(b"DELETE FROM liverouter.revision_log")
        watching = watch("--json")
        Process(db).run(1)
        watching.event(event="state", state="live")
        first = put(db, llm_model="gpt-4o")
        assert watching.event(event="revision", revision=first)["changes"] == []
        second = put(db, llm_model="gpt-4.1")  # is told where it is looked for before it is gone
        with db.transaction():
            third = put(db, llm_model="gpt-5")
            db.execute(b"DELETE FROM liverouter.revision_log WHERE revision = %s", [second])
        watching.event(event="revision", revision=third)
        put(db, llm_temperature=1)
        watching.event(event="revision", revision=third + 1)
        assert watching.end() == 0
        told = [json.loads(line)["revision"] for line in watching.lines["out"] if '"event": "revision"' in line]
        assert [revision for revision in told if revision != second] == [first, third, third + 1]
        assert watching.lines["err"] == []

    def test_value_that_cannot_be_read_does_not_end_the_telling(self, watch: Callable[..., Watch], db: Session) -> None:
        """A number too long for Python is told as a revision without changes, and the next one as ever."""
        watching = watch("--json")
        watching.event(event="revision", revision=0)
        db.execute(
            b"ALTER TABLE liverouter.settings DISABLE TRIGGER b_refuse_plain_secrets"
        )  # or of before it was there
        db.execute(b"INSERT INTO liverouter.settings (key, value) VALUES ('long', %s::jsonb)", ["9" * 5_000])
        assert watching.event(event="revision", revision=1)["changes"] == []
        db.execute(b"DELETE FROM liverouter.settings")
        watching.event(event="revision", revision=2)
        put(db, llm_model="gpt-4o")
        assert watching.event(event="revision", revision=3)["changes"]
        assert watching.end() == 0

    @pytest.mark.parametrize("options", [(), ("--json",)])
    def test_strangers_neither_end_it_nor_reach_the_terminal_raw(
        self, watch: Callable[..., Watch], db: Session, options: tuple[str, ...]
    ) -> None:
        """Poison in reports, escape sequences in authors, comments, values, names and errors: plain lines."""
        evil = "x\x1b]0;owned\x07\x1b[2J\r\nrevision 99\u202e\x9b31my"
        watching = watch(*options)
        watching.line("empty: the schema was installed")
        with db.transaction():
            db.execute(b"SELECT set_config('liverouter.author', %s, true)", [evil])
            db.execute(b"SELECT set_config('liverouter.comment', %s, true)", [evil])
            put(db, llm_model=evil)
        Process(db, app=evil).rejected(1, kept=None, message=evil, since="294276-12-31", deployments=[{}])
        Process(db, app=evil).run(2**62, problems=[{"code": "X"}], labels={"a": 1}, usage=[{"cost_usd": "NaN"}])
        Process(db, app="honest").applied(1)
        watching.line("honest", "applied" if options else "serves revision 1")
        assert watching.end() == 0
        assert all(line.isprintable() for lines in watching.lines.values() for line in lines)
        assert [line for line in watching.lines["out"] if line.startswith("revision 99")] == []
        assert any(db.info.user in line for line in watching.lines["out"])
