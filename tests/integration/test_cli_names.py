"""Named models on the command line: shown, set, compared, followed, exported and applied."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]

from liverouter.cli.changes import parts
from liverouter.cli.watch import _tell
from liverouter.secrecy.sealing import generate_key
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, deployment, put, put_secret, revision, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    Session = psycopg.Connection[Any]
    Cli = Callable[..., Any]

emptied, dsn, db = one_database()

FAST = {"provider": "openai", "model": "model-b", "temperature": 0.1}
ROWS: dict[str, Any] = {
    "llm_provider": "azure-openai",
    "llm_model": "model-a",
    "azure_openai_endpoint": "https://team.openai.azure.com",
    "azure_openai_api_version": "2024-10-21",
    "litellm_num_retries": 1,
    "llm_fallback_config": [{"provider": "openai", "model": "model-a", "api_key": {"secret": "team"}}],
    "llm:fast": FAST | {"fallbacks": None},
}
SECRETS = ("azure_openai_api_key", "openai_api_key", "team")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret key, configured."""
    monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", generate_key())


def stored(db: Session) -> dict[str, Any]:
    """Return all settings."""
    return {row["key"]: row["value"] for row in rows(db, "SELECT key, value FROM liverouter.settings")}


def store_secrets(cli: Cli, names: tuple[str, ...] = SECRETS) -> None:
    """Store a value as each of *names*, sealed with this shell's key."""
    for name in names:
        assert cli("set", "--secret", name, stdin=f"key-of-{name}").code == 0


class TestNames:
    def test_named_model_is_set_as_json_or_by_its_short_form(self, cli: Cli, db: Session) -> None:
        """PROVIDER/MODEL where nothing else is to be said."""
        assert cli("set", "llm:fast=openai/model-b", f"llm:plan={json.dumps(FAST)}").code == 0
        assert stored(db) == {"llm:fast": {"provider": "openai", "model": "model-b"}, "llm:plan": FAST}
        assert cli("unset", "llm:plan").code == 0
        assert list(stored(db)) == ["llm:fast"]

    @pytest.mark.parametrize(
        ("pair", "told"),
        [
            ("llm:Fast=openai/gpt-4o", "begins with a-z"),
            ("llm:default=openai/gpt-4o", "set those"),
            (f"llm:{'a' * 33}=openai/gpt-4o", "begins with a-z"),
            ("llm_top_p=0.5", "llm_params"),
            ("llm:fast=5", "LR103"),
            ("llm:fast=nonsense", "LR103"),
            ('llm:fast={"provider": "openai", "model": "m", "api_key": "plain"}', "LR110"),
        ],
    )
    def test_what_can_be_no_named_model_is_refused(self, cli: Cli, db: Session, pair: str, told: str) -> None:
        """Before anything is written."""
        done = cli("set", pair)
        assert (done.code, told in done.err) == (1, True), done.err
        assert revision(db) == 0

    def test_show_has_a_column_of_names_where_there_are_some(self, cli: Cli, db: Session) -> None:
        """Whoever has one model reads no name."""
        put(db, llm_provider="openai", llm_model="model-a")
        assert "NAME" not in cli("show").out
        head = put(db, **{"llm:fast": FAST})
        Process(db).applied(
            head, deployments=[deployment("openai", "model-a"), deployment("openai", "model-b", name="fast")]
        )
        shown = cli("show").out
        assert [line.split()[0] for line in shown.splitlines() if "primary" in line and "billing" not in line] == [
            "default",
            "fast",
        ]
        assert {row["name"] for row in cli("show", "--json").json["running"]} == {"default", "fast"}
        listed = {row["name"]: row["type"] for row in cli("show", "--settings", "--json").json}
        assert listed["llm:fast"] == "model"

    def test_diff_names_the_member_that_differs(self, cli: Cli, db: Session) -> None:
        """And says of what was removed that it is not set; for scripts the rows are whole."""
        put(db, **{"llm:fast": FAST, "llm_temperature": 0.5})
        put(db, **{"llm:fast": FAST | {"model": "model-c"}})
        db.execute(b"DELETE FROM liverouter.settings WHERE key = 'llm_temperature'")
        lines = [line.split() for line in cli("diff", "1", "2").out.splitlines()]
        assert lines == [["OBJECT", "KEY", "OLD", "NEW"], ["setting", "llm:fast.model", "model-b", "model-c"]]
        assert cli("diff", "2", "3").out.splitlines()[1].split() == ["setting", "llm_temperature", "0.5", "not", "set"]
        assert cli("diff", "1", "2", "--json").json[0]["new"]["model"] == "model-c"

    def test_null_is_not_what_is_not_there(self, cli: Cli, db: Session) -> None:
        """A setting may be null, which asks the environment for nothing; scripts are told of it apart."""
        put(db, llm_temperature=None)
        put(db, llm_temperature=0.5)
        put(db, llm_temperature=None)
        shown = [cli("diff", str(a), str(b)).out.splitlines()[1].split() for a, b in ((0, 1), (1, 2), (2, 3), (3, 0))]
        assert [" ".join(line[2:]) for line in shown] == ["not set null", "null 0.5", "0.5 null", "null not set"]
        (change,) = cli("diff", "0", "1", "--json").json
        assert change == {"object": "setting", "key": "llm_temperature", "old": None, "new": None, "null": "new"}

    def test_watch_tells_the_member_that_differs(self) -> None:
        """As diff does."""
        change = {"object": "setting", "key": "llm:fast", "old": FAST, "new": FAST | {"temperature": 1}}
        told = {"revision": 7, "committed_at": None, "author": "ann", "role": "ann", "application": "", "comment": ""}
        out = io.StringIO()
        with redirect_stdout(out):
            _tell({"event": "revision", **told, "changes": [change]}, as_json=False)
        assert out.getvalue().splitlines()[1:] == ["  llm:fast.temperature: 0.1 → 1"]

    def test_parts_of_lists_and_members_that_come_and_go(self) -> None:
        """Lists of one length are compared element by element."""
        old = {"a": [{"m": 1}, {"m": 2}], "b": [1], "c": 3}
        new = {"a": [{"m": 1}, {"m": 5}], "b": [1, 2], "d": 4}
        assert list(parts("x", old, new)) == [
            ("x.a[1].m", 2, 5),
            ("x.b", [1], [1, 2]),
            ("x.c", 3, None),
            ("x.d", None, 4),
        ]

    def test_rollback_brings_a_name_back(self, cli: Cli, db: Session) -> None:
        """With the rest of its revision."""
        put(db, **{"llm:fast": FAST})
        db.execute(b"DELETE FROM liverouter.settings")
        assert cli("rollback", "1").code == 0
        assert stored(db) == {"llm:fast": FAST}


class TestTransfer:
    def test_config_goes_from_staging_to_production(self, cli: Cli, db: Session, tmp_path: Path) -> None:
        """Everything but secrets and other software's rows, in one revision; once more changes nothing."""
        store_secrets(cli)
        put(db, theme="dark", **ROWS)
        file = tmp_path / "config.yaml"
        file.write_text(cli("export").out)
        assert "key-of" not in file.read_text()
        assert yaml.safe_load(file.read_text())["settings"] == ROWS

        db.execute(b"DELETE FROM liverouter.settings")
        put(db, theme="light", llm_temperature=1, llm_provider="openai", **{"llm:slow": FAST})
        before = revision(db)
        trial = cli("apply", str(file), "--dry-run")
        assert (trial.code, revision(db)) == (0, before)
        assert "llm:slow" in trial.out
        assert trial.out.splitlines()[-1] == f"would change {len(ROWS) + 2} settings"
        done = cli("apply", str(file), "--comment", "release 42")
        assert (done.code, done.err, revision(db)) == (0, "", before + 1)
        assert stored(db) == ROWS | {"theme": "light"}
        assert value(db, "SELECT comment FROM liverouter.revisions WHERE revision = %s", before + 1) == "release 42"
        assert cli("apply", str(file)).out.splitlines()[-1] == f"nothing changed: still revision {before + 1}"

    def test_missing_secret_refuses_it_and_another_one_is_told(self, cli: Cli, db: Session) -> None:
        """By name, with what to do; where processes have it themselves, the file need not name it."""
        store_secrets(cli)
        put(db, **ROWS)
        document = cli("export", "--json").json
        db.execute(b"DELETE FROM liverouter.settings")
        db.execute(b"DELETE FROM liverouter.secrets WHERE name = 'team'")
        put_secret(db, "openai_api_key", "99999999")
        before = revision(db)
        done = cli("apply", "-", stdin=json.dumps(document))
        assert (done.code, revision(db)) == (1, before)
        assert "error: secret 'team' is not stored in this database [LR121 at secrets.team]" in done.err
        assert "liverouter set --secret team" in done.err
        assert "info: secret 'openai_api_key' is another one here, 99999999" in done.err
        del document["secrets"]["team"]
        assert cli("apply", "-", stdin=json.dumps(document)).code == 0

    def test_everything_that_is_wrong_is_told_at_once(self, cli: Cli, db: Session) -> None:
        """And nothing is written."""
        wrong = ROWS | {"llm_temperature": "warm", "llm_modle": "m", "litellm_num_retries": 99, "llm:default": FAST}
        done = cli("apply", "-", stdin=yaml.safe_dump({"liverouter": 1, "settings": wrong}))
        assert done.code == 1
        for code, where in (
            ("LR103", "llm_temperature"),
            ("LR104", "litellm_num_retries"),
            ("LR106", "llm_modle"),
            ("LR106", "llm:default"),
        ):
            assert f"[{code} at settings.{where}]" in done.err
        assert revision(db) == 0

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "- a",
            "settings: {}",
            "liverouter: 2\nsettings: {}",
            "liverouter: 1\nsettings: []",
            "liverouter: 1\nsettings: {}\nother: 1",
            "liverouter: 1\nsettings: {a: !!binary aGk=}",
            "liverouter: 1\nsettings: {a: " + "[" * 60 + "]" * 60 + "}",
            "liverouter: 1\nsettings: {llm_model: a, llm_model: b}",
            '{"liverouter": 1, "settings": {"llm:fast": {"fallbacks": [{"model": "a", "model": "b"}]}}}',
            "a: &a [1]\nb: *a",
            "a: [",
            "!!python/object:os.system x",
        ],
    )
    def test_file_that_is_no_export_is_refused(self, cli: Cli, text: str) -> None:
        """In one line, without a traceback."""
        done = cli("apply", "-", stdin=text)
        assert done.code == 1
        assert "[LR120 at file]" in done.err

    def test_date_stays_text(self, cli: Cli, db: Session) -> None:
        """Azure's API versions look like dates, and people write them without quotes."""
        store_secrets(cli)
        text = yaml.safe_dump({"liverouter": 1, "settings": ROWS}).replace("'2024-10-21'", "2024-10-21")
        assert "'2024" not in text
        assert cli("apply", "-", stdin=text).code == 0
        assert stored(db) == ROWS

    def test_plain_secret_in_a_file_is_refused_and_not_repeated(self, cli: Cli, db: Session) -> None:
        """As everywhere."""
        settings = ROWS | {"llm:fast": FAST | {"api_key": "sk-Zx9QqPlainSecret77"}}
        done = cli("apply", "-", stdin=yaml.safe_dump({"liverouter": 1, "settings": settings}))
        assert (done.code, "LR110" in done.err) == (1, True)
        assert "Zx9Qq" not in done.err + done.out
        assert revision(db) == 0

    def test_config_that_changed_meanwhile_is_not_overwritten(self, cli: Cli, db: Session) -> None:
        """--expect names the revision that was looked at."""
        put(db, llm_model="m")
        done = cli("apply", "-", "--expect", "0", stdin=json.dumps({"liverouter": 1, "settings": {}}))
        assert (done.code, "LR211" in done.err) == (1, True)
