"""What others wrote reaches no terminal raw: no escape sequence, no line of its own, no text turned round."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from liverouter.cli import output
from liverouter.demo.screen import Screen
from liverouter.errors import ConfigError, DatabaseError, Problem
from liverouter.events import CallFailedOver, ConfigRejected
from liverouter.logs import LogObserver
from liverouter.postgres import migrate
from liverouter.secrecy.printable import printable, printable_json, storable_values
from tests.kit import patience
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, deployment, put, put_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    Session = psycopg.Connection[Any]
    Cli = Callable[..., Any]

emptied, dsn, db = one_database()

patient = patience.patient

EVIL: Final = "x\x1b]0;owned\x07\x1b[2J\x1b[1A\r\nerror: all is lost\x08\x9b31m\u202egnp\u2066\u200b\ufeff\x85y"
SOURCES: Final = Path(output.__file__).parent


def is_tame(printed: str) -> bool:
    """Tell whether *printed* holds lines of printable characters and nothing else."""
    return all(line.isprintable() for line in printed.split("\n"))


class TestPrintable:
    def test_every_character_that_a_terminal_could_obey_is_replaced(self) -> None:
        """All of Unicode: what stays is printable, what is a letter stays."""
        everything = "".join(map(chr, range(0x110000)))
        shown = printable(everything)
        assert shown.isprintable()
        assert len(shown) == len(everything)
        assert printable("Grüße, 世界 🎉") == "Grüße, 世界 🎉"
        assert printable("one\r\n\ttwo") == "one   two"

    def test_json_keeps_its_meaning(self) -> None:
        """What cannot be printed is escaped, as JSON escapes; a reader has the very text."""
        everything = "".join(chr(n) for n in range(0x110000) if not 0xD800 <= n <= 0xDFFF)
        for indent, key, text in ((None, EVIL, everything), (2, everything[:0x3000], EVIL)):
            document = printable_json(json.dumps({key: [text]}, ensure_ascii=False, indent=indent))
            assert is_tame(document)
            assert json.loads(document) == {key: [text]}

    def test_what_jsonb_does_not_take_is_replaced(self) -> None:
        """NUL, half characters, numbers that are none; the rest is left alone."""
        value = {"a\0": ["\ud800", math.nan, -math.inf, 1.5, None, True, "🎉\n"]}
        assert storable_values(value) == {"a\ufffd": ["\ufffd", None, None, 1.5, None, True, "🎉\n"]}


class TestCommands:
    def test_each_command_prints_what_strangers_wrote_tame(self, cli: Cli, db: Session) -> None:
        """Authors, comments, values, models, processes, problems: in tables, in lines and as JSON."""
        with db.transaction():
            db.execute(b"SELECT set_config('liverouter.author', %s, true)", [EVIL])
            db.execute(b"SELECT set_config('liverouter.comment', %s, true)", [EVIL])
            put(db, llm_provider=f"open{EVIL}", llm_model=EVIL, llm_fallback_config={"provider": EVIL, "model": EVIL})
            put_secret(db, "openai_api_key")
        process = Process(db, app=EVIL, host=EVIL, labels={EVIL: EVIL}, mode_cause=EVIL)
        process.rejected(1, kept=None, message=EVIL, deployments=[deployment(EVIL, EVIL, endpoint=EVIL)])
        put(db, **{f"x{EVIL}"[:1]: EVIL})
        commands = (
            ("show",),
            ("show", "--settings"),
            ("history",),
            ("diff", "0", "1"),
            ("instances",),
            ("keys", "status"),
            ("check",),
            ("set", "llm_model=b", "--wait", "--timeout", "0.1"),
        )
        for command in commands:
            for more in ([], ["--json"]):
                result = cli(*command, *more)
                assert is_tame(result.out), (command, result.out)
                assert is_tame(result.err), (command, result.err)
        assert "error: all is lost" not in [line.strip() for line in cli("show").out.split("\n")]

    def test_error_and_its_causes_are_one_line_each(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Messages, places and hints may quote a provider, a row or another session's name."""
        error = DatabaseError(EVIL, code="LR208", where=EVIL, hint=EVIL)
        error.__cause__ = RuntimeError(EVIL)
        output.show_error(error, verbose=True)
        output.show_error(ConfigError([Problem("LR101", EVIL, EVIL, EVIL)]))
        assert is_tame(said := capsys.readouterr().err)
        assert len(said.splitlines()) == 5

    def test_only_one_module_of_the_command_line_prints(self) -> None:
        """So that no new command forgets; but for a key, the line of Ctrl-C, what click asks for, what is erased."""
        raw = {
            path.name: len(re.findall(r"click\.s?echo\(|\bprint\(", path.read_text()))
            for path in SOURCES.glob("*.py")
            if path.name != "output.py"
        }
        assert {name: n for name, n in raw.items() if n} == {"app.py": 1, "keys.py": 2, "progress.py": 1}

    def test_author_is_shown_with_the_login_that_wrote(self, cli: Cli, db: Session) -> None:
        """A writer may call itself what it likes; history and show say which login it was."""
        cli("set", "llm_provider=openai", "llm_model=gpt-4o", "--author", "ann")
        me = f"ann ({db.info.user})"
        assert me in cli("history").out
        assert f"by {me}" in cli("show").out
        newest = cli("history", "--json").json[0]
        assert (newest["author"], newest["role"]) == ("ann", db.info.user)


class TestLog:
    def test_event_is_written_tame_to_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Escape sequences in a Problem, a reason or a deployment's name end in the log as U+FFFD."""
        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr("logging.root.handlers", [])  # pytest's own
        monkeypatch.setenv("NO_COLOR", "1")
        log = LogObserver()
        log(ConfigRejected("e", 1, "validate", (Problem("LR101", EVIL, EVIL, EVIL),), None))
        log(CallFailedOver(EVIL, EVIL, EVIL))
        log._log.error("request.failed", path=EVIL, error=EVIL)  # noqa: SLF001 - as the daemon writes
        assert is_tame(terminal.getvalue())
        assert len(terminal.getvalue().splitlines()) == 3


class TestDemo:
    def test_screen_prints_what_a_model_said_tame(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The story's lines, statements and rows."""
        with Screen(list) as screen:
            screen.say(EVIL)
            screen.title(EVIL)
            screen.rows([{"a": EVIL}])
        assert is_tame(capsys.readouterr().out)


class TestMigrate:
    def test_name_of_who_holds_the_lock_is_printed_tame(self, cli: Cli, dsn: str) -> None:
        """Whatever the other session calls itself."""
        with psycopg.connect(dsn, application_name=EVIL.replace("\0", "")) as other:
            other.execute(b"SELECT pg_advisory_lock(%s)", [int.from_bytes(b"lrmigr")])
            said: list[str] = []
            with pytest.raises(DatabaseError) as caught:
                migrate.upgrade(dsn, echo=said.append, lock_timeout_s=0.05)
        assert is_tame(printable(caught.value.message))
        assert cli("migrate").code == 0
