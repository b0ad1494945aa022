"""`set`, `unset`, `rollback`: one transaction, typed values, what it says afterwards."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from liverouter.secrecy.sealing import Keyring, generate_key, open as unseal
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, put, put_secret, refused, revision, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Session = psycopg.Connection[Any]
    Cli = Callable[..., Any]

emptied, dsn, db = one_database()

SECRET = "sk-ant-api03-not-a-real-key"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A secret key, configured."""
    text = generate_key()
    monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", text)
    return text


def stored(db: Session) -> dict[str, Any]:
    """Return all settings."""
    return {row["key"]: row["value"] for row in rows(db, "SELECT key, value FROM liverouter.settings")}


@contextmanager
def reacting(
    dsn: str, wait_until: Callable[..., None], expected: int, react: Callable[[Process], object]
) -> Iterator[Process]:
    """Yield a process that has applied revision 0 and does *react* as soon as revision *expected* is there."""
    with psycopg.connect(dsn, autocommit=True) as session:
        process = Process(session)
        process.applied(0)

        def follow() -> None:
            wait_until(lambda: revision(session) == expected)
            react(process)

        thread = threading.Thread(target=follow)
        thread.start()
        yield process
        thread.join()


class TestSet:
    def test_several_settings_are_one_revision_with_typed_values(self, cli: Cli, db: Session) -> None:
        """Each value gets its setting's type, whatever it looks like."""
        result = cli(
            "set",
            "llm_provider=openai",
            "llm_model=4",
            "llm_temperature=0.2",
            "litellm_enable=no",
            "litellm_num_retries=0",
            "llm_max_tokens=null",
            'llm_fallback_config={"provider": "openai", "model": "gpt-4o"}',
        )
        assert (result.code, result.out) == (0, "revision 1\n")
        assert stored(db) == {
            "llm_provider": "openai",
            "llm_model": "4",
            "llm_temperature": 0.2,
            "litellm_enable": False,
            "litellm_num_retries": 0,
            "llm_max_tokens": None,
            "llm_fallback_config": {"provider": "openai", "model": "gpt-4o"},
        }

    def test_same_values_again_make_no_revision(self, cli: Cli, db: Session) -> None:
        """It says that nothing changed."""
        cli("set", "llm_model=gpt-4o")
        result = cli("set", "llm_model=gpt-4o")
        assert (result.code, result.out) == (0, "nothing changed: still revision 1\n")
        assert revision(db) == 1

    def test_everything_wrong_is_told_at_once_and_nothing_written(self, cli: Cli, db: Session) -> None:
        """Unknown names, wrong types, values out of range, secrets: one report, and the right one waits too."""
        result = cli(
            "set",
            "llm_model=gpt-4o",
            "llm_modle=gpt-4o",
            "litellm_enable=maybe",
            "litellm_num_retries=99",
            "openai_api_base=api.openai.com",
            f"anthropic_api_key={SECRET}",
            "snowflake_password=hush",
            'llm_params={"top_p": NaN}',
            'llm:fast={"provider": "openai", "model": "m", "temperature": 1e400}',
        )
        assert result.code == 1
        assert [line for line in result.err.splitlines() if line.startswith("error")] == [
            "error: 'llm_modle' is not a setting [LR106 at settings.llm_modle]",
            "error: the value is not true or false [LR103 at settings.litellm_enable]",
            "error: the number is out of range [LR104 at settings.litellm_num_retries]",
            "error: the URL does not start with http:// or https:// and a host [LR105 at settings.openai_api_base]",
            "error: 'anthropic_api_key' is a secret, never given as KEY=VALUE [LR110 at settings.anthropic_api_key]",
            "error: 'snowflake_password' cannot be used [LR107 at settings.snowflake_password]",
            "error: the value is not JSON [LR103 at settings.llm_params]",
            "error: the value is not JSON [LR103 at settings.llm:fast]",
        ]
        assert "hint: Did you mean 'llm_model'?" in result.err
        assert "hint: Keep it out of the command line: liverouter set --secret anthropic_api_key" in result.err
        assert SECRET not in result.err
        assert stored(db) == {}

    @pytest.mark.parametrize("arguments", [(), ("llm_model",), ("llm_model=a", "llm_model=b"), ("--expect", "x")])
    def test_misuse_is_exit_code_2(self, cli: Cli, db: Session, arguments: tuple[str, ...]) -> None:
        """What is no KEY=VALUE, or nothing at all, is a usage error."""
        result = cli("set", *arguments)
        assert result.code == 2
        assert "Usage: liverouter set" in result.err
        assert revision(db) == 0

    def test_config_that_cannot_serve_yet_is_written_with_a_warning(self, cli: Cli) -> None:
        """A set-up takes several commands; the warning says what is still missing, and that this shell was asked."""
        result = cli("set", "llm_provider=openai")
        assert (result.code, result.out) == (0, "revision 1\n")
        assert "warning: 'llm_model' is not set [LR100" in result.err
        result = cli("set", "llm_model=gpt-4o")
        assert "warning: openai needs openai_api_key [LR102" in result.err.replace("'", "")
        assert "seen with this shell's environment" in result.err

    @pytest.mark.parametrize(
        ("key", "value", "code"),
        [
            ("llm_provider", "OpenAI", "LR101"),
            ("llm_fallback_config", '{"provider": "opnai", "model": "m"}', "LR101"),
            ("llm_fallback_config", '[{"provider": "openai"}]', "LR100"),
            ("llm_fallback_config", '[{"provider": "openai", "model": "m", "modle": "n"}]', "LR106"),
            ("llm:fast", '{"provider": "openai", "model": "m", "order": 2}', "LR104"),
            ("llm:fast", '{"provider": "snowflake-cortex", "model": "m", "snowflake_user": "u"}', "LR107"),
            ("llm_params", '{"verbosity": "loud"}', "LR104"),
            ("llm_params", '{"extra_headers": {"x": 1}}', "LR103"),
            ("llm_fallback_config", '{"provider": "anthropic", "model": "m"}', None),
            ("llm_temperature", "null", None),
        ],
    )
    def test_what_set_setting_refuses_is_refused_here(
        self, cli: Cli, db: Session, key: str, value: str, code: str | None
    ) -> None:
        """What no process would take, whatever the other rows hold; by the same code, and nothing is written."""
        result = cli("set", f"{key}={value}")
        assert (result.code, revision(db)) == ((1, 0) if code else (0, 1))
        assert code is None or f"[{code} at settings.{key}" in result.err
        as_json = value if value[0] in "{[n" else f'"{value}"'
        with refused(code) if code else nullcontext():
            db.execute("SELECT liverouter.set_setting(%s, %s)", [key, as_json])

    def test_plain_secret_in_the_fallback_is_refused(self, cli: Cli, db: Session) -> None:
        """Nothing is stored, the hint says how to do it, the secret is not repeated, not even with -v."""
        fallback = f'{{"provider": "openai", "model": "m", "api_key": "{SECRET}"}}'
        result = cli("set", f"llm_fallback_config={fallback}", "-v")
        assert result.code == 1
        assert "[LR110 at settings.llm_fallback_config.api_key]" in result.err
        assert "hint: " in result.err
        assert SECRET not in result.err + result.out
        assert revision(db) == 0

    def test_expected_revision_guards_against_a_lost_update(self, cli: Cli, db: Session) -> None:
        """Somebody was faster: nothing is written, and the error says who."""
        put(db, llm_model="a")
        put(db, llm_model="b")
        result = cli("set", "llm_model=c", "--expect", "1")
        assert result.code == 1
        assert "[LR211 at " in result.err
        assert stored(db) == {"llm_model": "b"}
        assert cli("set", "llm_model=c", "--expect", "2").out == "revision 3\n"

    def test_author_comment_and_command_stand_in_the_history(self, cli: Cli, db: Session) -> None:
        """Who, why and through what."""
        cli("set", "llm_model=a", "--author", "alice", "--comment", "for the weekend")
        (row,) = rows(db, "SELECT author, comment, application FROM liverouter.revisions WHERE revision = 1")
        assert row == {"author": "alice", "comment": "for the weekend", "application": "liverouter set"}

    def test_json_says_what_happened(self, cli: Cli) -> None:
        """For scripts: revision, whether anything changed, the problems that remain."""
        result = cli("set", "llm_provider=openai", "--json").json
        assert (result["revision"], result["changed"]) == (1, True)
        assert [p["code"] for p in result["problems"]] == ["LR100"]
        assert set(result["problems"][0]) == {"severity", "code", "where", "message", "hint"}

    def test_what_the_services_environment_has_is_not_asked_for_again(self, cli: Cli, db: Session) -> None:
        """A process serves the stored config, so its key is there: only what the change itself lacks is told."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        assert "LR102" in cli("set", "llm_model=gpt-4.1").err
        Process(db).applied(2)
        assert cli("set", "llm_model=gpt-4.1-mini").err == ""
        Process(db).applied(3)
        assert "anthropic needs anthropic_api_key" in cli("set", "llm_provider=anthropic").err.replace("'", "")


class TestWait:
    def test_wait_says_how_many_applied_it_and_after_how_many_ms(
        self, cli: Cli, dsn: str, wait_until: Callable[..., None]
    ) -> None:
        """It returns when the process reports the revision live."""
        with reacting(dsn, wait_until, 1, lambda process: process.applied(1)):
            result = cli("set", "llm_model=a", "--wait", "--timeout", "60")
        assert result.code == 0
        first, second = result.out.splitlines()
        assert first == "revision 1"
        assert second.startswith("live in 1 of 1 instances; the slowest, billing on host-1, pid 7, ")
        assert second.endswith(" ms after the commit")

    def test_rejection_fails_at_once_with_the_instances_reason(
        self, cli: Cli, dsn: str, db: Session, wait_until: Callable[..., None]
    ) -> None:
        """Exit code 1, the reason and the hint; the revision stays written."""
        with reacting(dsn, wait_until, 1, lambda process: process.rejected(1, 0)):
            result = cli("set", "llm_model=a", "--wait", "--timeout", "60")
        assert (result.code, result.out) == (1, "revision 1\n")
        assert "revision 1 was rejected by billing on host-1, pid 7: the key is missing [LR102]" in result.err
        assert "hint: Store it" in result.err
        assert revision(db) == 1

    def test_json_keeps_revision_and_reason_of_a_rejection(
        self, cli: Cli, dsn: str, wait_until: Callable[..., None]
    ) -> None:
        """A script sees on stdout what was written although the command fails."""
        with reacting(dsn, wait_until, 1, lambda process: process.rejected(1, 0)):
            result = cli("set", "llm_model=a", "--wait", "--timeout", "60", "--json")
        assert result.code == 1
        assert result.json["revision"] == 1
        assert result.json["rollout"]["problem"]["code"] == "LR403"

    def test_process_that_does_not_follow_is_named(self, cli: Cli, db: Session) -> None:
        """After the timeout: who is missing, exit code 1."""
        Process(db).applied(0)
        result = cli("set", "llm_model=a", "--wait", "--timeout", "0.2")
        assert result.code == 1
        assert "missing in 1 of 1 live instances: billing on host-1, pid 7 [LR404" in result.err

    def test_nobody_to_wait_for_is_said(self, cli: Cli) -> None:
        """Without a live process it returns at once."""
        assert cli("set", "llm_model=a", "--wait").out == "revision 1\nno process runs a client: nobody to wait for\n"


class TestSecret:
    def test_piped_secret_is_sealed_in_the_same_transaction(self, cli: Cli, db: Session, key: str) -> None:
        """One revision holds the settings and the secret; nothing printed shows it."""
        result = cli("set", "llm_provider=anthropic", "--secret", "anthropic_api_key", stdin=f"{SECRET}\n")
        assert (result.code, result.out) == (0, "revision 1\n")
        sealed = value(db, "SELECT sealed FROM liverouter.secrets WHERE name = 'anthropic_api_key'")
        assert unseal("anthropic_api_key", sealed, Keyring.from_text(key)).reveal() == SECRET
        assert stored(db) == {"llm_provider": "anthropic"}
        assert SECRET not in result.out + result.err

    @pytest.mark.usefixtures("key")
    def test_same_secret_again_changes_nothing(self, cli: Cli) -> None:
        """Sealing is random, so the stored one is compared by its content."""
        cli("set", "--secret", "anthropic_api_key", stdin=SECRET)
        for text in (SECRET, f"\ufeff{SECRET}\r\n"):  # as Windows writes it
            assert cli("set", "--secret", "anthropic_api_key", stdin=text).out == "nothing changed: still revision 1\n"
        assert cli("set", "--secret", "anthropic_api_key", stdin=f"{SECRET}2").out == "revision 2\n"

    def test_damaged_secret_is_replaced_by_the_same_value(self, cli: Cli, db: Session, key: str) -> None:
        """One that does not open any more is sealed anew."""
        newest = Keyring.from_text(key).newest
        put_secret(db, "anthropic_api_key", envelope=f"v1:{newest}:{'A' * 16}:{'A' * 40}")
        assert cli("set", "--secret", "anthropic_api_key", stdin=SECRET).out == "revision 2\n"

    def test_without_a_key_nothing_is_asked_or_stored(self, cli: Cli, db: Session) -> None:
        """The error says how to make one; it is a process option that is missing."""
        result = cli("set", "llm_model=a", "--secret", "anthropic_api_key", stdin=SECRET)
        assert result.code == 78
        assert "[LR501 at LIVEROUTER_SECRET_KEYS]" in result.err
        assert "hint: Make one with `liverouter keys generate`" in result.err
        assert revision(db) == 0

    @pytest.mark.parametrize("command", [("set", "--secret", "anthropic_api_key"), ("keys", "rotate")])
    def test_without_the_key_that_sealed_it_is_asked_for(self, cli: Cli, db: Session, command: tuple[str, ...]) -> None:
        """A new one would open nothing of what is stored, so none is advised."""
        put_secret(db, "openai_api_key", envelope=f"v1:0a1b2c3d:{'A' * 16}:{'A' * 40}")
        result = cli(*command, stdin=SECRET)
        assert result.code == 78
        assert "(key 0a1b2c3d); a new key opens none" in result.err
        assert "generate" not in result.err
        assert revision(db) == 1

    @pytest.mark.parametrize(
        ("names", "stdin"), [(["a_key", "b_key"], SECRET), (["anthropic_api_key"], " \n")], ids=["two names", "nothing"]
    )
    @pytest.mark.usefixtures("key")
    def test_pipe_holds_exactly_one_secret(self, cli: Cli, db: Session, names: list[str], stdin: str) -> None:
        """Two names, or nothing piped in, is a usage error."""
        result = cli("set", *(part for name in names for part in ("--secret", name)), stdin=stdin)
        assert result.code == 2
        assert revision(db) == 0

    @pytest.mark.usefixtures("key")
    def test_name_of_a_setting_is_refused(self, cli: Cli, db: Session) -> None:
        """`--secret llm_model` would hide what everybody may see."""
        result = cli("set", "--secret", "llm_model", stdin="gpt-4o")
        assert result.code == 1
        assert "'llm_model' is a setting, not a secret [LR107 at settings.llm_model]" in result.err
        assert revision(db) == 0

    def test_webhook_is_sealed_as_the_documents_say(self, cli: Cli, db: Session, key: str) -> None:
        """Who knows the URL may write there; a row does as well. One that is not encrypted is an error."""
        url = "https://hooks.example/a-path-nobody-may-know"
        result = cli("set", "--secret", "llm_alert_webhook", stdin=url)
        assert (result.code, result.out) == (0, "revision 1\n")
        assert "nothing uses" not in result.err
        sealed = value(db, "SELECT sealed FROM liverouter.secrets WHERE name = 'llm_alert_webhook'")
        assert unseal("llm_alert_webhook", sealed, Keyring.from_text(key)).reveal() == url
        result = cli("set", "llm_alert_webhook=http://hooks.example/x")
        assert (result.code, revision(db)) == (1, 1)
        assert "error: the URL is not encrypted [LR105 at settings.llm_alert_webhook]" in result.err

    @pytest.mark.usefixtures("key")
    def test_name_that_nothing_uses_is_stored_with_a_warning(self, cli: Cli) -> None:
        """A misspelt name is noticed; one that a fallback names is not complained about."""
        result = cli("set", "--secret", "antropic_api_key", stdin=SECRET)
        assert (result.code, result.out) == (0, "revision 1\n")
        assert "warning: nothing uses a secret called 'antropic_api_key' yet" in result.err
        assert "hint: Did you mean 'anthropic_api_key'?" in result.err
        cli("set", 'llm_fallback_config={"provider": "openai", "model": "m", "api_key": {"secret": "backup"}}')
        assert "nothing uses" not in cli("set", "--secret", "backup", stdin=SECRET).err

    @pytest.mark.usefixtures("key")
    def test_piped_bytes_that_are_no_text_are_a_usage_error(self, dsn: str, db: Session) -> None:
        """A binary file is refused in a line, and nothing of it is repeated."""
        done = subprocess.run(
            [sys.executable, "-m", "liverouter", "set", "--secret", "anthropic_api_key"],
            env=os.environ | {"LIVEROUTER_DATABASE_URL": dsn, "PYTHONIOENCODING": "utf-8:strict"},
            input=b"sk-\xff\xfe",
            capture_output=True,
            check=False,
        )
        assert done.returncode == 2
        assert b"standard input is not text" in done.stderr
        assert b"Traceback" not in done.stderr
        assert revision(db) == 0

    def test_terminal_is_asked_without_echo(self, dsn: str, db: Session, key: str) -> None:
        """What is typed never shows; blanks around it are dropped, and blanks alone are asked about again."""
        terminal, stdin = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "liverouter", "set", "--secret", "anthropic_api_key"],
            env=os.environ | {"LIVEROUTER_DATABASE_URL": dsn},
            stdin=stdin,
            stdout=stdin,
            stderr=stdin,
            start_new_session=True,
        )
        os.close(stdin)
        shown = b""
        for times, typed in enumerate((" \t", f" {SECRET}\t "), start=1):
            while shown.count(b"anthropic_api_key:") < times:
                shown += os.read(terminal, 100)
            os.write(terminal, f"{typed}\n".encode())
        while b"revision" not in shown:
            shown += os.read(terminal, 100)
        assert process.wait(90) == 0
        os.close(terminal)
        assert SECRET.encode() not in shown
        sealed = value(db, "SELECT sealed FROM liverouter.secrets")
        assert unseal("anthropic_api_key", sealed, Keyring.from_text(key)).reveal() == SECRET


class TestUnset:
    def test_settings_and_secrets_go_in_one_revision(self, cli: Cli, db: Session) -> None:
        """The rows are gone; what was not named stays."""
        put(db, llm_provider="openai", llm_model="gpt-4o", llm_temperature=0.2)
        put_secret(db, "openai_api_key")
        result = cli("unset", "llm_temperature", "openai_api_key")
        assert (result.code, result.out) == (0, "revision 3\n")
        assert stored(db) == {"llm_provider": "openai", "llm_model": "gpt-4o"}
        assert value(db, "SELECT count(*) FROM liverouter.secrets") == 0

    def test_setting_that_is_not_set_changes_nothing(self, cli: Cli) -> None:
        """A script may repeat itself."""
        assert cli("unset", "llm_temperature").out == "nothing changed: still revision 0\n"

    def test_unknown_name_is_refused_with_the_nearest(self, cli: Cli, db: Session) -> None:
        """Nothing is removed, not even what was spelt right."""
        put(db, llm_model="gpt-4o", llm_temperature=0.2)
        result = cli("unset", "llm_model", "llm_temprature")
        assert result.code == 1
        assert "[LR106 at settings.llm_temprature]" in result.err
        assert "hint: Did you mean 'llm_temperature'?" in result.err
        assert revision(db) == 1

    def test_row_of_no_setting_can_be_removed(self, cli: Cli, db: Session) -> None:
        """A misspelt row, written by psql, goes like any other."""
        put(db, llm_modle="gpt-4o")
        assert cli("unset", "llm_modle").out == "revision 2\n"
        assert stored(db) == {}


class TestRollback:
    def test_rollback_is_a_new_revision_with_the_old_content(self, cli: Cli, db: Session) -> None:
        """Settings come back as they were; the history says who and why."""
        put(db, llm_model="good")
        put(db, llm_model="bad", llm_temperature=2)
        result = cli("rollback", "1", "--comment", "too slow", "--author", "alice")
        assert (result.code, result.out) == (0, "revision 3\n")
        assert stored(db) == {"llm_model": "good"}
        (row,) = rows(db, "SELECT kind, author, comment FROM liverouter.revisions WHERE revision = 3")
        assert row == {"kind": "rollback", "author": "alice", "comment": "too slow"}

    def test_unknown_revision_is_one_error(self, cli: Cli, db: Session) -> None:
        """It says which ones there are."""
        result = cli("rollback", "7")
        assert result.code == 1
        assert "error: there is no revision 7 [LR213 at " in result.err
        assert "hint: The history holds 0 to 0" in result.err
        assert revision(db) == 0


class TestWriterRole:
    @pytest.mark.usefixtures("key")
    def test_writer_needs_no_right_to_read_secrets_or_the_fleet(
        self, cli: Cli, db: Session, login: Callable[..., str]
    ) -> None:
        """With liverouter_writer alone every write works, waits included; nothing is told that it may not see."""
        url = ("--database-url", login("liverouter_writer"))
        result = cli("set", "llm_provider=openai", "--secret", "openai_api_key", "--wait", *url, stdin=SECRET)
        assert (result.code, result.out, result.err) == (0, "revision 1\nlive in every instance\n", "")
        assert cli("set", "llm_provider=openai", "llm_temperature=0.2", *url).out == "revision 2\n"
        assert cli("set", "llm_provider=openai", *url).out == "nothing changed: still revision 2\n"
        assert cli("unset", "llm_temperature", "openai_api_key", *url).out == "revision 3\n"
        assert stored(db) == {"llm_provider": "openai"}
        assert value(db, "SELECT count(*) FROM liverouter.secrets") == 0
        assert cli("rollback", "1", "--wait", *url).out == "revision 4\nlive in every instance\n"


class TestOrigins:
    """Where a stored key may be sent."""

    @pytest.mark.usefixtures("key")
    def test_secret_is_bound_to_the_base_in_force_or_to_what_is_named(self, cli: Cli, db: Session) -> None:
        """The base of the same command counts; --for names another; both are said."""
        result = cli("set", "openai_api_base=https://gw.internal/v1", "--secret", "openai_api_key", stdin=SECRET)
        assert (result.code, _bound(db)) == (0, {"openai_api_key": ["https://gw.internal"]})
        assert "openai_api_key may be sent to its provider's own hosts and to https://gw.internal" in result.out
        named = cli(
            "set", "--secret", "openai_api_key", "--for", "https://two.internal:8443/v1", "--json", stdin=SECRET
        )
        assert named.json["origins"] == {"openai_api_key": ["https://two.internal:8443"]}
        assert _bound(db) == {"openai_api_key": ["https://two.internal:8443"]}

    @pytest.mark.usefixtures("key")
    def test_same_secret_for_the_same_place_changes_nothing(self, cli: Cli) -> None:
        """For another place it is a revision."""
        command = ("set", "--secret", "openai_api_key", "--for", "https://gw.internal")
        assert cli(*command, stdin=SECRET).out.startswith("revision 1\n")
        assert cli(*command, stdin=SECRET).out.startswith("nothing changed: still revision 1\n")
        assert cli("set", "--secret", "openai_api_key", stdin=SECRET).out.startswith("revision 2\n")

    @pytest.mark.usefixtures("key")
    def test_writer_s_own_login_binds_as_well(
        self, shell: Cli, db: Session, login: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who may not read what is stored names where it goes; rows that others may have planted say nothing."""
        put(db, openai_api_base="https://gw.internal/v1")
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", login("liverouter_writer"))
        assert shell("set", "--secret", "openai_api_key", stdin=SECRET).code == 0
        assert _bound(db) == {"openai_api_key": []}
        named = ("--for", "https://gw.internal/v1")
        assert shell("set", "--secret", "openai_api_key", *named, stdin=SECRET).code == 0
        assert _bound(db) == {"openai_api_key": ["https://gw.internal"]}

    @pytest.mark.usefixtures("key")
    @pytest.mark.parametrize(
        "arguments",
        [("--for", "https://gw.internal", "llm_model=m"), ("--secret", "openai_api_key", "--for", "gw.internal")],
    )
    def test_misuse_is_told(self, cli: Cli, db: Session, arguments: tuple[str, ...]) -> None:
        """--for wants a secret, and a URL."""
        result = cli("set", *arguments, stdin=SECRET)
        assert (result.code, revision(db)) == (2, 0)
        assert "--for" in result.err

    @pytest.mark.usefixtures("key")
    @pytest.mark.parametrize(
        ("name", "text", "code"),
        [
            ("openai_api_key", "os.environ/OPENAI_API_KEY", "LR112"),
            ("azure_openai_ad_token", "oidc/azure/api://x", "LR112"),
            ("vertex_ai_credentials", '{"type": "external_account", "credential_source": {"file": "/etc/x"}}', "LR113"),
            ("vertex_ai_credentials", "not json", "LR103"),
            ("openai_api_key", "sk-one-line\nand another", "LR123"),
            ("snowflake_token", "sk-\u200b0123456789", "LR123"),
            ("openai_api_key", '"sk-0123456789"', "LR123"),
            ("azure_openai_ad_token", "Bearer ey0123456789", "LR123"),
            ("llm_alert_webhook", "http://hooks.example/a-path-nobody-may-know", "LR105"),
        ],
    )
    def test_secret_that_could_never_be_used_is_refused(
        self, cli: Cli, db: Session, name: str, text: str, code: str
    ) -> None:
        """A reference and a federation are no values: nothing is stored, and nothing of it is repeated."""
        result = cli("set", "--secret", name, stdin=text)
        assert (result.code, revision(db)) == (1, 0)
        assert code in result.err
        assert text not in result.err

    def test_setting_that_a_library_would_look_up_is_refused(self, cli: Cli, db: Session) -> None:
        """Before anything is written."""
        result = cli("set", "azure_openai_api_version=os.environ/HOME")
        assert (result.code, revision(db)) == (1, 0)
        assert "LR112" in result.err


def _bound(db: Session) -> dict[str, list[str]]:
    return {row["name"]: row["origins"] for row in rows(db, "SELECT name, origins FROM liverouter.secrets")}
