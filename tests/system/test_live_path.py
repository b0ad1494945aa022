"""From a row written by psql to a live model in another process, and what that process says when a row cannot work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psycopg
import pytest

from liverouter import LiveRouter, NotReadyError
from liverouter.cli.app import run
from liverouter.embedded.binaries import find_binaries
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.testing import StandIn

KEY = "sk-live-path-not-a-real-key-0123456789"

# What a person types at a Python prompt, one expression a line; each is answered by one line of JSON.
_PROMPT = """
import json, sys
from liverouter import NotReadyError, get_chat_model, status
model = None
while model is None:
    try:
        model = get_chat_model()
    except NotReadyError as exc:
        if not exc.problems:
            continue  # the time was too short for the first read: who is told no reason asks again
        print(json.dumps({"error": type(exc).__name__, "text": str(exc)}), flush=True)
        sys.exit(1)
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    print(json.dumps(eval(line), default=str), flush=True)
"""
_FIRST_ROWS = """
INSERT INTO liverouter.settings (key, value) VALUES
  ('llm_provider', '"openai"'), ('llm_model', '"gpt-4o"'), ('openai_api_base', '"{api_base}"')
"""


class Prompt:
    """A Python process of somebody's own, which knows the database's URL, a provider key and nothing else of ours."""

    def __init__(self, dsn: str, **environment: str) -> None:
        patience = {"LIVEROUTER_READY_TIMEOUT_S": "120"}  # litellm is imported, on a busy machine
        # No pipe, which nobody reads before the end, and which may be full by then.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `__exit__` closes it
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROMPT],
            env=os.environ | patience | {"LIVEROUTER_DATABASE_URL": dsn} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def end(self) -> str:
        """Have it end, and return what it wrote to standard error."""
        self.process.communicate(timeout=150)  # its standard input ends, and so does it
        return self.errors

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return os.pread(self._errors.fileno(), 1_000_000, 0).decode()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors
        return json.loads(line)

    def __call__(self, expression: str) -> Any:
        """Return what *expression* gives there."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{expression}\n")
        self.process.stdin.flush()
        return self._read()

    def __enter__(self) -> Self:
        try:
            self.first = self._read()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        finally:
            self._errors.close()


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """Every stand-in knows one key."""
    return {"accept_keys": [KEY]}


@pytest.fixture
def psql(dsn: str) -> Callable[[str], None]:
    """A function that runs SQL as an admin does: by psql where it is installed, else by a driver."""
    binaries = find_binaries()

    def execute(statement: str) -> None:
        if binaries is None:
            with psycopg.connect(dsn) as session:
                session.execute(statement.encode())
            return
        command = [binaries.program("psql"), dsn, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "-c", statement]
        subprocess.run(command, check=True, timeout=150)

    return execute


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str, str], list[str]]:
    """A function that returns what a starting client, `show` and `check` say of a database that a code refuses."""

    def ask(url: str, code: str) -> list[str]:
        with LiveRouter(database_url=url) as live:
            told = [until(lambda: _refusal(live, code))]  # which is not that of a connect that was too slow
        for command in ("show", "check"):
            capsys.readouterr()
            run([command, "--database-url", url])
            told.append("".join(capsys.readouterr()))
        assert not any("Traceback" in text for text in told)
        return told

    return ask


def _refusal(live: LiveRouter, code: str) -> str:
    """Return why *live* is not ready, once that is *code*."""
    with pytest.raises(NotReadyError) as caught:
        live.wait_ready(0)
    return str(caught.value) if f"[{code} at" in str(caught.value) else ""


def put(key: str, value: Any) -> str:
    """Return the statement that sets one row."""
    return (
        f"INSERT INTO liverouter.settings (key, value) VALUES ('{key}', '{json.dumps(value)}')"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    )


class TestRowToModel:
    def test_rows_by_psql_become_a_model_that_follows_them(
        self, dsn: str, psql: Callable[[str], None], openai: StandIn, wait_until: Callable[..., None]
    ) -> None:
        """One URL, one key, rows: it answers; after an UPDATE the next call of the same object uses the new model.

        It ends without a word, litellm in it.
        """
        psql(_FIRST_ROWS.format(api_base=openai.api_base))
        with Prompt(dsn, OPENAI_API_KEY=KEY, LIVEROUTER_LOG_LEVEL="error", PYTHONWARNINGS="error") as prompt:
            assert prompt.first == "ready"
            assert prompt("model.invoke('hi').content") == "gpt-4o says: hi"
            psql("""UPDATE liverouter.settings SET value = '"gpt-4.1"' WHERE key = 'llm_model'""")
            wait_until(lambda: prompt("status().revision") == 2)
            assert prompt("model.invoke('hi').content") == "gpt-4.1 says: hi"
            assert prompt("model.invoke('hi').response_metadata['liverouter']['revision']") == 2
            wait_until(lambda: prompt("str(status().state)") == "live")
            assert prompt("'litellm' in sys.modules") is True
            said = prompt.end()
            assert (prompt.process.returncode, said) == (0, "")
        assert openai.violations == ()

    def test_serving_process_goes_on_serving_whatever_row_is_written(
        self, dsn: str, psql: Callable[[str], None], openai: StandIn, wait_until: Callable[..., None]
    ) -> None:
        """Each bad row is refused with code and hint, calls go on under the last good one, and mending is applied.

        Nor is litellm imported, which takes seconds and more than 100 MB, where a row says so.
        """
        bad = [
            (put("llm_provider", "opnai"), put("llm_provider", "openai"), "LR101", "Did you mean 'openai'?"),
            (put("litellm_num_retries", "many"), put("litellm_num_retries", 1), "LR103", "whole number"),
            (put("litellm_timeout", -5), put("litellm_timeout", 60), "LR104", "from 0.1 to 3600"),
            (put("openai_api_base", "nowhere"), put("openai_api_base", openai.api_base), "LR105", "Write a URL"),
            (put("llm_provider", "anthropic"), put("llm_provider", "openai"), "LR102", "anthropic_api_key"),
            (
                "DELETE FROM liverouter.settings WHERE key = 'llm_model'",
                put("llm_model", "gpt-4o"),
                "LR100",
                "llm_model",
            ),
        ]
        psql(_FIRST_ROWS.format(api_base=openai.api_base))
        psql(put("litellm_enable", value=False))
        good = 2
        with Prompt(dsn, OPENAI_API_KEY=KEY) as prompt:
            for spoil, mend, code, hint in bad:
                psql(spoil)
                told = "(s := status()) and (s.revision, s.rejected_revision, s.last_error and s.last_error.code)"
                wait_until(lambda: prompt(told) == [good, good + 1, code])  # noqa: B023 - called at once
                assert hint in prompt("status().last_error.hint")
                assert prompt("model.invoke('hi').content") == "gpt-4o says: hi"
                psql(mend)
                good += 2
                wait_until(lambda: prompt("(s := status()) and [s.revision, s.last_error]") == [good, None])  # noqa: B023
            assert prompt("model.invoke('hi').response_metadata['liverouter']['revision']") == good
            assert prompt("'litellm' in sys.modules") is False


class TestExit:
    def test_script_whose_database_has_a_name_and_no_answer_ends_without_a_traceback(self) -> None:
        """Exit hooks run when no thread can be started any more; names are resolved all the same, and it is silent."""
        url = "postgresql://user:password@localhost:1/name"
        with Prompt(url, LIVEROUTER_READY_TIMEOUT_S="1", LITELLM_ENABLE="false") as prompt:
            assert prompt.first["error"] == "NotReadyError"
            assert "[LR201 at database localhost:1/name]" in prompt.first["text"]
            said = prompt.end()
        assert '"client.closed"' in said
        assert not [word for word in ("Traceback", "RuntimeError", "loop.failed") if word in said], said


class TestNothingYet:
    def test_no_settings_is_not_ready_with_everything_that_is_missing(self, dsn: str) -> None:
        """After its timeout get_chat_model() raises, and lists what `show` lists."""
        with Prompt(dsn, LIVEROUTER_READY_TIMEOUT_S="1", LITELLM_ENABLE="false") as prompt:
            assert prompt.first["error"] == "NotReadyError"
            text = prompt.first["text"]
        assert text.startswith("no config is live after ")
        assert "waiting for: the first settings, since " in text
        assert "[LR401]" in text
        assert "'llm_provider' is not set [LR100 at settings.llm_provider]" in text
        assert "liverouter set llm_provider=anthropic" in text
        assert "'llm_model' is not set [LR100 at settings.llm_model]" in text

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ([], ("LR100", "liverouter set llm_provider=anthropic")),
            ([put("llm_provider", "openai")], ("LR100", "liverouter set llm_model=")),
            ([put("llm_provider", "opnai"), put("llm_model", "m")], ("LR101", "Did you mean 'openai'?")),
            ([put("llm_provider", "openai"), put("llm_model", "m")], ("LR102", "liverouter set --secret openai")),
            ([put("llm_provider", "openai"), put("llm_model", 4)], ("LR103", "text in quotes")),
        ],
        ids=["no rows", "a row is missing", "unknown provider", "no key", "wrong JSON type"],
    )
    def test_rows_that_make_no_config_are_told_alike_everywhere(
        self,
        dsn: str,
        psql: Callable[[str], None],
        tell: Callable[[str, str], list[str]],
        rows: list[str],
        said: tuple[str, str],
    ) -> None:
        """One clear error with its hint from a client that starts, `liverouter show` and `liverouter check`."""
        for row in rows:
            psql(row)
        code, hint = said
        for text in tell(dsn, code):
            assert f"[{code} at settings." in text
            assert hint in text

    @pytest.mark.parametrize("wrong", ["password", "schema missing", "schema newer", "nobody there"])
    def test_database_that_cannot_be_used_is_told_alike_everywhere(
        self, dsn: str, empty_dsn: str, psql: Callable[[str], None], tell: Callable[[str, str], list[str]], wrong: str
    ) -> None:
        """The same for the database itself; the password is in none of it."""
        parts = urlsplit(dsn)
        match wrong:
            case "password":
                login = f"{parts.username}:{KEY}@{parts.hostname}:{parts.port}"
                url, code, hint = parts._replace(netloc=login).geturl(), "LR202", "Check user and password"
            case "schema missing":
                url, code, hint = empty_dsn, "LR204", "liverouter migrate"
            case "schema newer":
                psql("UPDATE liverouter.alembic_version SET version_num = '9999_future'")
                psql("CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean RETURN false")
                url, code, hint = dsn, "LR205", "Upgrade liverouter"
            case _:
                url, code, hint = f"postgresql://me:{KEY}@127.0.0.1:1/none", "LR201", "Is the server up"
        for text in tell(url, code):
            assert f"[{code} at database" in text
            assert hint in text
            assert KEY not in text


class TestImport:
    @pytest.mark.parametrize("line", ["import liverouter", "from liverouter import get_chat_model, status"])
    def test_import_loads_nothing_heavy(self, line: str) -> None:
        """What a service imports is free: the first call loads litellm, LangChain, drivers and the rest."""
        program = f"import sys\n{line}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
        loaded = set(self._printed(program).split())
        assert "liverouter" in loaded
        assert not loaded & {
            *("litellm", "langchain_core", "langchain_litellm", "pydantic", "openai", "httpx", "structlog"),
            *("sqlalchemy", "asyncpg", "alembic", "fastapi", "starlette", "uvicorn", "cryptography", "asyncio"),
        }

    def test_type_hints_can_be_resolved(self) -> None:
        """What reads annotations, as dependency injection does, finds the class that the function returns."""
        program = (
            "import typing\nfrom liverouter import get_chat_model\n"
            "hint = typing.get_type_hints(get_chat_model)['return']\n"
            "from liverouter.chat.model import LiveChatModel\nprint(hint is LiveChatModel)"
        )
        assert self._printed(program) == "True"

    def _printed(self, program: str) -> str:
        """Return what *program* prints in a process of its own."""
        command = [sys.executable, "-c", program]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=150).stdout.strip()
