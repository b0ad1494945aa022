"""What psql shows of a view: a bare `SELECT *` fits into 160 columns; other programs get whole values."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, deployment, put, put_secret, revision, rows, stop_clock, value
from tests.kit.views import NARROW

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database(stop_clock)

COLUMNS: Final = 160
APP: Final = "invoice-classification-worker"
HOST: Final = "ip-10-123-45-67.eu-central-1.compute.internal"
MODEL: Final = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NAME: Final = "long-context-summaries-for-support"[:32]
PARAMS: Final[dict[str, Any]] = {
    "reasoning_effort": "high",
    "extra_body": {"metadata": {"team": "billing"}},
    "top_p": 0.95,
}
REASON: Final = "the account's credit balance is too low to access the API; go to Plans & Billing to upgrade. " * 3


def psql(dsn: str, query: str) -> list[str]:
    """Return the lines that psql prints, as its defaults are."""
    program = shutil.which("psql")
    assert program is not None, "Debian's postgresql-client brings psql"
    command = [program, "--no-psqlrc", "--command", query, dsn]
    environment = {**os.environ, "PAGER": "", "PGTZ": "UTC"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=150, check=True, env=environment
    ).stdout.splitlines()


@pytest.fixture
def fleet(db: Session) -> None:
    """Two processes with long names and two models; one of them rejected the head. Keys, calls, somebody's comment."""
    put_secret(db, "anthropic_api_key")
    fallback = {"provider": "snowflake-cortex", "model": MODEL, "params": PARAMS}
    put(db, llm_provider="anthropic", llm_model=MODEL, llm_fallback_config=[fallback, fallback], llm_params=PARAMS)
    named: dict[str, Any] = {f"llm:{NAME}": {"provider": "azure-openai", "model": MODEL}}
    put(db, **named)
    places = [
        deployment("anthropic", MODEL, params=PARAMS, cooling_ms=90_000.0),
        deployment("snowflake-cortex", MODEL, 2, params=PARAMS, name=NAME),
    ]
    calls = {
        "minute": datetime.now(UTC).replace(second=0, microsecond=0).isoformat(),
        "deployment_id": places[0]["deployment_id"],
        "role": "fallback",
        "name": NAME,
        "provider": "snowflake-cortex",
        "model": MODEL,
        "calls": 12345,
        "failures": {"RateLimitError 429": 2, "InternalServerError 503": 17},
        "failovers": 12345,
        "prompt_tokens": 123_456_789,
        "completion_tokens": 12_345_678,
        "cost_usd": 12.345678901234,
        "latency_ms_sum": 12345 * 123456.7,
        "latency_ms_max": 987654.3,
    }
    who = {"app": APP, "host": HOST}
    Process(db, **who, pid=4_194_304).applied(revision(db), 86_399_999.9, deployments=places, usage=[calls])
    with db.transaction():
        db.execute("SELECT liverouter.begin_edit(NULL, %s, %s)", ["ann.von.der.leyen@example.com", REASON])
        put(db, llm_model="claude-opus-4-1", llm_temperature=0.2, llm_max_tokens=1000, openai_api_base=None)
    problem = {"code": "LR102", "where": f"settings.llm:{NAME}.fallbacks[1].params", "message": REASON, "hint": REASON}
    Process(db, **who, pid=4_194_303).rejected(
        revision(db), kept=revision(db) - 1, message=REASON, deployments=places, problems=[problem], last_error=problem
    )


@pytest.mark.usefixtures("fleet")
class TestTerminal:
    def test_select_star_fits_into_160_columns(self, dsn: str) -> None:
        """With values as long as production has them, and every column of each view to be seen."""
        for view in NARROW:
            header, rule, *lines = psql(dsn, f"SELECT * FROM liverouter.{view};")
            assert len(lines) > 2, f"{view} shows something"
            assert max(map(len, [header, rule, *lines])) <= COLUMNS, "\n".join([view, header, rule, *lines])

    def test_other_programs_get_whole_values(self, db: Session) -> None:
        """What a dashboard or a client compares is what is stored: all that a view shares with its detail."""
        for view in NARROW:
            if view == "secret_keys":  # narrow by itself
                continue
            bare, detail = (rows(db, f"SELECT * FROM liverouter.{name}") for name in (view, f"{view}_detail"))
            bare = [{k: v for k, v in row.items() if k not in ("cost_usd", "message")} for row in bare]
            shared = [{k: row[k] for k in bare[0]} for row in detail]
            assert sorted(bare, key=str) == sorted(shared, key=str), view

    def test_text_is_whole_in_the_lines_that_psql_shows(self, dsn: str) -> None:
        """A hint is wrapped at its blanks, not cut."""
        lines = psql(dsn, "SELECT hint FROM liverouter.problems WHERE code = 'LR102' AND object LIKE '%llm:%'")
        text = " ".join(line.strip().removesuffix("+").strip() for line in lines[2:-2])
        assert text == " ".join(REASON.split())

    def test_names_that_are_not_latin_fit_as_well(self, db: Session, dsn: str) -> None:
        """A terminal shows one such character in two columns."""
        Process(db, app="\u8acb\u6c42\u66f8\u306e\u5206\u985e\u30ef\u30fc\u30ab\u30fc", host="\u00fc" * 60, pid=1).run(
            1
        )
        (line,) = [line for line in psql(dsn, "SELECT * FROM liverouter.instances") if "\u8acb" in line]
        assert sum(2 if ord(character) > 0x2E80 else 1 for character in line) <= COLUMNS


class TestRollout:
    def test_rollout_says_which_models_a_revision_changed(self, db: Session) -> None:
        """All names go live together; the slowest process is one of all of them."""
        process = Process(db)
        process.run(0)
        put(db, llm_provider="openai", llm_model="gpt-4o")
        put(db, **{"llm:fast": {"provider": "openai", "model": "gpt-4o-mini"}})
        put(db, **{"llm:b": {"model": "x"}, "llm_temperature": 1})
        process.applied(3, 20.0)
        found = rows(db, "SELECT name, slowest FROM liverouter.rollout ORDER BY revision")
        assert [row["name"] for row in found] == [None, "default", "fast", "default, b"]
        assert found[3]["slowest"] == "billing on host-1, pid 7"
        assert (
            value(db, "SELECT slowest_instance IS NOT NULL FROM liverouter.rollout_detail WHERE revision = 3") is True
        )
