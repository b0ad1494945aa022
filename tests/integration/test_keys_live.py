"""A provider key that is stored anew, by whichever door, is what the next call is made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from liverouter import LiveRouter
from liverouter.events import ConfigApplied, ConfigRejected
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key, seal
from liverouter.testing import EventLog, StandIn
from tests.kit.http import Api
from tests.kit.sql import put, revision, value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    Session = psycopg.Connection[Any]

NAME, FIRST, SECOND = "openai_api_key", "the-first-key-of-openai", "the-second-key-of-openai"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key that seals."""
    text = generate_key()
    monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", text)
    return text


@pytest.fixture(autouse=True)
def _rows(db: Session, openai: StandIn) -> None:
    put(db, llm_provider="openai", llm_model="gpt-4o", openai_api_base=openai.api_base)


def store(db: Session, secret: str, keyring: str) -> int:
    """Store the key as SQL does it; return the revision."""
    envelope = seal(NAME, Secret(secret), Keyring.from_text(keyring))
    return int(value(db, "SELECT liverouter.set_secret(%s, %s, %s)", NAME, envelope, fingerprint(Secret(secret))))


def used(live: LiveRouter, openai: StandIn) -> str:
    """Call once and return the key that the provider was sent."""
    live.chat_model().invoke("hi")
    return openai.requests[-1].headers["authorization"].removeprefix("Bearer ")


class TestProviderKey:
    def test_new_key_is_live_by_every_door(
        self, dsn: str, db: Session, key: str, openai: StandIn, cli: Callable[..., Any]
    ) -> None:
        """SQL function, command line, page's API: a running process calls with the new key, as with any change."""
        store(db, FIRST, key)
        with LiveRouter(database_url=dsn) as live, Api(dsn, secret_keys=key) as api:
            assert live.wait_applied(revision(db), 60).revision == revision(db)
            assert used(live, openai) == FIRST
            assert live.wait_applied(store(db, SECOND, key), 60).revision == revision(db)
            assert used(live, openai) == SECOND
            assert cli("set", "--secret", NAME, stdin="a-third-key-of-openai").code == 0
            assert live.wait_applied(revision(db), 60).revision == revision(db)
            assert used(live, openai) == "a-third-key-of-openai"
            assert live.wait_applied(api.save(secrets={NAME: "a-fourth-key-of-openai"}), 60).revision == revision(db)
            assert used(live, openai) == "a-fourth-key-of-openai"
            assert cli("rollback", "2").code == 0
            assert live.wait_applied(revision(db), 60).revision == revision(db)
            assert used(live, openai) == FIRST

    def test_key_that_does_not_open_is_rejected_with_its_id_and_the_last_good_one_serves(
        self, dsn: str, db: Session, key: str, openai: StandIn
    ) -> None:
        """Sealed with a key that this process lacks: the Problem names that key, calls go on with the former one."""
        foreign, events = generate_key(), EventLog()
        good = store(db, FIRST, key)
        with LiveRouter(database_url=dsn, observers=(events,)) as live:
            assert live.wait_applied(good, 60).revision == good
            bad = store(db, SECOND, foreign)
            rejected = events.wait_for(ConfigRejected, revision=bad)
            assert [problem.code for problem in rejected.problems] == ["LR502"]
            assert Keyring.from_text(foreign).newest in rejected.problems[0].message
            assert live.status().revision == good
            assert used(live, openai) == FIRST

    def test_rotated_sealing_key_changes_nothing_for_calls(
        self, dsn: str, db: Session, openai: StandIn, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After `keys rotate` the old sealing key is gone from rows and history, and a process without it serves."""
        former, newer = generate_key(), generate_key()
        store(db, FIRST, former)
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", f"{newer},{former}")
        assert cli("keys", "rotate").code == 0
        ids = value(db, "SELECT array_agg(key_id) FROM liverouter.secret_keys")
        assert ids == [Keyring.from_text(newer).newest]
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", newer)
        with LiveRouter(database_url=dsn) as live:
            assert live.wait_applied(revision(db), 60).revision == revision(db)
            assert used(live, openai) == FIRST

    def test_key_file_that_is_empty_for_a_moment_is_rejected_and_the_last_good_one_serves(
        self, dsn: str, openai: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever writes a new key truncates the file first: a read in between says so and costs no call."""
        file, events = tmp_path / "key", EventLog()
        file.write_text(f"{FIRST}\n")
        monkeypatch.setenv("OPENAI_API_KEY_FILE", str(file))
        with LiveRouter(database_url=dsn, observers=(events,)) as live:
            assert used(live, openai) == FIRST
            file.write_text("\n")
            live.reload()
            rejected = events.wait_for(ConfigRejected)
            assert [(p.code, p.where, p.message) for p in rejected.problems] == [
                ("LR102", f"file {file}", f"{file} is empty")
            ]
            assert used(live, openai) == FIRST
            file.write_text(f"{SECOND}\n")
            live.reload()
            events.wait_for(ConfigApplied, count=2)
            assert used(live, openai) == SECOND
