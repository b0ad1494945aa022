"""What `problems` says of providers, by what processes report of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from psycopg.types.json import Jsonb

from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, deployment, put, put_secret, rows, stop_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database(stop_clock)  # time stands still

PRIMARY: Final = "openai/gpt-4o#1a2b3c4d"
FALLBACK: Final = "anthropic/claude-sonnet-4-6#1a2b3c4d"
SEEN: Final = ("severity", "code", "object")


@pytest.fixture
def process(db: Session) -> Process:
    """A process that runs the head, with a fallback."""
    put(db, llm_provider="openai", llm_model="gpt-4o")
    return Process(db)


def tell(process: Process, primary: dict[str, Any], fallback: dict[str, Any] | None = None, **more: Any) -> None:
    """Have *process* report how it goes at its deployments; *fallback* None: it has none."""
    told = [deployment("openai", "gpt-4o", **primary)]
    if fallback is not None:
        told.append(deployment("anthropic", "claude-sonnet-4-6", 2, **fallback))
    process.run(1, deployments=told, **more)


def failing(cause: str = "InternalServerError 500", ago_s: float = 0, since_s: float | None = None) -> dict[str, Any]:
    """Return what is told of a deployment that failed *ago_s* seconds ago, and first *since_s* seconds ago."""
    return {"failed_ms": ago_s * 1000, "failing_ms": (ago_s if since_s is None else since_s) * 1000, "cause": cause}


def calls_failing(ago_s: float = 0) -> dict[str, Any]:
    """Return what is told with each deployment of a name whose last call failed *ago_s* seconds ago."""
    return {"calls_failed_ms": ago_s * 1000, "calls_failing_ms": ago_s * 1000}


def answered(ago_s: float = 0) -> dict[str, Any]:
    """Return what is told of a deployment that answered *ago_s* seconds ago."""
    return {"answered_ms": ago_s * 1000}


def found(db: Session) -> list[dict[str, Any]]:
    """Return what `problems` says of providers."""
    query = "SELECT * FROM liverouter.problems WHERE code BETWEEN 'LR320' AND 'LR329' ORDER BY code, object"
    return rows(db, query)


def seen(db: Session) -> list[tuple[str, ...]]:
    """Return severity, code and object of each of them."""
    return [tuple(row[name] for name in SEEN) for row in found(db)]


class TestCalls:
    def test_nothing_is_said_of_what_answers(self, db: Session, process: Process) -> None:
        """Empty means that all is well."""
        tell(process, answered(5), answered(5))
        tell(Process(db), {}, {})
        assert found(db) == []

    def test_every_deployment_fails(self, db: Session, process: Process) -> None:
        """An error under its name, with how many processes, since when and why."""
        calls = calls_failing(90)
        tell(process, failing("Timeout 408", 90) | calls, failing(ago_s=90) | calls)
        tell(Process(db), {}, {})
        (error, fallback) = found(db)
        assert tuple(error[name] for name in SEEN) == ("error", "LR320", "default")
        assert "in 1 of 2 processes, since 20" in error["message"]
        assert f"{PRIMARY}: Timeout 408" in error["message"]
        assert f"{FALLBACK}: InternalServerError 500" in error["message"]
        assert "check --live" in error["hint"]
        assert tuple(fallback[name] for name in SEEN) == ("warning", "LR325", f"default, {FALLBACK}")

    def test_other_name_is_told_by_itself(self, db: Session, process: Process) -> None:
        """Each name has calls of its own, over the same deployment."""
        tell(process, answered(200), failing() | calls_failing())
        db.execute(b"UPDATE liverouter.processes SET deployments = jsonb_set(deployments, '{1,name}', '\"fast\"')")
        assert ("error", "LR320", "fast") in seen(db)
        assert ("error", "LR320", "default") not in seen(db)

    def test_answer_of_the_same_process_ends_it(self, db: Session, process: Process) -> None:
        """Gone with the next report."""
        tell(process, failing() | calls_failing())
        assert [row[1] for row in seen(db)] == ["LR320"]
        tell(process, answered())
        assert found(db) == []

    @pytest.mark.parametrize(("failed_s", "answered_s", "gone"), [(70, 30, True), (30, 5, False), (70, 80, False)])
    def test_answer_of_another_process_ends_it_within_a_minute(
        self, db: Session, process: Process, failed_s: float, answered_s: float, *, gone: bool
    ) -> None:
        """A process that makes no more calls does not keep an outage alive; one whose calls go on failing does."""
        tell(process, failing(ago_s=failed_s) | calls_failing(failed_s))
        tell(Process(db), answered(answered_s))
        assert (found(db) == []) is gone

    def test_other_login_cannot_end_it(
        self, db: Session, process: Process, login: Callable[..., str], connect: Callable[..., Session]
    ) -> None:
        """What one login says is no word on another's calls."""
        tell(process, failing(ago_s=70) | calls_failing(70))
        tell(Process(connect(login("liverouter_client"))), answered(5))
        assert ("error", "LR320", "default") in seen(db)

    def test_process_that_ends_is_heard_for_a_while(self, db: Session, process: Process) -> None:
        """A script that lives for one call is an outage as well; what it ran has to be in force still."""
        tell(process, failing() | calls_failing(), bye=True)
        assert seen(db) == [("error", "LR320", "default")]
        later = Process(db)
        tell(later, answered(), bye=True)
        process.send()
        process.send(bye=True, deployments=[deployment("openai", "gpt-4o", **failing() | calls_failing())])
        assert seen(db) == [("error", "LR320", "default")], "it failed after the other was answered, at the same moment"
        put(db, llm_model="gpt-4.1")
        assert found(db) == []

    def test_dead_process_is_not_heard(self, db: Session, process: Process) -> None:
        """That it is lost is told already."""
        tell(process, failing() | calls_failing())
        process.silent_for(60)
        assert found(db) == []


class TestDeployments:
    def test_fallback_serves_for_the_primary(self, db: Session, process: Process) -> None:
        """A warning, with the share of the calls."""
        usage = {"minute": "2100-01-01T00:00:00+00:00", "provider": "x", "model": "x", "failures": {}}
        tell(
            process,
            failing("RateLimitError 429", 5, 60),
            answered(1),
            usage=[
                {**usage, "deployment_id": PRIMARY, "role": "primary", "calls": 1, "failovers": 0},
                {**usage, "deployment_id": FALLBACK, "role": "fallback", "calls": 3, "failovers": 3},
            ],
        )
        (warning,) = found(db)
        assert tuple(warning[name] for name in SEEN) == ("warning", "LR321", f"default, {PRIMARY}")
        assert "a fallback serves 75 % of the calls: RateLimitError 429" in warning["message"]

    @pytest.mark.parametrize(
        ("others", "said", "hint"),
        [
            ([], "there is no other deployment to ask", "Mend it now"),
            ([(1, {})], "another deployment of the same order serves", "Mend it while another serves"),
            ([(1, {}), (2, {})], "another deployment of the same order serves", "Mend it while another serves"),
            ([(1, failing()), (2, {})], "a fallback serves", "Mend it while another serves"),
            ([(1, failing()), (2, failing())], "so do all others", "Mend it now"),
            ([(1, failing())], "so do all others", "Mend it now"),
        ],
    )
    def test_what_serves_for_a_primary_is_said(
        self, db: Session, process: Process, others: list[tuple[int, dict[str, Any]]], said: str, hint: str
    ) -> None:
        """No fallback where there is none: those of its own order share the calls by weight."""
        told = [deployment("anthropic", f"claude-{n}", order, **facts) for n, (order, facts) in enumerate(others)]
        process.run(1, deployments=[deployment("openai", "gpt-4o", **failing(ago_s=5)), *told])
        warning = next(row for row in found(db) if row["object"] == f"default, {PRIMARY}")
        assert warning["code"] == "LR321"
        assert f", and {said}: InternalServerError 500" in warning["message"]
        assert warning["hint"].startswith(f"{hint}: ")

    @pytest.mark.parametrize("cause", ["AuthenticationError 401", "PermissionDeniedError 403"])
    def test_refused_key_is_an_error_though_a_fallback_serves(self, db: Session, process: Process, cause: str) -> None:
        """The hint names the secret to store."""
        put_secret(db, "openai_api_key")
        tell(process, failing(cause, 7200) | {"credential_source": "secret openai_api_key"}, answered(1))
        error = next(row for row in found(db) if row["code"] == "LR323")
        assert (error["severity"], error["object"]) == ("error", f"default, {PRIMARY}")
        assert error["hint"] == "Store one that works: liverouter set --secret openai_api_key"
        assert cause in error["message"]

    def test_failure_that_passes_is_forgotten(self, db: Session, process: Process) -> None:
        """Of a fallback that nobody asked again; not one that an operator has to mend."""
        tell(process, answered(1), failing(ago_s=50))
        assert seen(db) == [("warning", "LR325", f"default, {FALLBACK}")]
        tell(process, answered(1), failing(ago_s=70))
        assert found(db) == []
        for cause in ("NotFoundError 404", "AuthenticationError 401"):
            tell(process, answered(1), failing(cause, 70))
            assert seen(db) == [("warning", "LR325", f"default, {FALLBACK}")]
        tell(process, failing(ago_s=70), answered(1))
        assert seen(db) == [("warning", "LR321", f"default, {PRIMARY}")], "which the next call asks first"

    def test_fallback_that_nobody_asked_for_a_day_may_have_been_mended(self, db: Session, process: Process) -> None:
        """What is not known any more is no fault: it is told as such until somebody asks it."""
        denied = "PermissionDeniedError 403"
        tell(process, answered(1), failing(denied, 86_000))
        assert seen(db) == [("warning", "LR325", f"default, {FALLBACK}")]
        tell(process, answered(1), failing(denied, 87_000))
        (told,) = found(db)
        assert tuple(told[name] for name in SEEN) == ("info", "LR329", f"default, {FALLBACK}")
        assert denied in told["message"]
        tell(process, answered(1), answered(1))
        assert found(db) == []

    def test_fallback_that_is_asked_again_and_again_fails_until_it_answers(self, db: Session, process: Process) -> None:
        """Where rows have idle deployments asked its failure is no news after a minute, and stands."""
        db.execute("INSERT INTO liverouter.probes VALUES (%s, clock_timestamp())", [FALLBACK])
        tell(process, answered(1), failing(ago_s=800, since_s=7_200))
        assert seen(db) == [("warning", "LR325", f"default, {FALLBACK}")]
        tell(process, answered(1), answered(1))
        assert found(db) == []

    def test_cooldown_is_told_while_it_lasts(self, db: Session, process: Process) -> None:
        """How many processes leave it alone, and until when."""
        tell(process, {"cooling_ms": 30_000}, answered(1))
        tell(Process(db), {}, {})
        (warning,) = found(db)
        assert tuple(warning[name] for name in SEEN) == ("warning", "LR322", f"default, {PRIMARY}")
        assert "left alone in 1 of 2 processes, until 20" in warning["message"]
        tell(process, {}, {})
        assert found(db) == []

    def test_fallback_that_nobody_needed_is_shown_after_two_weeks(self, db: Session, process: Process) -> None:
        """As information: it is no fault. Not of one that is newer, nor of one that answered."""
        put(db, llm_fallback_config={"provider": "anthropic", "model": "claude-sonnet-4-6"})
        told = [deployment("openai", "gpt-4o"), deployment("anthropic", "claude-sonnet-4-6", 2)]
        process.run(2, deployments=told)
        assert found(db) == []
        with db.transaction():
            db.execute(b"SET LOCAL session_replication_role = replica")
            db.execute(b"UPDATE liverouter.settings SET updated_at = updated_at - interval '15 days'")
        assert seen(db) == [("info", "LR324", f"default, {FALLBACK}")]
        usage = {"minute": "2100-01-01T00:00:00+00:00", "provider": "x", "model": "x", "failures": {}, "calls": 1}
        process.send(usage=[{**usage, "deployment_id": FALLBACK, "role": "fallback"}])
        assert found(db) == []

    def test_fallback_that_reads_less_than_calls_are_long(self, db: Session, process: Process) -> None:
        """It would refuse them when it is needed."""
        prompt = {"longest_prompt": 9_000}
        tell(process, prompt | {"max_input_tokens": 8_000}, prompt | {"max_input_tokens": 8_192})
        (warning,) = found(db)
        assert tuple(warning[name] for name in SEEN) == ("warning", "LR327", f"default, {FALLBACK}")
        assert warning["message"] == "the fallback reads 8192 tokens, and calls are as long as 9000"


class TestStrangers:
    def test_nothing_that_a_row_holds_hides_the_others(self, db: Session, process: Process) -> None:
        """However it came into the table."""
        tell(process, failing() | calls_failing())
        wrong = deployment("x", "y", cooling_until=None) | {
            name: {"far": [1e300]}
            for name in ("failed_at", "failing_since", "answered_at", "calls_failed_at", "longest_prompt", "cause")
        }
        told = Jsonb([wrong | {"answered_at": -5, "failed_at": "x"}, {"order": "1"}, 7])
        stranger = Process(db)
        stranger.run(1)
        db.execute("UPDATE liverouter.processes SET deployments = %s WHERE instance = %s", [told, stranger.instance])
        assert ("error", "LR320", "default") in seen(db)

    def test_report_is_bounded(self, db: Session, process: Process) -> None:
        """No time of the future, no text without end, no control characters."""
        tell(process, failing("\x1b[2J" + "x" * 500, ago_s=-1e9) | calls_failing(-1e9))
        (error,) = found(db)
        assert "\x1b" not in error["message"]
        assert len(error["message"]) < 300
