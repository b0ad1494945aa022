"""What operators' questions cost on a database as years make it, beside the same questions on an empty one."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import psutil
import psycopg

from liverouter.embedded.server import EmbeddedPostgres
from liverouter.postgres.migrate import upgrade
from tests.bench.figures import Figure, median
from tests.kit.postgres.age import fill
from tests.kit.postgres.debian import DebianPostgres, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.world import World

# Of each: 10 000 revisions that 100 processes applied, and 864 000 rows of usage over 30 days.
_REVISIONS, _INSTANCES, _MINUTES = 10_000, 100, 8_640
_QUESTIONS: Final = (
    "SELECT * FROM liverouter.active_config",
    "SELECT * FROM liverouter.desired_config",
    "SELECT * FROM liverouter.instances",
    "SELECT * FROM liverouter.rollout",
    "SELECT * FROM liverouter.problems",
    "SELECT * FROM liverouter.revisions",
    "SELECT * FROM liverouter.revision_diff(0, (SELECT max(revision) FROM liverouter.revisions))",
    "SELECT sum(cost_usd) FROM liverouter.usage WHERE minute >= current_date",
    "SELECT * FROM liverouter.usage ORDER BY minute DESC LIMIT 100",
    "SELECT day, sum(cost_usd) FROM liverouter.usage_daily GROUP BY day",
    "SELECT liverouter.prune()",
)
_LIMIT_MS: Final = 150.0
_LIMIT_CPU_S: Final = 0.5


def measure(world: World) -> Iterator[Figure]:
    """Yield for each question how long it takes, and what a new session's first one costs the server's CPU."""
    found = programs()
    server = DebianPostgres(found) if found else EmbeddedPostgres()
    with server:
        url = f"postgresql://{server.user}:{server.password}@{server.host}:{server.port}"
        urls = {name: _make(url, name) for name in ("empty", "aged")}
        revisions = max(100, round(_REVISIONS * world.scale))
        with psycopg.connect(urls["aged"], autocommit=True) as db:
            fill(db, revisions=revisions, instances=_INSTANCES, minutes=max(100, round(_MINUTES * world.scale)))
        for question in _QUESTIONS:
            taken = {name: [_ask(made, question) for _ in range(world.samples(5, 1))] for name, made in urls.items()}
            what = question.replace("liverouter.", "")
            for index, (kind, unit, limit) in enumerate((("time", "ms", _LIMIT_MS), ("CPU", "s", _LIMIT_CPU_S))):
                series = {name: [values[index] for values in runs] for name, runs in taken.items()}
                yield Figure(
                    what=f"`{what}`: {kind} after {revisions} revisions",
                    ours=median(series["aged"]),
                    baseline=median(series["empty"]),
                    against="an empty database",
                    unit=unit,
                    limit=limit,
                    samples=len(series["aged"]),
                )


def _make(url: str, name: str) -> str:
    """Return the URL of a new database called *name*, migrated."""
    with psycopg.connect(f"{url}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    upgrade(f"{url}/{name}")
    return f"{url}/{name}"


def _ask(url: str, question: str) -> tuple[float, float]:
    """Return what *question* takes in a session that has asked before, in ms, and its first time's CPU, in seconds."""
    with psycopg.connect(url, autocommit=True) as db:
        backend = psutil.Process(db.info.backend_pid)
        before = sum(backend.cpu_times()[:2])
        _run(db, question)
        cpu_s = sum(backend.cpu_times()[:2]) - before
        began = time.monotonic()
        _run(db, question)
        return (time.monotonic() - began) * 1000, cpu_s


def _run(db: psycopg.Connection[Any], question: str) -> None:
    """Ask, and leave the answer to the driver."""
    with contextlib.closing(db.cursor()) as cursor:
        cursor.execute(question.encode())
