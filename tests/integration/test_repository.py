"""The repository against a real PostgreSQL: what it reads and writes, and what every failure becomes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest

from liverouter import LiveRouter
from liverouter.errors import ConflictError, DatabaseError, OptionsError, RolloutError, SecretError, WriteRefusedError
from liverouter.postgres.migrate import current, upgrade
from liverouter.postgres.repository import UNSET, SettingsRepository
from liverouter.revision import Head, SealedSecret
from liverouter.secrecy import sealing
from liverouter.secrecy.sealing import Keyring, Secret
from tests.kit import patience
from tests.kit.ports import ClosedPort
from tests.kit.postgres.emptied import one_database
from tests.kit.postgres.pgbouncer import PgBouncer
from tests.kit.sql import Process, deployment, put, put_secret, rows, value
from tests.kit.waiting import until, until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    Session = psycopg.Connection[Any]
    Connect = Callable[..., Session]

emptied, dsn, db = one_database()
patient = patience.patient

PLAIN = f"sk-plain-{'text'}-key"  # in pieces: a traceback shows source lines, and is searched for the whole
OLD, NEW = sealing.generate_key(), sealing.generate_key()


@pytest.fixture
async def repository(dsn: str) -> AsyncIterator[SettingsRepository]:
    """A repository on this test's database."""
    found = SettingsRepository(url=dsn, application_name="liverouter-test")
    yield found
    await found.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses."""
    with contextlib.closing(ClosedPort()) as port:
        yield port.number


def seal(name: str, plain: str, *keys: str) -> SealedSecret:
    """Return *plain* as it is stored under *name*."""
    secret = Secret(plain)
    return SealedSecret(
        sealing.seal(name, secret, Keyring.from_text(",".join(keys or (NEW,)))), sealing.fingerprint(secret)
    )


def backends(db: Session) -> list[int]:
    """Return the server processes that serve repositories."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'liverouter-test' AND datname = current_database()"
    )
    return [row["pid"] for row in rows(db, query)]


class TestRead:
    async def test_read_returns_the_whole_head_revision(self, repository: SettingsRepository, db: Session) -> None:
        """Settings, sealed secrets, revision, change, epoch and the commit's age come in one piece."""
        put_secret(db, "openai_api_key", "aaaaaaaa")
        put(db, llm_provider="openai", llm_fallback_config=None, llm_temperature=0.2, nested={"a": [1, None, "ü"]})
        raw = await repository.read()
        (head,) = rows(
            db, "SELECT revision, change_id::text, committed_at, liverouter.epoch() AS epoch FROM liverouter.head"
        )
        assert (raw.revision, raw.change_id, raw.committed_at, raw.epoch) == tuple(head.values())
        assert raw.committed_at.tzinfo is not None
        assert (
            0
            <= raw.age_ms
            <= value(db, "SELECT 1000 * extract(epoch FROM clock_timestamp() - committed_at) FROM liverouter.head")
        )
        assert raw.settings == {
            "llm_provider": "openai",
            "llm_fallback_config": None,
            "llm_temperature": 0.2,
            "nested": {"a": [1, None, "ü"]},
        }
        assert set(raw.secrets) == {"openai_api_key"}
        assert raw.secrets["openai_api_key"].fingerprint == "aaaaaaaa"
        assert raw.standby is False

    async def test_read_of_an_empty_database_is_revision_zero(self, repository: SettingsRepository) -> None:
        """Nothing set is a config too."""
        raw = await repository.read()
        assert (raw.revision, dict(raw.settings), dict(raw.secrets)) == (0, {}, {})

    @pytest.mark.parametrize("row", ["[" * 5000 + "]" * 5000, "1e5000"], ids=["deep", "long number"])
    async def test_row_that_cannot_be_read_is_an_error_that_finds_it(
        self, repository: SettingsRepository, db: Session, row: str
    ) -> None:
        """Written past the triggers, as by a restored dump: the hint's query names it, and without it all is read."""
        db.execute(b"SET session_replication_role = replica")
        put(db, short="text")
        db.execute(b"INSERT INTO liverouter.settings (key, value) VALUES ('x', %s::text::jsonb)", [row])
        with pytest.raises(DatabaseError, match="cannot be read") as caught:
            await repository.read()
        assert (caught.value.code, caught.value.where) == ("LR208", "settings")
        assert value(db, caught.value.hint.partition(": ")[2]) == "x"
        db.execute(b"DELETE FROM liverouter.settings WHERE key = 'x'")
        assert (await repository.read()).settings == {"short": "text"}

    async def test_head_is_that_of_the_read(self, repository: SettingsRepository, db: Session) -> None:
        """The cheap question and the whole answer agree."""
        put(db, a=1)
        assert await repository.head() == (await repository.read()).head

    async def test_repr_of_what_was_read_holds_no_ciphertext(self, repository: SettingsRepository, db: Session) -> None:
        """A config in a log line shows fingerprints."""
        put_secret(db, "openai_api_key", "aaaaaaaa")
        raw = await repository.read()
        assert raw.secrets["openai_api_key"].sealed not in repr(raw)
        assert "aaaaaaaa" in repr(raw)

    async def test_reads_during_writes_are_never_torn(self, repository: SettingsRepository, dsn: str) -> None:
        """Settings, secrets and number are of one revision, however fast somebody writes."""
        writer = SettingsRepository(url=dsn)
        done = asyncio.Event()

        seen: set[int] = set()

        async def write() -> None:
            for number in itertools.count(1):
                mark = SealedSecret(seal("tag", "x").sealed, f"{number:08x}")
                assert await writer.write({"tag": number}, {"tag": mark}) == number
                if number >= 40 and len(seen) > 5:  # a busy machine may keep the reader from its turns
                    break
            done.set()

        task = asyncio.create_task(write())
        while not (done.is_set() or task.done()):
            raw = await repository.read()
            seen.add(raw.revision)
            if raw.revision:
                assert raw.settings["tag"] == raw.revision
                assert raw.secrets["tag"].fingerprint == f"{raw.revision:08x}"
        await task
        await writer.close()

    async def test_one_connection_is_kept_for_one_reader(self, repository: SettingsRepository, db: Session) -> None:
        """A read after a notification pays for no login."""
        for _ in range(5):
            await repository.read()
        assert len(backends(db)) == 1
        await asyncio.gather(*(repository.read() for _ in range(20)))
        assert len(backends(db)) <= 3
        await repository.close()
        await repository.read()


@pytest.mark.servers("embedded", "debian")
class TestWrite:
    async def test_write_is_one_revision(self, repository: SettingsRepository, db: Session) -> None:
        """Rows set and removed, secrets stored and removed: one transaction, one number, with author and comment."""
        await repository.write({"a": 1, "b": [1], "gone": True}, {"old": seal("old", "x")})
        revision = await repository.write(
            {"a": 2, "new": None, "gone": UNSET},
            {"openai_api_key": seal("openai_api_key", PLAIN)},
            delete=["old"],
            author="ann",
            comment="try it",
        )
        assert revision == 2
        raw = await repository.read()
        assert raw.settings == {"a": 2, "b": [1], "new": None}
        stored = raw.secrets["openai_api_key"]
        assert set(raw.secrets) == {"openai_api_key"}
        assert sealing.open("openai_api_key", stored.sealed, Keyring.from_text(NEW)).reveal() == PLAIN
        (row,) = await repository.history(1)
        assert (row["author"], row["comment"], row["application"]) == ("ann", "try it", "liverouter-test")
        assert row["changed"] == "a, gone, new, secret old, secret openai_api_key"
        assert value(db, "SELECT count(*) FROM liverouter.revision_log") == 3

    async def test_write_of_what_is_there_returns_the_head(self, repository: SettingsRepository) -> None:
        """Saving a page without a change makes no revision."""
        assert await repository.write({"a": 1}) == 1
        assert await repository.write({"a": 1, "absent": UNSET}, delete=["absent"]) == 1
        assert await repository.write({}) == 1

    async def test_write_over_somebody_elses_change_is_a_conflict(self, repository: SettingsRepository) -> None:
        """If-Match: the second of two admins is told who was faster, and nothing of his is stored."""
        await repository.write({"a": 1}, author="ann")
        with pytest.raises(ConflictError) as caught:
            await repository.write({"a": 2}, expected_revision=0)
        assert caught.value.code == "LR211"
        assert "revision 1, not 0" in caught.value.message
        assert "ann" in caught.value.message
        assert (await repository.read()).settings == {"a": 1}
        assert await repository.write({"a": 2}, expected_revision=1) == 2

    async def test_two_racing_writers_lose_nothing(self, dsn: str) -> None:
        """Read, change, write with expected_revision, again on conflict: every increment counts."""
        both = [SettingsRepository(url=dsn), SettingsRepository(url=dsn)]
        conflicts = 0
        have_read = asyncio.Barrier(2)

        async def add(repository: SettingsRepository) -> None:
            nonlocal conflicts
            for _ in range(15):
                while True:
                    raw = await repository.read()
                    if raw.revision == 0:
                        await have_read.wait()  # both are at the start: one of them must come too late
                    number = int(str(raw.settings.get("n", 0))) + 1
                    try:
                        await repository.write({"n": number}, expected_revision=raw.revision)
                        break
                    except ConflictError:
                        conflicts += 1

        await asyncio.gather(*(add(repository) for repository in both))
        assert (await both[0].read()).settings == {"n": 30}
        assert conflicts > 0
        for repository in both:
            await repository.close()

    async def test_plain_secret_is_refused_with_the_hint_of_the_database(self, repository: SettingsRepository) -> None:
        """The trigger's sentence reaches the user; the value does not."""
        with pytest.raises(WriteRefusedError) as caught:
            await repository.write({"llm_provider": "openai", "openai_api_key": PLAIN})
        assert caught.value.code == "LR212"
        assert "settings.openai_api_key" in caught.value.message
        assert caught.value.hint == "Store it sealed: liverouter set --secret openai_api_key"
        assert PLAIN not in _everything(caught.value)
        assert (await repository.head()).revision == 0

    async def test_secret_is_bound_to_what_its_writer_knew_not_to_what_came_since(
        self, repository: SettingsRepository, db: Session
    ) -> None:
        """Whoever holds the lock meanwhile plants no address: no origin is no origin."""
        put(db, llm_fallback_config={"provider": "openai", "model": "m", "api_base": "https://evil.example/v1"})
        await repository.write({}, {"openai_api_key": seal("openai_api_key", "x")})
        assert rows(db, "SELECT origins FROM liverouter.secrets") == [{"origins": []}]

    async def test_unsealed_secret_is_refused(self, repository: SettingsRepository) -> None:
        """Nobody stores plain text through this door either."""
        with pytest.raises(WriteRefusedError) as caught:
            await repository.write({}, {"openai_api_key": SealedSecret(PLAIN, "12345678")})
        assert "is not sealed" in caught.value.message
        assert PLAIN not in _everything(caught.value)

    @pytest.mark.parametrize("thing", [float("nan"), float("inf"), {1, 2}, datetime.now(UTC), b"bytes"])
    async def test_value_that_is_no_json_is_refused(self, repository: SettingsRepository, thing: object) -> None:
        """NaN, sets, times: refused here with a reason."""
        with pytest.raises(WriteRefusedError) as caught:
            await repository.write({"a": thing})
        assert caught.value.code == "LR212"

    async def test_text_that_postgresql_cannot_store_is_an_error_with_code(
        self, repository: SettingsRepository
    ) -> None:
        """A NUL in a string, half a surrogate pair."""
        for thing in ("a\x00b", "\ud800"):
            with pytest.raises(DatabaseError) as caught:
                await repository.write({"a": thing})
            assert caught.value.code == "LR212"

    async def test_writer_role_is_enough_to_write_and_client_role_to_read(self, login: Callable[..., str]) -> None:
        """Least privilege works through the repository as it does in SQL."""
        writer = SettingsRepository(url=login("liverouter_writer"))
        reader = SettingsRepository(url=login("liverouter_client"))
        viewer = SettingsRepository(url=login("liverouter_inspector"))
        both = SettingsRepository(url=login("liverouter_writer", "liverouter_inspector"))
        assert await writer.write({"a": 1}, {"x": seal("x", "y")}) == 1
        assert await writer.write({"a": 2}, {"x": seal("x", "z")}, expected_revision=1) == 2
        assert await writer.rollback(1) == 3
        assert [row["name"] for row in await writer.secrets()] == ["x"]
        assert (await reader.read()).settings == {"a": 1}
        assert len(await viewer.history()) == 4
        assert len(await viewer.diff(1, 2)) == 2
        assert await both.instances() == []
        for call in (writer.read(), reader.write({"a": 3}), viewer.read(), reader.problems()):
            with pytest.raises(DatabaseError) as caught:
                await call
            assert caught.value.code == "LR207"
            assert "permission denied" in caught.value.message
            assert "liverouter_client" in caught.value.hint
        for repository in (writer, reader, viewer, both):
            await repository.close()


@pytest.mark.servers("embedded", "debian")
class TestHistory:
    async def test_rollback_restores_and_can_be_guarded(self, repository: SettingsRepository) -> None:
        """Back to an old revision as a new one, signed; refused where somebody wrote meanwhile, or it never was."""
        await repository.write({"a": 1})
        await repository.write({"a": 2})
        with pytest.raises(ConflictError):
            await repository.rollback(1, expected_revision=1)
        assert await repository.rollback(1, comment="oops", author="ann", expected_revision=2) == 3
        assert (await repository.read()).settings == {"a": 1}
        (row,) = await repository.history(1)
        assert (row["kind"], row["author"], row["comment"]) == ("rollback", "ann", "oops")
        with pytest.raises(DatabaseError) as caught:
            await repository.rollback(99)
        assert caught.value.code == "LR213"
        assert "0 to 3" in caught.value.hint

    async def test_diff_shows_fingerprints(self, repository: SettingsRepository) -> None:
        """What changed, secrets as fingerprints."""
        await repository.write({"a": 1}, {"x": SealedSecret(seal("x", "y").sealed, "aaaaaaaa")})
        assert await repository.diff(0, 1) == [
            {"object": "setting", "key": "a", "old": None, "new": 1},
            {"object": "secret", "key": "x", "old": None, "new": "aaaaaaaa"},
        ]
        with pytest.raises(DatabaseError) as caught:
            await repository.diff(0, 5)
        assert caught.value.code == "LR213"


@pytest.mark.servers("embedded", "debian")
class TestFleet:
    async def test_report_returns_the_head(self, repository: SettingsRepository, db: Session) -> None:
        """One call reports and polls."""
        put(db, a=1)
        document = {"instance": Process(db).instance, "key": "a" * 32, "app": "x"}
        answer = await repository.report(document)
        head = await repository.head()
        assert answer == Head(head.epoch, head.revision, head.change_id, report_whole=True)
        assert (await repository.instances())[0]["app"] == "x"

    async def test_report_that_cannot_be_used_is_refused_with_its_reason(self, repository: SettingsRepository) -> None:
        """A client's own mistake is told in words."""
        with pytest.raises(WriteRefusedError) as caught:
            await repository.report({"instance": "x"})
        assert "instance is not a UUID" in caught.value.message

    async def test_views_come_as_plain_rows(self, repository: SettingsRepository, db: Session) -> None:
        """UUIDs as text, numbers as numbers, times as aware times."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        process = Process(db)
        used = {
            "minute": datetime.now(UTC).isoformat(),
            "deployment_id": "d",
            "role": "primary",
            "calls": 2,
            "cost_usd": 0.5,
        }
        process.applied(1, deployments=[deployment("openai", "gpt-4o")], usage=[used])
        (active,) = await repository.active_config()
        assert (active["instance"], active["order"], active["model"]) == (process.instance, 1, "gpt-4o")
        assert (await repository.desired_config())[0]["provider"] == "openai"
        assert (await repository.rollout(1))[0]["applied"] == 1
        (usage,) = await repository.usage(datetime.now(UTC) - timedelta(hours=1))
        assert (usage["calls"], usage["cost_usd"], type(usage["cost_usd"])) == (2, 0.5, float)
        assert await repository.usage(datetime.now(UTC) + timedelta(hours=1)) == []
        assert usage["minute"].tzinfo is not None
        assert await repository.problems() == []

    async def test_wait_longer_than_a_statement_may_take_ends_as_it_should(self, dsn: str, db: Session) -> None:
        """It says who is missing (LR404)."""
        repository = SettingsRepository(url=dsn, statement_timeout_s=1.0)
        Process(db).run(0)
        put(db, a=1)

        async def late() -> bool:
            try:
                await repository.wait_applied(1, timeout_s=1.1)
            except RolloutError as error:
                return error.code == "LR404" and "1 of 1 live instances" in error.message
            except DatabaseError:  # of a busy machine, which took longer to begin
                return False
            return False

        await until_async(late)
        await repository.close()

    async def test_wait_applied_returns_or_says_why_not(self, repository: SettingsRepository, db: Session) -> None:
        """Done, rejected (LR403), no such revision (LR213)."""
        process = Process(db)
        process.run(0)
        put(db, a=1)
        process.rejected(1, kept=0, message="the key is missing")
        with pytest.raises(RolloutError) as caught:
            await repository.wait_applied(1)
        assert (caught.value.code, caught.value.hint) == ("LR403", "Store it")
        assert "the key is missing" in caught.value.message
        process.applied(1)
        await repository.wait_applied(1)
        with pytest.raises(DatabaseError) as missing:
            await repository.wait_applied(7)
        assert missing.value.code == "LR213"


@pytest.mark.servers("embedded", "debian")
class TestReseal:
    async def test_rotation_seals_everything_anew_history_included(self, repository: SettingsRepository) -> None:
        """After it the old key is needed by nothing: not by secrets in force, not by a rollback."""
        await repository.write({}, {"a": seal("a", "one", OLD), "b": seal("b", "two", OLD)})
        await repository.write({}, {"a": seal("a", "three", OLD)})
        both, new = Keyring.from_text(f"{NEW},{OLD}"), Keyring.from_text(NEW)
        done = await repository.reseal(both, author="ann")
        assert (done.revision, done.renewed, done.lost) == (3, 3, {})
        assert await repository.key_usage() == [{"key_id": new.newest, "secrets": 2, "in_history": 6}]
        raw = await repository.read()
        opened = {name: sealing.open(name, secret.sealed, new).reveal() for name, secret in raw.secrets.items()}
        assert opened == {"a": "three", "b": "two"}
        await repository.rollback(1)
        raw = await repository.read()
        assert sealing.open("a", raw.secrets["a"].sealed, new).reveal() == "one"
        kinds = {row["revision"]: (row["kind"], row["author"]) for row in await repository.history()}
        assert kinds[3] == ("rotate", "ann")
        assert kinds[2][0] == "edit"
        assert await repository.diff(2, 3) == []

    async def test_envelope_that_was_replaced_is_nowhere_stored_again(
        self, repository: SettingsRepository, db: Session
    ) -> None:
        """Who kept one from before, of the head or of the history, cannot have it sent elsewhere."""
        kept = [seal("openai_api_key", text, OLD) for text in ("sk-first", "sk-second")]
        for envelope in kept:
            await repository.write({}, {"openai_api_key": envelope})
        await repository.reseal(Keyring.from_text(f"{NEW},{OLD}"))
        for envelope in kept:
            for origins in ((), ("https://evil.example",)):
                with pytest.raises(DatabaseError, match="a rotation of the keyring has replaced this envelope"):
                    await repository.write({}, {"openai_api_key": replace(envelope, origins=origins)})
        assert value(db, "SELECT count(*) FROM liverouter.spent_envelopes") == len(kept)
        again = seal("openai_api_key", "sk-second", OLD)  # by whoever has the key itself
        await repository.write({}, {"openai_api_key": replace(again, origins=("https://gw.internal",))})

    async def test_second_rotation_changes_nothing(self, repository: SettingsRepository) -> None:
        """Idempotent: no revision, no work."""
        await repository.write({}, {"a": seal("a", "one", OLD)})
        both = Keyring.from_text(f"{NEW},{OLD}")
        await repository.reseal(both)
        again = await repository.reseal(both)
        assert (again.revision, again.renewed) == (2, 0)

    async def test_secret_in_force_that_does_not_open_stops_the_rotation(
        self, repository: SettingsRepository, db: Session
    ) -> None:
        """Nothing is half rotated: the key id that is missing is named, and everything is as before."""
        await repository.write({}, {"a": seal("a", "one", OLD), "b": seal("b", "two", NEW)})
        before = rows(db, "SELECT * FROM liverouter.secrets ORDER BY name")
        with pytest.raises(SecretError) as caught:
            await repository.reseal(Keyring.from_text(NEW))
        assert caught.value.code == "LR502"
        assert Keyring.from_text(OLD).newest in caught.value.message
        assert rows(db, "SELECT * FROM liverouter.secrets ORDER BY name") == before

    async def test_history_whose_key_is_lost_does_not_stop_the_rotation(self, repository: SettingsRepository) -> None:
        """What nobody can open any more is counted and left, or keys could never be changed again."""
        lost = sealing.generate_key()
        await repository.write({}, {"a": seal("a", "one", lost)})
        await repository.write({}, {"a": seal("a", "two", OLD)})
        done = await repository.reseal(Keyring.from_text(f"{NEW},{OLD}"))
        assert (done.renewed, done.lost) == (1, {Keyring.from_text(lost).newest: 1})

    async def test_history_that_holds_no_sealed_value_does_not_stop_the_rotation(
        self, repository: SettingsRepository, db: Session
    ) -> None:
        """What was written past the triggers is counted and left as well."""
        await repository.write({}, {"a": seal("a", "one", OLD)})
        await repository.write({}, {"a": seal("a", "two", OLD)})
        plain = """jsonb_set(sealed, '{a,sealed}', '"plain"')"""
        db.execute(f"UPDATE liverouter.revision_log SET sealed = {plain} WHERE revision = 1".encode())
        done = await repository.reseal(Keyring.from_text(f"{NEW},{OLD}"))
        assert (done.renewed, done.lost) == (1, {"unknown": 1})

    async def test_rotation_needs_the_owner(self, login: Callable[..., str], repository: SettingsRepository) -> None:
        """A writer can neither read sealed values nor rewrite history."""
        await repository.write({}, {"a": seal("a", "one", OLD)})
        writer = SettingsRepository(url=login("liverouter_writer"))
        with pytest.raises(DatabaseError) as caught:
            await writer.reseal(Keyring.from_text(f"{NEW},{OLD}"))
        assert caught.value.code == "LR207"
        await writer.close()

    async def test_write_during_a_rotation_waits_and_is_not_lost(
        self, repository: SettingsRepository, dsn: str
    ) -> None:
        """A secret stored at the same time is there afterwards."""
        for number in range(10):
            await repository.write({}, {"a": seal("a", f"{number}", OLD)})
        both = Keyring.from_text(f"{NEW},{OLD}")
        other = SettingsRepository(url=dsn)
        await asyncio.gather(repository.reseal(both), *(other.write({f"k{n}": n}) for n in range(5)))
        await repository.reseal(both)
        assert [row["key_id"] for row in await repository.key_usage()] == [both.newest]
        assert len((await repository.read()).settings) == 5
        await other.close()


class TestFailures:
    async def failure(self, url: str, **options: Any) -> DatabaseError:
        """Return how a read of *url* fails."""
        repository = SettingsRepository(url=url, **options)
        try:
            with pytest.raises(DatabaseError) as caught:
                await repository.read()
        finally:
            await repository.close()
        password = urlsplit(url).password
        assert password is None or password not in _everything(caught.value)
        assert caught.value.hint
        return caught.value

    async def test_each_reason_has_its_code(
        self, dsn: str, empty_dsn: str, server: Any, db: Session, closed_port: int
    ) -> None:
        """Unreachable, wrong password, no such database, not migrated, older, newer: one clear error each."""
        parts = urlsplit(dsn)
        wrong = parts._replace(netloc=f"postgres:wrong-secret@{parts.hostname}:{parts.port}").geturl()
        assert (await self.failure(wrong)).code == "LR202"
        assert (await self.failure(server.dsn("no_such_database"))).code == "LR203"
        assert (await self.failure(empty_dsn)).code == "LR204"
        assert (await self.failure(f"postgresql://u:some-secret@127.0.0.1:{closed_port}/x")).code == "LR201"
        assert (await self.failure("postgresql://u:some-secret@no-such-host.invalid/x")).code == "LR201"
        assert (await self.failure("postgresql:///x?host=/nowhere&user=u&password=some-secret")).code == "LR201"
        db.execute(b"UPDATE liverouter.alembic_version SET version_num = '0001_config'")
        older = await self.failure(dsn)
        assert (older.code, "liverouter migrate" in older.hint) == ("LR206", True)
        db.execute(b"UPDATE liverouter.alembic_version SET version_num = '9999_future'")
        newer = await self.failure(dsn)
        assert (newer.code, "9999_future" in newer.message) == ("LR205", True)
        db.execute(b"DELETE FROM liverouter.alembic_version")
        assert (await self.failure(dsn)).code == "LR204"

    async def test_password_with_unescaped_characters_is_an_error_that_does_not_repeat_it(self) -> None:
        """The commonest mistake in a URL: the hint says how to write it, no piece of the password shows."""
        for character in "/?#[%":
            for part in ("s3cretpart", "73915046"):
                url = f"postgresql://ann:{part}{character}{part}@127.0.0.1:1/x"
                with pytest.raises((OptionsError, DatabaseError)) as caught:
                    await SettingsRepository(url=url).read()
                assert caught.value.code == ("LR201" if character == "%" else "LR405")
                assert part not in _everything(caught.value)
                assert character == "%" or "%2F for /" in caught.value.hint
                with pytest.raises((OptionsError, DatabaseError)) as caught:
                    current(url)
                assert part not in _everything(caught.value)
                with pytest.raises(OptionsError) if character != "%" else contextlib.nullcontext():
                    assert part not in repr(LiveRouter(database_url=url))

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://ann@127.0.0.1:65536/x",
            "postgresql://ann@127.0.0.1:0/x",
            "postgresql://ann@127.0.0.1:54321234567890123/x",
            "postgresql://ann@127.0.0.1:\N{SUPERSCRIPT TWO}/x",
            "postgresql://ann@127.0.0.1:5432,localhost:70000/x",
            "postgresql:///x?host=127.0.0.1&port=70000",
            "postgresql:///x?host=127.0.0.1,localhost&port=5432,no",
        ],
    )
    def test_port_that_no_server_can_have_is_an_option_problem(self, url: str) -> None:
        """It is said when the client is made, with the bounds, and not by a socket later."""
        with pytest.raises(OptionsError, match="the port from 1 to 65535"):
            LiveRouter(database_url=url)
        with pytest.raises(OptionsError):
            LiveRouter(database_url="postgresql://ann@127.0.0.1/x", listen_url=url)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://ann@127.0.0.1:/x?connect_timeout=1&port=1",
            "postgresql:///x?host=/nowhere&user=ann@host",
            "postgresql://ann:pass@[::1]:1/x?sslmode=disable",
            "postgresql://ann:p@ss@127.0.0.1:1,localhost:1/x",
            "postgres://127.0.0.1/x?user=ann&password=a@b",
        ],
    )
    async def test_unusual_urls_are_read(self, url: str) -> None:
        """What PostgreSQL's own programs take is taken: several hosts, an IPv6 address, a socket folder."""
        assert (await self.failure(url)).code == "LR201"

    async def test_where_names_the_database_without_its_password(self, empty_dsn: str) -> None:
        """Which of several databases is meant can be told from the error."""
        error = await self.failure(empty_dsn)
        parts = urlsplit(empty_dsn)
        assert error.where == f"database {parts.hostname}:{parts.port}{parts.path}"

    async def test_database_that_is_migrated_meanwhile_is_found(self, empty_dsn: str) -> None:
        """The same repository works once somebody ran `liverouter migrate`."""
        repository = SettingsRepository(url=empty_dsn)
        with pytest.raises(DatabaseError):
            await repository.read()
        upgrade(empty_dsn)
        assert (await repository.read()).revision == 0
        await repository.close()

    async def test_dropped_table_and_revoked_right_are_named(self, repository: SettingsRepository, db: Session) -> None:
        """DDL under a running process: the error says what happened; nothing hangs, and it heals."""
        await repository.read()
        db.execute(b"ALTER TABLE liverouter.settings RENAME TO elsewhere")
        with pytest.raises(DatabaseError) as caught:
            await repository.read()
        assert caught.value.code == "LR204"
        db.execute(b"ALTER TABLE liverouter.elsewhere RENAME TO settings")
        db.execute(b"ALTER TABLE liverouter.settings RENAME COLUMN value TO elsewhere")
        with pytest.raises(DatabaseError) as caught:
            await repository.read()
        assert caught.value.code == "LR206"
        db.execute(b"ALTER TABLE liverouter.settings RENAME COLUMN elsewhere TO value")
        assert (await repository.read()).revision == 0

    async def test_view_that_a_migration_widens_is_read_on(self, repository: SettingsRepository, db: Session) -> None:
        """What was prepared for the old columns is prepared anew, without an error."""
        await repository.problems()
        (query,) = rows(db, "SELECT pg_get_viewdef('liverouter.secret_keys') AS sql")
        await repository.key_usage()
        wider = query["sql"].replace(" AS in_history", " AS in_history, count(*) AS added", 1)
        db.execute(f"CREATE OR REPLACE VIEW liverouter.secret_keys AS {wider}".encode())
        put_secret(db, "x")
        assert list((await repository.key_usage())[0]) == ["key_id", "secrets", "in_history", "added"]

    async def test_killed_connection_is_replaced_without_an_error(
        self, repository: SettingsRepository, db: Session
    ) -> None:
        """A backend that was ended costs the next read or write one login, not an error."""
        await repository.read()
        for call in (repository.read, repository.head, lambda: repository.write({"a": 1})):
            (pid,) = backends(db)
            db.execute(b"SELECT pg_terminate_backend(%s, 60000)", [pid])
            await call()
        assert (await repository.read()).settings == {"a": 1}

    async def test_table_that_somebody_holds_is_a_timeout_and_not_a_hang(
        self, dsn: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """ACCESS EXCLUSIVE for half a minute: an error after the statement's time, and all is well afterwards."""
        monkeypatch.setattr("liverouter.postgres.pool._GRACE_S", 30.0)  # the server may be slow to say so
        repository = SettingsRepository(url=dsn, statement_timeout_s=1.0)
        holder = connect(autocommit=False)
        holder.execute(b"LOCK TABLE liverouter.settings IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseError) as caught:
            await repository.read()
        assert (caught.value.code, "pg_locks" in caught.value.hint) == ("LR208", True)
        holder.rollback()
        await until_async(partial(_is_read, repository))
        await repository.close()

    async def test_frozen_backend_is_given_up_after_the_timeout(self, dsn: str, db: Session) -> None:
        """A server process that is stopped answers nothing: an error in bounded time, then a new connection."""
        if os.environ.get("LIVEROUTER_TEST_DSN"):
            pytest.skip("needs a server on this machine whose processes may be stopped")
        repository = SettingsRepository(url=dsn, application_name="liverouter-test", statement_timeout_s=1.0)
        await until_async(partial(_is_read, repository))
        (pid,) = until(lambda: pids if len(pids := backends(db)) == 1 else [])
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DatabaseError) as caught:
                await repository.read()
            assert caught.value.code == "LR201"
            await until_async(partial(_is_read, repository))
        finally:
            os.kill(pid, signal.SIGCONT)
        await repository.close()

    async def test_timeouts_of_the_role_do_not_reach_our_connections(
        self, login: Callable[..., str], db: Session
    ) -> None:
        """idle, statement and lock timeouts set on the role by a careful DBA break nothing."""
        url = login("liverouter_client", "liverouter_writer")
        user = urlsplit(url).username
        for setting in (
            "statement_timeout = 1",
            "lock_timeout = 1",
            "idle_session_timeout = 1",
            "default_transaction_isolation = 'serializable'",
        ):
            db.execute(f"ALTER ROLE {user} SET {setting}".encode())
        repository = SettingsRepository(url=url, application_name="liverouter-test")
        await repository.read()
        (pid,) = backends(db)
        settings = (await _ask(repository, "SELECT current_setting('idle_session_timeout'), pg_sleep(0.05)::text"))[0]
        assert settings[0] == "0"
        assert await repository.write({"a": 1}) == 1
        assert backends(db) == [pid]
        await repository.close()

    async def test_read_only_database_refuses_writes_with_its_own_code(self, dsn: str, db: Session) -> None:
        """A standby, or a database set read-only: reads go on, writes say so."""
        name = urlsplit(dsn).path[1:]
        db.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
        repository = SettingsRepository(url=dsn)
        assert (await repository.read()).revision == 0
        with pytest.raises(DatabaseError) as caught:
            await repository.write({"a": 1})
        assert caught.value.code == "LR209"
        await repository.close()
        db.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'.encode())

    async def test_connections_used_up_is_said(self, login: Callable[..., str]) -> None:
        """CONNECTION LIMIT reached, or max_connections: the error says what to raise."""
        url = login("liverouter_client", rights="CONNECTION LIMIT 1")
        first = SettingsRepository(url=url)
        await first.read()
        assert (await self.failure(url)).code == "LR201"
        await first.close()


class TestUrls:
    async def test_every_spelling_of_a_url_connects(self, dsn: str, closed_port: int) -> None:
        """postgres://, SQLAlchemy's own, hosts in the query, several hosts of which one is down, sslmode."""
        parts = urlsplit(dsn)
        login_, _, host = parts.netloc.rpartition("@")
        user, _, password = login_.partition(":")
        spellings = [
            dsn.replace("postgresql://", "postgres://"),
            dsn.replace("postgresql://", "postgresql+asyncpg://"),
            f"{dsn}?sslmode=disable",
            f"{dsn}?sslmode=prefer&target_session_attrs=read-write",
            f"{dsn}?channel_binding=prefer&connect_timeout=60&keepalives_idle=30&gssencmode=disable",
            f"{dsn}?options=-c%20search_path%3Dpg_catalog&application_name=theirs",
            f"postgresql://{parts.path}?host={parts.hostname}&port={parts.port}&user={user}&password={password}",
            f"postgresql://{login_}@127.0.0.1:{closed_port},{host}{parts.path}",
        ]
        for spelling in spellings:
            repository = SettingsRepository(url=spelling)
            assert (await repository.read()).revision == 0
            await repository.close()


@pytest.mark.servers("embedded", "debian")
class TestPooler:
    async def test_everything_works_behind_a_transaction_pooler(
        self, dsn: str, db: Session, needs_program: Callable[..., Path]
    ) -> None:
        """No statement with a name, nothing left on a session, and startup settings left out where they are refused."""
        with PgBouncer(needs_program("pgbouncer", package="pgbouncer"), dsn, "transaction") as pooler:
            repositories = [SettingsRepository(url=pooler.dsn) for _ in range(3)]
            for round_ in range(5):
                await asyncio.gather(*(r.write({f"k{n}": round_}) for n, r in enumerate(repositories)))
                raws = await asyncio.gather(*(r.read() for r in repositories for _ in range(5)))
                assert all(raw.settings == {f"k{n}": round_ for n in range(3)} for raw in raws)
            process = Process(db)
            process.run(0)
            await repositories[0].report({"instance": Process(db).instance, "key": "a" * 32, "app": "pooled"})
            assert len(await repositories[1].instances()) == 2
            with pytest.raises(ConflictError):
                await repositories[2].write({"a": 1}, expected_revision=0)
            with contextlib.ExitStack() as stack:  # every server connection of the pool at the same time
                sessions = [stack.enter_context(psycopg.connect(pooler.dsn)) for _ in range(5)]
                assert [rows(session, "SELECT name FROM pg_prepared_statements") for session in sessions] == [[]] * 5
            for repository in repositories:
                await repository.close()


async def _is_read(repository: SettingsRepository) -> bool:
    """Tell whether *repository*, which has little time, could be asked: a busy machine may stand still for more."""
    with contextlib.suppress(DatabaseError):
        return (await repository.read()).revision == 0
    return False


async def _ask(repository: SettingsRepository, query: str) -> Any:
    return await repository._database.select(query)  # noqa: SLF001 - settings of the very connection


def _everything(error: BaseException) -> str:
    """Return what a log with traceback would show of *error* and its causes."""
    import traceback

    return "".join(traceback.format_exception(error)) + repr(error)
