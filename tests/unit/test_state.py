"""What a client says about itself is folded from events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from liverouter.engine.status import State, Status, fold
from liverouter.errors import Problem
from liverouter.events import (
    ClientClosed,
    ConfigApplied,
    ConfigRead,
    ConfigRejected,
    DatabaseRecovered,
    Event,
    GenerationRetired,
    ListenerConnected,
    ListenerDegraded,
    ListenerLost,
    ReadFailed,
)

START = datetime(2026, 11, 23, tzinfo=UTC)
BAD_ROW = Problem("LR101", "provider 'opnai' is not known", "settings.llm_provider", "Did you mean 'openai'?")
NO_DATABASE = Problem("LR201", "no answer", "database", "Is it running?")


def applied(revision: int, *, source: str = "database", generation: int = 1) -> ConfigApplied:
    """Return the event of a revision that went live."""
    return ConfigApplied(
        epoch="e",
        revision=revision,
        generation=generation,
        primary="openai/gpt-4o",
        fallbacks=(),
        litellm_enable=True,
        source="database" if source == "database" else "snapshot_file",
        read_ms=1,
        validate_ms=1,
        build_ms=1,
        warm_ms=1,
        commit_to_live_ms=5,
    )


def rejected(revision: int) -> ConfigRejected:
    """Return the event of a revision that was refused."""
    return ConfigRejected("e", revision, "validate", (BAD_ROW,), 1)


READ = ConfigRead("e", 1, 1.0)
HEARS = ListenerConnected(42)
LOST = ListenerLost("unreachable", 1, 0.1)
UNREADABLE = ReadFailed(NO_DATABASE, 1, 0.1)


def after(*events: Event) -> Status:
    """Fold *events*, one second apart."""
    status = Status(since=START)
    for seconds, event in enumerate(events, 1):
        status = fold(status, event, START + timedelta(seconds=seconds))
    return status


class TestState:
    @pytest.mark.parametrize(
        ("events", "state"),
        [
            ((), State.INITIALIZING),
            ((READ, HEARS), State.INITIALIZING),
            ((READ, rejected(1), HEARS), State.INITIALIZING),
            ((UNREADABLE, LOST), State.INITIALIZING),
            ((READ, applied(1), HEARS), State.LIVE),
            ((HEARS, READ, applied(1)), State.LIVE),
            ((READ, applied(1)), State.POLL_ONLY),
            ((READ, applied(1), HEARS, LOST), State.POLL_ONLY),
            ((READ, applied(1), ListenerDegraded("pooler", 2.0)), State.POLL_ONLY),
            ((READ, applied(1), HEARS, UNREADABLE), State.STALE),
            ((READ, applied(1), HEARS, LOST, UNREADABLE, DatabaseRecovered(1)), State.POLL_ONLY),
            ((READ, applied(1), HEARS, UNREADABLE, READ), State.LIVE),
            ((READ, applied(1), HEARS, READ, rejected(2)), State.LIVE),
            ((UNREADABLE, applied(1, source="snapshot_file")), State.STALE),
            ((READ, applied(1), HEARS, ClientClosed("i")), State.OFFLINE),
        ],
    )
    def test_state_follows_the_events(self, events: tuple[Event, ...], state: State) -> None:
        """Serving and hearing is live, serving deaf is poll_only, serving without the database is stale."""
        assert after(*events).state is state

    def test_since_is_when_the_state_changed(self) -> None:
        """Events that leave the state alone leave `since` alone."""
        status = after(READ, applied(1), HEARS, GenerationRetired(1), READ)
        assert status.since == START + timedelta(seconds=3)


class TestRevisions:
    def test_applied_revision_is_running_and_desired(self) -> None:
        """After an activation both numbers agree and no error holds."""
        status = after(READ, rejected(1), ConfigRead("e", 2, 1.0), applied(2))
        assert (status.revision, status.desired_revision, status.rejected_revision) == (2, 2, None)
        assert status.last_error is None
        assert status.problems == ()

    def test_rejection_keeps_the_running_revision_and_says_why(self) -> None:
        """The last-known-good stays in force beside the Problems of the newer revision."""
        status = after(READ, applied(1), HEARS, ConfigRead("e", 2, 1.0), rejected(2))
        assert (status.revision, status.desired_revision, status.rejected_revision) == (1, 2, 2)
        assert status.problems == (BAD_ROW,)
        assert status.last_error is not None
        assert (status.last_error.code, status.last_error.revision) == ("LR101", 2)

    def test_each_revision_keeps_its_line_of_history(self) -> None:
        """A restored database is read while the old line goes on serving: three lines, not one."""
        restored = ConfigRead("f", 1, 1.0)
        status = after(READ, applied(2), restored)
        assert (status.epoch, status.applied_epoch, status.rejected_epoch) == ("f", "e", "")
        status = after(READ, applied(2), restored, replace(rejected(1), epoch="f"))
        assert (status.applied_epoch, status.revision) == ("e", 2)
        assert (status.rejected_epoch, status.rejected_revision) == ("f", 1)
        assert after(READ, applied(2), restored, rejected(1), applied(3)).rejected_epoch == ""

    def test_read_error_ends_with_the_next_read_but_a_rejection_does_not(self) -> None:
        """Each error holds until its own cause is mended."""
        lost = after(READ, applied(1), UNREADABLE)
        assert lost.last_error is not None
        assert lost.last_error.code == "LR201"
        assert after(READ, applied(1), UNREADABLE, READ).last_error is None
        kept = after(READ, applied(1), rejected(2), UNREADABLE, READ).last_error
        assert kept is not None
        assert kept.code == "LR101"


class TestMode:
    def test_mode_names_its_cause(self) -> None:
        """Why notifications do not arrive is part of the status."""
        assert after(HEARS).mode == "listen"
        degraded = after(ListenerDegraded("pooler", 2.0))
        assert (degraded.mode, degraded.mode_cause) == ("poll_only", "pooler")
        assert (after(LOST).mode, after(LOST).mode_cause) == ("poll_only", "unreachable")
        assert after(LOST, HEARS).mode_cause == ""
