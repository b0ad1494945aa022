"""`show`, `history`, `diff`, `instances`, `keys`, `migrate`: what they print, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from liverouter.cli.output import show_table
from liverouter.postgres.migrate import HEAD
from liverouter.providers import PROVIDERS
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, deployment, put, put_secret, revision, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]
    Cli = Callable[..., Any]

emptied, dsn, db = one_database()

REMOVED = (["setting", "llm_model", "gpt-4.1"], ["secret", "openai_api_key", "aaaabbbb"])
SECRET = "sk-not-a-real-key-0123456789"


class TestTable:
    @pytest.mark.parametrize("rows", [[], [{}], [{"a": None, "b": ""}]], ids=str)
    def test_nothing_to_show_prints_nothing(
        self, rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No row, and rows in which no column has anything."""
        show_table(rows, {"a": "A", "b": "B"})
        assert capsys.readouterr().out == ""


class TestShow:
    def test_nothing_set_says_what_to_set(self, cli: Cli) -> None:
        """A newcomer's first look names each missing setting and the command that sets it."""
        result = cli("show")
        assert result.code == 0
        assert "nothing is set" in result.out
        assert "error: 'llm_provider' is not set [LR100 at settings.llm_provider]" in result.out
        assert "hint: Set it: liverouter set llm_provider=anthropic" in result.out
        assert "in no process yet" in result.out

    def test_history_may_be_empty(self, cli: Cli, db: Session) -> None:
        """Whoever pruned all of it still sees what should run, and why it does not."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        db.execute(b"DELETE FROM liverouter.revision_log")
        shown = cli("show")
        assert shown.code == 0
        assert shown.out.startswith("Should run  a revision that is not in the history any more\n")
        assert "gpt-4o" in shown.out
        assert "[LR102 at " in shown.out
        assert cli("show", "--json").json["revision"] is None

    def test_desired_config_stands_beside_what_runs(self, cli: Cli, db: Session) -> None:
        """A process that rejected the head is seen serving the revision before, with the reason and the hint."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        put(db, llm_model="gpt-4.1")
        Process(db).rejected(2, kept=1, deployments=[deployment("openai", "gpt-4o")])
        result = cli("show")
        assert result.code == 0
        desired, runs = result.out.split("Runs")
        assert desired.startswith("Should run  revision 2, ")
        assert "gpt-4.1" in desired
        assert "gpt-4o" not in desired
        assert "gpt-4o" in runs
        assert "the key is missing [LR102 at billing on host-1, pid 7, secrets.x]" in runs
        assert "hint: Store it" in runs

    def test_what_several_processes_tell_stands_there_once(self, cli: Cli, db: Session) -> None:
        """A row that all of a fleet refuse is one problem with those who refuse it, not two lines of each."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        put(db, llm_provider="opnai")
        message = f"provider 'opnai' is not one of {', '.join(sorted(PROVIDERS))}"
        hint = "Did you mean 'openai'?"
        problem = {"severity": "error", "code": "LR101", "where": "settings.llm_provider"}
        problem |= {"message": message, "hint": hint}
        for pid in range(1, 8):
            Process(db, pid=pid).rejected(2, kept=1, problems=[problem], last_error=problem | {"revision": 2})
        lines = cli("show").out.partition("Problems\n")[2].splitlines()
        refusers = "; ".join(f"billing on host-1, pid {pid}" for pid in range(1, 6))
        assert lines[:6] == [
            f"error: {message} [LR101 at settings.llm_provider]",
            f"  hint: {hint}",
            f"  in: {refusers} and 2 more",
            "error: it rejected revision 2 and goes on with 1 [LR403]",
            f"  hint: {hint}",
            f"  in: {refusers} and 2 more",
        ]
        assert [p["code"] for p in cli("show", "--json").json["problems"]].count("LR101") == 8

    def test_config_that_no_process_judged_is_judged_here(self, cli: Cli, db: Session) -> None:
        """It finds what SQL cannot see, and says that this shell's environment was used."""
        put(db, llm_provider="openai", llm_model="gpt-4o", openai_api_base="nowhere", litellm_timeout=-1)
        result = cli("show")
        assert "as seen with this shell's environment and keys" in result.out
        assert "[LR105 at settings.openai_api_base]" in result.out
        assert "[LR104 at settings.litellm_timeout]" in result.out
        assert [p["code"] for p in cli("show", "--json").json["problems"]].count("LR105") == 1

    def test_process_that_runs_the_head_is_believed(
        self, cli: Cli, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its environment holds the key that this shell lacks: no problem."""
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        put(db, llm_provider="openai", llm_model="gpt-4o")
        Process(db).applied(1, deployments=[deployment("openai", "gpt-4o")])
        assert cli("show", "--json").json["problems"] == []
        assert "Problems" not in cli("show").out

    def test_settings_list_says_where_each_value_comes_from(
        self, cli: Cli, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Row before environment before default; of secrets the fingerprint, wherever they are."""
        put(db, llm_model="gpt-4o", other_software="x")
        put_secret(db, "anthropic_api_key", "aaaabbbb")
        monkeypatch.setenv("LLM_MODEL", "not this one")
        monkeypatch.setenv("LLM_PROVIDER", "openai")
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        listed = cli("show", "--settings", "--json")
        found = {row["name"]: (row["value"], row["source"], row["type"]) for row in listed.json}
        assert found["llm_model"] == ("gpt-4o", "row", "text")
        assert found["llm_provider"] == ("openai", "environment LLM_PROVIDER", "text")
        assert found["litellm_num_retries"] == (2, "default", "integer")
        assert found["llm_temperature"] == (None, "", "number")
        assert found["anthropic_api_key"] == ("aaaabbbb", "sealed", "secret")
        assert found["openai_api_key"] == (fingerprint(Secret(SECRET)), "environment OPENAI_API_KEY", "secret")
        assert found["other_software"] == ("x", "row", "not a setting")
        table = cli("show", "--settings").out
        assert SECRET not in listed.out + table
        (line,) = [line for line in table.splitlines() if line.split()[0] == "llm_provider"]
        assert line.split() == ["llm_provider", "openai", "environment", "LLM_PROVIDER", "text", "-"]

    def test_credentials_in_the_environment_s_settings_are_not_shown(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A password in a URL, or a key in the JSON of a setting, is told by that it is there."""
        monkeypatch.setenv("OPENAI_API_BASE", "https://user:sesame@gateway.example.org/v1")
        monkeypatch.setenv("LLM_FALLBACK_CONFIG", f'{{"provider": "openai", "model": "m", "api_key": "{SECRET}"}}')
        listed, table = cli("show", "--settings", "--json"), cli("show", "--settings").out
        found = {row["name"]: row["value"] for row in listed.json}
        assert found["openai_api_base"] == found["llm_fallback_config"] == "*** (holds a secret)"
        assert "sesame" not in listed.out + table
        assert SECRET not in listed.out + table

    def test_credentials_in_rows_are_not_shown(self, cli: Cli, db: Session) -> None:
        """Rows of before the database refused them, under a setting's name or under none."""
        db.execute(b"ALTER TABLE liverouter.settings DISABLE TRIGGER b_refuse_plain_secrets")
        put(db, opnai_api_key=SECRET, mine={"password": "sesame"}, openai_api_base="https://user:sesame@example.org")
        listed, table = cli("show", "--settings", "--json"), cli("show", "--settings").out
        found = {row["name"]: row["value"] for row in listed.json}
        assert found["opnai_api_key"] == found["mine"] == found["openai_api_base"] == "*** (holds a secret)"
        assert "sesame" not in listed.out + table
        assert SECRET not in listed.out + table
        db.execute(b"DELETE FROM liverouter.settings")
        db.execute(b"TRUNCATE liverouter.revision_log")

    def test_unreadable_file_of_the_environment_is_no_value(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """A secret named by a file that is not there shows as missing."""
        monkeypatch.setenv("OPENAI_API_KEY_FILE", "/nowhere/key")
        found = {row["name"]: row["source"] for row in cli("show", "--settings", "--json").json}
        assert found["openai_api_key"] == ""


class TestHistory:
    def test_history_names_who_what_and_through_which_application(self, cli: Cli) -> None:
        """Newest first, bounded by --limit."""
        cli("set", "llm_provider=openai", "llm_model=gpt-4o", "--author", "alice", "--comment", "first")
        cli("set", "llm_model=gpt-4.1", "--author", "bob")
        newest, first = cli("history", "--limit", "2", "--json").json
        assert (newest["revision"], newest["author"], newest["changed"]) == (2, "bob", "llm_model")
        assert (first["comment"], first["application"]) == ("first", "liverouter set")
        lines = cli("history").out.splitlines()
        assert lines[0].split() == ["REVISION", "WHEN", "WHO", "THROUGH", "KIND", "CHANGED", "COMMENT"]
        assert [line.split()[0] for line in lines[1:]] == ["2", "1", "0"]

    def test_diff_shows_old_and_new_and_of_secrets_the_fingerprint(self, cli: Cli, db: Session) -> None:
        """Two revisions side by side."""
        put(db, llm_model="gpt-4o")
        put(db, llm_model="gpt-4.1")
        put_secret(db, "openai_api_key", "aaaabbbb")
        assert cli("diff", "1", "3", "--json").json == [
            {"object": "setting", "key": "llm_model", "old": "gpt-4o", "new": "gpt-4.1"},
            {"object": "secret", "key": "openai_api_key", "old": None, "new": "aaaabbbb"},
        ]
        removed = [line.split() for line in cli("diff", "3", "0").out.splitlines()]
        assert removed == [["OBJECT", "KEY", "OLD", "NEW"], *([*row, "not", "set"] for row in REMOVED)]
        assert cli("diff", "2", "2").out == "revisions 2 and 2 are the same\n"
        assert "LR213" in cli("diff", "1", "9").err

    def test_numbers_are_shown_as_they_are(self, cli: Cli, db: Session) -> None:
        """Whatever they are rounded to reads as another value: 0.25 is not 0.2, and a weight of 0.01 is not 0."""
        put(db, llm_temperature=0.25, llm_weight=0.01, llm_max_tokens=1000)
        put(db, llm_temperature=0.29, llm_weight=1.0, llm_max_tokens=1e6)
        shown = [line.split()[1:] for line in cli("diff", "1", "2").out.splitlines()[1:]]
        assert sorted(shown) == [
            ["llm_max_tokens", "1000", "1000000"],
            ["llm_temperature", "0.25", "0.29"],
            ["llm_weight", "0.01", "1"],
        ]
        settings = {line.split()[0]: line.split()[1] for line in cli("show", "--settings").out.splitlines() if line}
        assert (settings["llm_temperature"], settings["llm_max_tokens"]) == ("0.29", "1000000")

    def test_instances_tell_state_and_reason(self, cli: Cli, db: Session) -> None:
        """Each process, what it applied and rejected, and why."""
        assert cli("instances").out == "no process runs a client\n"
        put(db, llm_provider="openai")
        Process(db).rejected(1, kept=0)
        result = cli("instances")
        assert "billing on host-1, pid 7: the key is missing [LR102]" in result.out
        assert "hint: Store it" in result.out
        (row,) = cli("instances", "--json").json
        assert (row["app"], row["state"], row["applied_revision"], row["rejected_revision"]) == (
            "billing",
            "live",
            0,
            1,
        )


class TestKeys:
    def test_generated_key_works_and_only_it_is_on_stdout(self, cli: Cli) -> None:
        """So that it can be piped into a file."""
        result = cli("keys", "generate")
        keyring = Keyring.from_text(result.out)
        assert result.out.count("\n") == 1
        assert f"key {keyring.newest}" in result.err
        assert result.out.strip() not in result.err

    def test_rotation_makes_the_old_key_removable(self, cli: Cli, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything, history included, is sealed with the new one; a second run does nothing."""
        old, new = generate_key(), generate_key()
        old_id, new_id = (Keyring.from_text(key).newest for key in (old, new))
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", old)
        cli("set", "--secret", "openai_api_key", stdin=SECRET)
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", f"{new},{old}")
        assert [(row["key_id"], row["note"]) for row in cli("keys", "status", "--json").json] == [
            (new_id, "newest: seals"),
            (old_id, "needed: run `liverouter keys rotate`"),
        ]
        result = cli("keys", "rotate")
        assert (result.code, result.err) == (0, "")
        assert result.out.endswith(f"sealed anew with key {new_id}; revision 2\n")
        rows = {row["key_id"]: row for row in cli("keys", "status", "--json").json}
        assert (rows[old_id]["note"], rows[old_id]["in_history"]) == ("can be dropped", 0)
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", new)
        assert cli("keys", "rotate").out.startswith("nothing to do")
        assert revision(db) == 2

    def test_value_of_a_lost_key_is_told(self, cli: Cli, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        """A secret in force that no key opens stops the rotation, with the key's id."""
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", generate_key())
        put_secret(db, "openai_api_key")
        result = cli("keys", "rotate")
        assert result.code == 1
        assert "0a1b2c3d, which is not in the keyring" in result.err
        status = {row["key_id"]: row["note"] for row in cli("keys", "status", "--json").json}
        assert status["0a1b2c3d"] == "not in the keyring: what it sealed cannot be opened here"

    def test_rotate_without_a_keyring_is_a_missing_option(self, cli: Cli) -> None:
        """Exit code 78 and the way to make one; status says so too."""
        result = cli("keys", "rotate")
        assert result.code == 78
        assert "hint: Make one with `liverouter keys generate`" in result.err
        assert cli("keys", "status").out == "no key: make one with `liverouter keys generate`\n"


class TestMigrate:
    def test_migrate_says_from_and_to_and_check_tells_pipelines(self, cli: Cli, empty_dsn: str) -> None:
        """Exit code 1 before, 0 after; a second run changes nothing."""
        there = ("--database-url", empty_dsn)
        result = cli("migrate", "--check", *there)
        assert result.code == 1
        assert "[LR204 at database]" in result.err
        assert "liverouter migrate" in result.err
        assert cli("migrate", *there).out == f"nothing → {HEAD}\n"
        assert (cli("migrate", "--check", *there).code, cli("migrate", *there).out) == (0, f"up to date: {HEAD}\n")
        assert cli("migrate", "--json", *there).json == {"from": HEAD, "to": HEAD}

    def test_database_url_wins_over_the_environment(self, cli: Cli, db: Session, empty_dsn: str) -> None:
        """The other database is asked, not this one."""
        put(db, llm_model="gpt-4o")
        assert "LR204" in cli("show", "--database-url", empty_dsn).err
        assert value(db, "SELECT count(*) FROM liverouter.settings") == 1


class TestInspectorRole:
    def test_inspector_sees_everything_but_secrets(self, cli: Cli, db: Session, login: Callable[..., str]) -> None:
        """With liverouter_inspector alone one can look at all of it, but for the sealed rows."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        Process(db).rejected(1, kept=0)
        url = ("--database-url", login("liverouter_inspector"))
        shown = cli("show", *url)
        assert (shown.code, shown.err) == (0, "")
        assert "gpt-4o" in shown.out
        assert "the key is missing" in shown.out
        for command in (["history"], ["diff", "0", "1"], ["instances"], ["keys", "status"]):
            assert (cli(*command, *url).code, cli(*command, *url).err) == (0, "")
        assert "[LR207" in cli("show", "--settings", *url).err
