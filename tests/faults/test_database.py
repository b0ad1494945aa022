"""Inside the database: locks, rights, passwords, schema, history, and rows that no process can use."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from liverouter import LiveRouter, NotReadyError, RolloutError, State
from liverouter.cli.app import run
from liverouter.events import ConfigApplied, ConfigRead, ConfigRejected, ListenerConnected, ListenerDegraded, ReadFailed
from liverouter.postgres.migrate import upgrade
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key, seal
from liverouter.testing.events import EventLog
from tests.faults.bounds import AT_ONCE, BURST, LISTEN_S, POLLED, RECONNECTED, RETRIED
from tests.kit.follower import QUICK, UNPOLLED, Follower
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.testing import StandIn
    from tests.kit.admin import Admin

pytestmark = pytest.mark.usefixtures("native")  # nothing here depends on the engine

# As short as the server takes them; a transaction of ours is one statement, but for that of a wait.
TIMEOUTS = {
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "100ms",
    "lock_timeout": "1ms",
    "statement_timeout": "1ms",
    "transaction_timeout": "50ms",  # of PostgreSQL 17 and later
}
WAITS = """
    SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%wait_applied%' AND now() - xact_start > '100ms'
      AND pid <> pg_backend_pid()
"""
GIVEN_UP_S = 60.0  # a read that waits for a lock
_EDITS = """
    DO $$ BEGIN
        FOR n IN 1..{edits} LOOP
            UPDATE liverouter.settings SET value = to_jsonb('e' || n) WHERE key = 'llm_model';
            COMMIT;
        END LOOP;
    END $$
"""


@pytest.fixture
def service(admin: Admin) -> Iterator[str]:
    """The DSN of a role that may do what a service does."""
    role = f"service_{os.getpid()}"
    admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'first'")
    admin.execute(f"GRANT liverouter_client TO {role}")
    yield f"postgresql://{role}:first@{admin.dsn.partition('@')[2]}"
    admin.execute(f"DROP ROLE {role}")


def drop_schema(admin: Admin) -> None:
    """Drop the schema; the client's own statements may win a deadlock against it, then it is tried again."""
    for _ in range(20):
        try:
            admin.execute("DROP SCHEMA liverouter CASCADE")
        except psycopg.errors.DeadlockDetected:
            continue
        return
    pytest.fail("the schema could not be dropped")


class TestLocks:
    def test_access_exclusive_lock(self, admin: Admin) -> None:
        """A migration holds the table: reads give up in time, calls go on, and what it commits is applied."""
        with Follower(admin) as follower, psycopg.connect(admin.dsn) as migration:
            follower.events.wait_for(ListenerConnected)
            migration.execute("LOCK TABLE liverouter.settings IN ACCESS EXCLUSIVE MODE")
            migration.execute("UPDATE liverouter.settings SET value = '\"migrated\"' WHERE key = 'llm_model'")
            follower.until_stale("LR208", GIVEN_UP_S)
            assert follower.status.mode == "listen", "the listener needs no table"
            follower.reports(state="stale", error_code="LR208")
            follower.load.go_on()
            migration.commit()
            follower.applies(admin.revision, within_s=AT_ONCE.limit)
            follower.until_status(state=State.LIVE)

    def test_timeouts_set_on_the_role(self, admin: Admin, service: str) -> None:
        """A role's own timeouts do not end the client's connections, reads or waits."""
        role = service.split("//")[1].partition(":")[0]
        has = admin.connection.execute("SELECT name FROM pg_settings WHERE name = ANY (%s)", [list(TIMEOUTS)])
        for (name,) in has.fetchall():
            admin.execute(f"ALTER ROLE {role} SET {name} = '{TIMEOUTS[name]}'")
        with Follower(
            admin, service, probe_interval_s=1.0, poll_interval_s=60.0, heartbeat_interval_s=30.0
        ) as follower:
            first = follower.events.wait_for(ListenerConnected)
            for n in range(3):
                follower.applies(admin.set(llm_model=f"timed-{n}"), within_s=AT_ONCE.limit)
                follower.load.go_on(10)  # longer than the idle timeout
            with ThreadPoolExecutor(1) as pool, psycopg.connect(admin.dsn) as other:
                other.execute("LOCK TABLE liverouter.processes IN EXCLUSIVE MODE")  # so that nobody reports
                wait = pool.submit(follower.live.wait_applied, admin.set(llm_model="waited for"), timeout_s=60)
                until(lambda: wait.done() or admin.ask(WAITS)[0], what="a wait longer than a transaction may take")
                other.rollback()
                wait.result()
            assert follower.status.backend_pid == first.backend_pid
            assert not follower.events.of(ReadFailed)


@pytest.mark.servers("embedded", "debian")
class TestRights:
    def test_revoked_grant(self, admin: Admin, service: str) -> None:
        """Rights taken away: the state names them, calls go on; given back, the newest revision is applied."""
        role = service.split("//")[1].partition(":")[0]
        with Follower(admin, service) as follower:
            follower.events.wait_for(ListenerConnected)
            admin.execute(f"REVOKE liverouter_client FROM {role}")
            revision = admin.set(llm_model="not-for-you")
            assert "liverouter_client" in follower.until_stale("LR207").hint
            follower.load.go_on()
            assert not follower.events.of(ConfigApplied, revision=revision)
            admin.execute(f"GRANT liverouter_client TO {role}")
            follower.applies(revision, within_s=RETRIED.limit)
            follower.until_status(state=State.LIVE, last_error=None)

    def test_hidden_rows(self, admin: Admin, service: str) -> None:
        """Row-level security hides the rows: it is named, with what mends it, and what was known serves on."""
        with Follower(admin, service) as follower:
            follower.events.wait_for(ListenerConnected)
            admin.execute("ALTER TABLE liverouter.settings ENABLE ROW LEVEL SECURITY")
            revision = admin.set(llm_model="unseen")
            mends = follower.until_stale("LR207").hint.partition(": ")[2]
            follower.load.go_on()
            assert not follower.events.of(ConfigApplied, revision=revision)
            admin.execute(mends)
            follower.applies(revision, within_s=RETRIED.limit)
            follower.until_status(state=State.LIVE, last_error=None)

    def test_renewed_password(self, admin: Admin, service: str) -> None:
        """A password that a function or a file renews: no login with the old one lasts, and nobody notices."""
        role, urls = service.split("//")[1].partition(":")[0], [service]
        with Follower(admin, lambda: urls[-1], **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            admin.execute(f"ALTER ROLE {role} PASSWORD 'second'")
            urls.append(service.replace(":first@", ":second@"))
            _end_sessions(admin, role)
            follower.applies(admin.set(llm_model="after"), within_s=RECONNECTED.limit)
            follower.events.wait_for(ListenerConnected, count=2)
            assert not follower.events.of(ReadFailed)

    def test_changed_password(self, admin: Admin, service: str) -> None:
        """A password changed under a running client is named when it has to log in again, and harms no call."""
        role = service.split("//")[1].partition(":")[0]
        with Follower(admin, service) as follower:
            follower.events.wait_for(ListenerConnected)
            admin.execute(f"ALTER ROLE {role} PASSWORD 'second'")
            revision = admin.set(llm_model="still-heard")
            follower.applies(revision, within_s=AT_ONCE.limit)
            _end_sessions(admin, role)
            degraded = follower.events.wait_for(ListenerDegraded, cause="refused")
            assert degraded.problem is not None
            assert degraded.problem.code == "LR202"
            stale = follower.until_status(state=State.STALE, mode_cause="refused")
            assert stale.last_error is not None
            assert stale.last_error.code == "LR202"
            assert "first" not in repr(stale)
            follower.load.go_on()
            revision = admin.set(llm_model="unheard")
            admin.execute(f"ALTER ROLE {role} PASSWORD 'first'")
            follower.applies(revision, within_s=RETRIED.limit)
            follower.until_status(state=State.LIVE, timeout_s=LISTEN_S)


@pytest.mark.servers("embedded", "debian")
class TestSchema:
    def test_dropped_column(self, admin: Admin) -> None:
        """A column that the client reads is gone: named as a schema that does not fit, until it is back."""
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            admin.execute("ALTER TABLE liverouter.head RENAME COLUMN change_id TO gone")
            assert "liverouter migrate" in follower.until_stale("LR206").hint
            follower.load.go_on()
            admin.execute("ALTER TABLE liverouter.head RENAME COLUMN gone TO change_id")
            follower.applies(admin.set(llm_model="whole-again"), within_s=RETRIED.limit)
            follower.until_status(state=State.LIVE, last_error=None)

    def test_dropped_schema(self, admin: Admin, standin: StandIn) -> None:
        """The whole schema is gone: calls go on with what is known; migrated and filled anew, it is followed."""
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            follower.applies(admin.set(llm_model="before"), within_s=AT_ONCE.limit)
            drop_schema(admin)
            follower.until_stale("LR204")
            follower.load.go_on()
            upgrade(admin.dsn)
            admin.set(llm_provider="openai", llm_model="new-world", openai_api_base=standin.api_base)
            follower.load.serve("new-world", timeout_s=RETRIED.limit)
            until(lambda: follower.status.state is State.LIVE, LISTEN_S)
            follower.goes_back()

    def test_additional_column_and_row(self, admin: Admin) -> None:
        """What other software adds to the schema or to the settings is nobody's business."""
        with Follower(admin, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            admin.execute("ALTER TABLE liverouter.settings ADD COLUMN mine text")
            follower.applies(admin.set(llm_model="after", somebody_elses={"a": [1]}), within_s=AT_ONCE.limit)
            assert not follower.events.of(ReadFailed)


@pytest.mark.servers("embedded", "debian")
class TestHistory:
    def test_write_past_the_triggers(self, admin: Admin) -> None:
        """Rows that change without a revision are applied by every process at its next read, and that is told."""
        with Follower(admin, **UNPOLLED | {"poll_interval_s": 1.0}) as follower:
            follower.events.wait_for(ListenerConnected)
            revision = admin.revision
            admin.execute("SET session_replication_role = replica")
            admin.execute("UPDATE liverouter.settings SET value = '\"silent\"' WHERE key = 'llm_model'")
            admin.execute("RESET session_replication_role")
            follower.load.serve("silent", timeout_s=POLLED.limit)
            until(lambda: [problem.code for problem in follower.status.problems] == ["LR214"])
            assert follower.status.revision == revision
            until(lambda: admin.ask("SELECT FROM liverouter.problems WHERE code = 'LR214'") is not None, LISTEN_S)
            assert run(["repair", "--database-url", admin.dsn]) == 0
            follower.applies(revision + 1, within_s=AT_ONCE.limit)
            follower.until_status(problems=())
            follower.load.serve("silent")
            follower.goes_back()  # one number stood for two contents

    def test_revision_going_back(self, admin: Admin) -> None:
        """A head that goes back, and one that says something else under the same number, are followed."""
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            newest = [admin.set(llm_model=f"m{n}") for n in range(4)][-1]
            follower.applies(newest, within_s=AT_ONCE.limit)
            admin.execute("UPDATE liverouter.head SET revision = %s, change_id = gen_random_uuid()", newest - 3)
            until(lambda: follower.status.revision == newest - 3, POLLED.limit)
            count = len(follower.events.of(ConfigApplied))
            admin.execute("UPDATE liverouter.head SET change_id = gen_random_uuid()")
            until(lambda: len(follower.events.of(ConfigApplied)) > count, POLLED.limit)
            follower.load.go_on()
            follower.goes_back()

    def test_rollback(self, admin: Admin) -> None:
        """A rollback is a new revision with the old content."""
        with Follower(admin, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            good = admin.set(llm_model="good")
            follower.applies(admin.set(llm_model="worse"), within_s=AT_ONCE.limit)
            (revision,) = admin.ask("SELECT liverouter.rollback(%s, 'undo')", good)
            follower.applies(revision, within_s=AT_ONCE.limit)
            follower.load.serve("good")


class TestRejected:
    def test_bad_revision_is_applied_nowhere_and_not_tried_again(self, admin: Admin) -> None:
        """A bad revision is rejected once, stays visible with its Problems, and a good one follows it."""
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            bad = admin.set(llm_provider="opnai")
            rejected = follower.events.wait_for(ConfigRejected, revision=bad)
            assert [p.code for p in rejected.problems] == ["LR101"]
            reads = len(follower.events.of(ConfigRead))
            until(lambda: len(follower.events.of(ConfigRead)) >= reads + 3)  # polls
            assert len(follower.events.of(ConfigRejected)) == 1
            follower.reports(rejected_revision=bad, error_code="LR101", hint="Did you mean 'openai'?")
            follower.load.go_on()
            follower.applies(admin.set(llm_provider="openai", llm_model="good"), within_s=AT_ONCE.limit)
            follower.reports(rejected_revision=None, error_code=None)

    def test_changed_environment_is_tried_again(self, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A revision that lacks a key is tried again once the environment has it, without a new revision."""
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            revision = admin.set(
                llm_model="with-fallback", llm_fallback_config={"provider": "anthropic", "model": "claude-sonnet-4-6"}
            )
            follower.events.wait_for(ConfigRejected, revision=revision)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-late")
            follower.applies(revision, within_s=POLLED.limit)

    def test_three_instances_of_which_one_lacks_a_key(self, admin: Admin) -> None:
        """Two apply, one rejects and says so; a wait for the rollout fails at once and names it."""
        key = generate_key()
        other = generate_key()
        secret = Secret("sk-stored")
        sealed = seal("openai_api_key", secret, Keyring.from_text(key))
        with (
            Follower(admin, secret_keys=key) as one,
            Follower(admin, secret_keys=f"{other},{key}") as two,
            Follower(admin, secret_keys=other) as three,
        ):
            for follower in (one, two, three):
                follower.reports(state="live")  # else nobody waits for it
            with admin.connection.transaction():
                admin.execute(
                    "INSERT INTO liverouter.secrets (name, sealed, fingerprint) VALUES (%s, %s, %s)",
                    *("openai_api_key", sealed, fingerprint(secret)),
                )
                revision = admin.set(llm_model="with-stored-key")
            one.applies(revision, within_s=AT_ONCE.limit)
            two.applies(revision, within_s=AT_ONCE.limit)
            rejected = three.events.wait_for(ConfigRejected, revision=revision)
            assert [p.code for p in rejected.problems] == ["LR502"]
            assert three.status.revision == revision - 1
            with pytest.raises(RolloutError) as caught:
                _ = one.live.wait_applied(revision, timeout_s=60)
            assert caught.value.code == "LR403"
            three.reports(state="live", applied_revision=revision - 1, rejected_revision=revision, error_code="LR502")
            two.reports(applied_revision=revision, rejected_revision=None, error_code=None)
            (codes,) = admin.ask("SELECT array_agg(code) FROM liverouter.problems")
            assert "LR403" in codes
            for follower in (one, two, three):
                follower.load.go_on()

    def test_started_on_a_bad_revision(self, admin: Admin) -> None:
        """A process that starts while the newest revision is bad has nothing to serve, and says why."""
        admin.set(llm_provider="opnai")
        events = EventLog()
        with LiveRouter(database_url=admin.dsn, observers=(events,), **QUICK) as live:
            events.wait_for(ConfigRejected)
            with pytest.raises(NotReadyError) as caught:
                live.wait_ready(0.1)
            assert [p.code for p in caught.value.problems] == ["LR101"]
            admin.set(llm_provider="openai")
            events.wait_for(ConfigApplied, timeout_s=AT_ONCE.limit)
            live.wait_ready()

    @pytest.mark.parametrize("row", ["[" * 5000 + "]" * 5000, "1e5000"], ids=["deep", "long number"])
    def test_row_that_no_parser_takes(self, admin: Admin, row: str) -> None:
        """A row nested deeper, or a number longer, than Python reads is an error with a name, and goes when it goes."""
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            admin.execute("ALTER TABLE liverouter.settings DISABLE TRIGGER b_refuse_plain_secrets")  # it refuses it
            admin.execute("INSERT INTO liverouter.settings (key, value) VALUES ('my_row', %s)", row)
            follower.until_stale("LR208")
            follower.load.go_on()
            admin.execute("DELETE FROM liverouter.settings WHERE key = 'my_row'")
            follower.applies(admin.set(llm_model="flat"), within_s=RETRIED.limit)


class TestBursts:
    def test_thousand_edits(self, admin: Admin) -> None:
        """A thousand edits cost a handful of rebuilds and end on the last one."""
        edits = 1_000
        with Follower(admin, **UNPOLLED, threads=1) as follower:
            follower.events.wait_for(ListenerConnected)
            started = time.monotonic()
            admin.execute(_EDITS.format(edits=edits))
            took_s = time.monotonic() - started
            assert admin.revision == edits + 1
            follower.applies(edits + 1, within_s=BURST.limit)
            assert len(follower.events.of(ConfigApplied)) < 20 + took_s, "one in two seconds, once the burst is long"

    def test_two_admins_racing(self, admin: Admin) -> None:
        """Two admins who edit different rows at once lose nothing: each commit is a revision, the last is live."""
        edits = 100

        def race(name: str) -> None:
            with psycopg.connect(admin.dsn, autocommit=True) as connection:
                for n in range(1, edits + 1):
                    connection.execute(
                        "INSERT INTO liverouter.settings (key, value) VALUES (%s, to_jsonb(%s::int))"
                        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                        (name, n + 100),
                    )

        with Follower(admin, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            racers = [threading.Thread(target=race, args=(name,)) for name in ("llm_max_tokens", "litellm_timeout")]
            for racer in racers:
                racer.start()
            for racer in racers:
                racer.join()
            assert admin.revision == 1 + 2 * edits
            follower.applies(admin.revision, within_s=BURST.limit)
            snapshot = follower.live.generation().snapshot
            assert (snapshot.primary.max_tokens, snapshot.timeout_s) == (edits + 100, edits + 100.0)


def _end_sessions(admin: Admin, role: str) -> None:
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role)
