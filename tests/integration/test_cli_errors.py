"""What everybody meets sooner or later: each is one line and its hint on stderr, an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import pytest

from liverouter.cli.app import cli as commands, run
from tests.kit.postgres.emptied import one_database

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]
    Cli = Callable[..., Any]

emptied, dsn, db = one_database()

PASSWORD = "correct-horse"
FULL_DISK = Path("/dev/full")
READERS = [["show"], ["set", "llm_model=a"], ["history"], ["instances"], ["check"], ["watch"], ["keys", "status"]]
MODELS = ("litellm", "langchain_core", "langchain_litellm", "openai")
HEAVY = ("email", "http", "zoneinfo", "argparse", "unittest", "multiprocessing", "urllib.request")
READING = (*HEAVY, "liverouter.providers", "liverouter.config.validate", "liverouter.cli.write")


def told(err: str) -> list[str]:
    """Return the lines of *err*, which must be one error and its hint."""
    lines = err.splitlines()
    assert "Traceback" not in err
    assert [line.partition(":")[0] for line in lines] == ["error", "  hint"], err
    return lines


def named_by_path(command: Any, *path: str) -> dict[str, Any]:
    """Return every command below *command* by what one types."""
    found: dict[str, Any] = {}
    context = click.Context(command)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        below = command.get_command(context, name)
        found |= {" ".join([*path, name]): below} | named_by_path(below, *path, name)
    return found


@pytest.fixture
def on_a_terminal(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, bytes]]:
    """A function that runs one command, and returns its exit code and all that it wrote to its terminal."""
    monkeypatch.setenv("LIVEROUTER_DATABASE_URL", dsn)

    def call(command: str, **environ: str) -> tuple[int, bytes]:
        for name, text in environ.items():
            monkeypatch.setenv(name, text)
        terminal, screen = pty.openpty()
        shown = bytearray()

        def read() -> None:
            with contextlib.suppress(OSError):  # so Linux says that nobody writes any more
                while part := os.read(terminal, 10_000):
                    shown.extend(part)

        reader = threading.Thread(target=read)
        reader.start()
        with os.fdopen(screen, "w", encoding="utf-8") as written, redirect_stdout(written), redirect_stderr(written):
            code = run([command])
        reader.join()
        os.close(terminal)
        return code, bytes(shown)

    return call


class TestDatabase:
    @pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
    def test_unreachable_database_is_one_error(self, shell: Cli, command: list[str]) -> None:
        """Nobody listens there; the password in the URL is not repeated."""
        result = shell(*command, "--database-url", f"postgresql://me:{PASSWORD}@127.0.0.1:1/none", "-v")
        assert result.code == 1
        assert "error: the database refused the connection [LR201 at database" in result.err
        assert "hint: Is the server up" in result.err
        assert PASSWORD not in result.err

    def test_wrong_password_is_one_error(self, shell: Cli, dsn: str) -> None:
        """LR202, with what to check."""
        parts = urlsplit(dsn)
        wrong = parts._replace(netloc=f"{parts.username}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()
        result = shell("show", "--database-url", wrong)
        assert result.code == 1
        assert "the database refused the login [LR202" in told(result.err)[0]
        assert PASSWORD not in result.err

    def test_missing_database_is_one_error(self, shell: Cli, dsn: str) -> None:
        """LR203."""
        result = shell("show", "--database-url", urlsplit(dsn)._replace(path="/nowhere").geturl())
        assert (result.code, "[LR203" in told(result.err)[0]) == (1, True)

    def test_database_without_the_schema_is_one_error(self, shell: Cli, empty_dsn: str) -> None:
        """LR204 from each command, and the command that installs it."""
        for command in READERS:
            result = shell(*command, "--database-url", empty_dsn)
            assert result.code == 1
            first, hint = told(result.err)
            assert "[LR204" in first
            assert "liverouter migrate" in hint

    @pytest.mark.parametrize(
        ("schema", "code", "hint"),
        [("9999_future", "LR205", "Upgrade liverouter"), ("0001_config", "LR206", "liverouter migrate")],
    )
    def test_other_schema_is_one_error(self, cli: Cli, db: Session, schema: str, code: str, hint: str) -> None:
        """Newer than this code, and not declared compatible; or older."""
        db.execute("UPDATE liverouter.alembic_version SET version_num = %s", [schema])
        db.execute("CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean RETURN false")
        for command in (["show"], ["set", "llm_model=a"], ["migrate", "--check"]):
            result = cli(*command)
            assert result.code == 1
            first, second = told(result.err)
            assert f"[{code}" in first
            assert hint in second

    def test_missing_right_is_one_error(self, cli: Cli, login: Callable[..., str]) -> None:
        """A role that may only look cannot write: LR207 names what to grant."""
        look = login("liverouter_inspector")
        assert cli("instances", "--database-url", look).code == 0
        result = cli("set", "llm_model=a", "--database-url", look)
        first, hint = told(result.err)
        assert (result.code, "[LR207" in first, "liverouter_writer" in hint) == (1, True, True)

    def test_verbose_shows_the_cause(self, shell: Cli) -> None:
        """For whoever looks deeper; -v works on each command."""
        result = shell("show", "-v", "--database-url", "postgresql://me@127.0.0.1:1/none")
        assert "caused by ConnectionRefusedError: [Errno " in result.err
        assert "caused by" not in shell("show", "--database-url", "postgresql://me@127.0.0.1:1/none").err


class TestOptions:
    @pytest.mark.parametrize(
        ("variable", "text"),
        [
            ("LIVEROUTER_DATABASE_URL", ""),
            ("LIVEROUTER_DATABASE_URL", f"mysql://me:{PASSWORD}@host/name"),
            ("LIVEROUTER_SECRET_KEYS", PASSWORD),
            ("LIVEROUTER_SECRET_KEYS_FILE", "/nowhere/keys"),
            ("LIVEROUTER_LABELS", "a b=c"),
            ("LIVEROUTER_POLL_INTERVAL_S", "soon"),
        ],
    )
    def test_bad_process_option_is_exit_code_78(
        self, shell: Cli, monkeypatch: pytest.MonkeyPatch, variable: str, text: str
    ) -> None:
        """A supervisor need not try again; the line names the variable, not its value."""
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", "postgresql://me@127.0.0.1:1/none")
        monkeypatch.setenv(variable, text)
        result = shell("show")
        assert result.code == 78
        assert f"at {variable}]" in result.err
        assert "hint: " in result.err
        assert PASSWORD not in result.err

    def test_open_address_without_a_token_is_exit_code_78(self, shell: Cli) -> None:
        """`serve` refuses before it listens anywhere."""
        result = shell("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - refused
        assert result.code == 78
        assert "LIVEROUTER_ADMIN_TOKEN" in result.err

    @pytest.mark.parametrize(
        "arguments",
        [
            ["shwo"],
            ["show", "--jsn"],
            ["diff", "1"],
            ["diff", "1", str(2**63)],
            ["rollback", "one"],
            ["rollback", str(2**63)],
            ["set", "llm_model=m", "--expect", str(2**63)],
            ["set", "llm_model=m", "--wait", "--timeout", "nan"],
            ["migrate", "--lock-timeout", "nan"],
        ],
    )
    def test_misuse_is_exit_code_2(self, shell: Cli, arguments: list[str]) -> None:
        """Unknown commands and options, missing and wrong arguments."""
        result = shell(*arguments)
        assert result.code == 2
        assert "Error: " in result.err


class TestHelp:
    @pytest.mark.parametrize("name", named_by_path(commands))
    def test_every_command_shows_an_example(self, shell: Cli, name: str) -> None:
        """`--help` is where one learns a command."""
        result = shell(*name.split(), "--help")
        assert result.code == 0
        assert "Example" in result.out
        assert f"liverouter {name.split(maxsplit=1)[0]}" in result.out

    def test_commands_of_the_contract_are_all_there(self) -> None:
        """README and DESIGN name them."""
        assert set(named_by_path(commands)) >= {
            *("demo", "serve", "migrate", "show", "set", "unset", "history", "diff", "rollback", "check", "instances"),
            *("watch", "keys", "keys generate", "keys rotate", "keys status"),
        }


class TestProcess:
    def test_commands_load_what_they_need(self, dsn: str) -> None:
        """Who looks or writes loads click and the driver alone, and validates nothing that a process has judged."""
        program = (
            "import json, sys\n"
            "before = set(sys.modules)\n"
            "from liverouter.cli.app import run\n"
            "for arguments, modules in json.loads(sys.argv[1]):\n"
            "    assert run(arguments) == 0, arguments\n"
            "    loaded = sys.modules.keys() - before\n"
            "    foreign = {name.partition('.')[0] for name in loaded} - sys.stdlib_module_names\n"
            "    foreign -= {'liverouter', 'click', 'asyncpg', 'cython_runtime'}\n"
            "    assert not [name for name in foreign if not name.startswith('_')], (arguments, foreign)\n"
            "    assert not loaded & {*modules}, (arguments, loaded & {*modules})\n"
        )
        reading = ("history", "instances", "diff 0 0")
        others = ("show", "show --settings", "set llm_model=a --wait", "unset llm_model", "rollback 0", "keys status")
        wanted = [(line.split(), READING) for line in reading] + [(line.split(), HEAVY) for line in others]
        self._succeeds(program, json.dumps(wanted), dsn)

    def test_migrate_and_keys_load_no_models(self, dsn: str) -> None:
        """They cost seconds: litellm and langchain."""
        program = (
            "import sys\n"
            "from liverouter.cli.app import run\n"
            "assert run(['keys', 'generate']) == run(['migrate', '--check']) == 0\n"
            "assert not sys.modules.keys() & {*sys.argv[1].split()}\n"
        )
        self._succeeds(program, " ".join(MODELS), dsn)

    def _succeeds(self, program: str, argument: str, dsn: str) -> None:
        """Have a process of its own run *program*, whose end must be a good one."""
        result = subprocess.run(
            [sys.executable, "-c", program, argument],
            env=os.environ | {"LIVEROUTER_DATABASE_URL": dsn},
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert result.returncode == 0, result.stderr

    def test_closed_pipe_ends_in_silence(self, dsn: str) -> None:
        """`liverouter show --settings | head -1` ends without a word."""
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as closed:
            result = subprocess.run(
                [sys.executable, "-m", "liverouter", "show", "--settings"],
                env=os.environ | {"LIVEROUTER_DATABASE_URL": dsn},
                stdout=closed,
                stderr=subprocess.PIPE,
                check=False,
                timeout=150,
            )
        assert result.stderr == b""

    @pytest.mark.skipif(not FULL_DISK.exists(), reason="needs /dev/full, which Linux has")
    @pytest.mark.parametrize("command", ["show --settings", "--version"])
    def test_full_disk_is_told_in_a_line(self, dsn: str, command: str) -> None:
        """`liverouter export > config.yaml`, too: whether it holds as much as a buffer or not."""
        with FULL_DISK.open("wb") as full:
            result = subprocess.run(
                [sys.executable, "-m", "liverouter", *command.split()],
                env=os.environ | {"LIVEROUTER_DATABASE_URL": dsn},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                timeout=150,
            )
        assert result.stderr == "error: the output cannot be written: No space left on device\n"
        assert result.returncode == 1

    @pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
    def test_colours_are_for_terminals_that_want_them(
        self,
        on_a_terminal: Callable[..., tuple[int, bytes]],
        no_color: str,
        coloured: bool,  # noqa: FBT001 - a table
    ) -> None:
        """Problems are coloured on a terminal, not where NO_COLOR is set."""
        code, shown = on_a_terminal("show", NO_COLOR=no_color)
        assert code == 0
        assert b"is not set" in shown
        assert (b"\x1b[" in shown) is coloured

    def test_no_colours_in_a_pipe(self, cli: Cli) -> None:
        """What a script reads is plain."""
        assert "\x1b" not in cli("show").out

    @pytest.mark.parametrize(
        ("command", "said", "last"),
        [
            ("migrate", "looking at the schema", b"up to date: "),
            ("export", "reading the config", b"liverouter: 1"),
            ("check", "building revision 0", b"settings.llm_provider"),
        ],
    )
    def test_a_terminal_sees_what_is_under_way(
        self, on_a_terminal: Callable[..., tuple[int, bytes]], command: str, said: str, last: bytes
    ) -> None:
        """One line, erased before anything else is printed."""
        _, shown = on_a_terminal(command, TERM="xterm")
        erased = b"\r\x1b[2K"
        assert erased + f"{said} \N{HORIZONTAL ELLIPSIS}".encode() + erased in shown
        assert last in shown.rpartition(erased)[2]

    def test_a_terminal_that_can_erase_nothing_does_not(self, on_a_terminal: Callable[..., tuple[int, bytes]]) -> None:
        """It sees the rest."""
        _, shown = on_a_terminal("migrate", TERM="dumb")
        assert b"up to date: " in shown
        assert "\N{HORIZONTAL ELLIPSIS}".encode() not in shown
