"""Any sequence of writes, faults and restarts: every activation is one whole committed revision, and none goes back.

Once all is quiet, the newest good revision is live everywhere.
"""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from liverouter import LiveRouter
from liverouter.events import ConfigApplied, Event
from liverouter.postgres.repository import SettingsRepository
from tests.faults.bounds import QUIET
from tests.kit.follower import QUICK
from tests.kit.postgres.proxy import FaultProxy, is_config_notification
from tests.kit.waiting import until

if TYPE_CHECKING:
    from tests.kit.admin import Admin

pytestmark = pytest.mark.usefixtures("native")  # nothing here depends on the engine

FORK_S = 120.0


class Instance:
    """One client, restarted at will, and every activation it made."""

    def __init__(self, dsn: str) -> None:
        """Start a client of *dsn*."""
        self._dsn = dsn
        self.applied: list[tuple[str, int, str, float]] = []  # epoch, revision, model, timeout_s
        self.start()

    def start(self) -> None:
        """Start a client."""
        self.live = LiveRouter(database_url=self._dsn, observers=(self._observe,), **QUICK)
        self.since = len(self.applied)
        self.live.start()

    def restart(self) -> None:
        """Close the client and start another."""
        self.live.close()
        self.start()

    def _observe(self, event: Event) -> None:
        generation = self.live.store.current
        if isinstance(event, ConfigApplied) and generation is not None:
            snapshot = generation.snapshot
            self.applied.append((snapshot.epoch, snapshot.revision, snapshot.primary.model, snapshot.timeout_s))


class Machine(RuleBasedStateMachine):
    """Writers, faults and two instances: one behind a faulty network, one beside it."""

    def __init__(self, admin: Admin, proxy: FaultProxy, quiet_s: float) -> None:
        """Start both instances, which have *quiet_s* to catch up."""
        super().__init__()
        self.admin, self.proxy, self.quiet_s = admin, proxy, quiet_s
        self.number = admin.revision
        self.write_by_sql()
        self.instances = [Instance(proxy.dsn), Instance(admin.dsn)]
        self.frozen = False

    def _rows(self, provider: str) -> dict[str, Any]:
        """Two rows that must never be seen apart."""
        self.number += 1
        return {"llm_provider": provider, "llm_model": f"m{self.number}", "litellm_timeout": 100 + self.number}

    @rule()
    def write_by_repository(self) -> None:
        """A good revision, as the page and the command line write it."""
        asyncio.run(self._write(self._rows("openai")))

    async def _write(self, rows: dict[str, Any]) -> None:
        repository = SettingsRepository(url=self.admin.dsn)
        try:
            await repository.write(rows)
        finally:
            await repository.close()

    @rule()
    def write_by_sql(self) -> None:
        """A good revision, in psql."""
        self.admin.set(**self._rows("openai"))

    @rule()
    def write_badly(self) -> None:
        """A revision that no instance may apply."""
        self.admin.set(**self._rows("opnai"))

    @rule(back=st.integers(1, 5))
    def roll_back(self, back: int) -> None:
        """An older revision, good or bad, once more."""
        self.admin.execute("SELECT liverouter.rollback(%s)", max(1, self.admin.revision - back))

    @rule(payload=st.sampled_from(["", "0", "999999", "garbage", "\u2603" * 100]))
    def forge_notification(self, payload: str) -> None:
        """A notification that says nothing true."""
        self.admin.execute("SELECT pg_notify('liverouter', %s)", payload)

    @rule()
    def lose_notifications(self) -> None:
        """From now on, notifications are lost on the way."""
        self.proxy.rewrite(lambda frame: [] if is_config_notification(frame) else [frame])

    @rule()
    def drop_connections(self) -> None:
        """Every connection of the first instance breaks."""
        self.proxy.reset()

    @precondition(lambda self: not self.frozen)
    @rule()
    def freeze_connections(self) -> None:
        """The first instance's packets vanish."""
        self.frozen = True
        self.proxy.black_hole()

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        """An instance ends and starts anew."""
        self.instances[which].restart()

    @precondition(lambda self: not self.frozen)
    @rule()
    def fork(self) -> None:
        """A child made now follows by itself, and leaves the parent's connections alone."""
        revision = self.admin.set(**self._rows("openai"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of every fork beside threads
            pid = os.fork()
        if not pid:
            _serve_as_child(self.instances[1].live, revision)
        _, status = os.waitpid(pid, 0)  # it has an alarm clock
        assert os.waitstatus_to_exitcode(status) == 0

    @rule()
    def calm_down(self) -> None:
        """Every fault ends: the newest good revision goes live everywhere."""
        self.proxy.heal()
        self.frozen = False
        revision = self.admin.set(**self._rows("openai"))
        for instance in self.instances:
            until(lambda i=instance: i.live.status().revision == revision, self.quiet_s, "the newest revision")  # type: ignore[misc]
            assert instance.live.chat_model().invoke("hi").content == f"m{self.number} says: hi"

    @invariant()
    def every_activation_is_a_whole_committed_revision(self) -> None:
        """What went live stands in the history, whole, and was good."""
        query = "SELECT revision, content FROM liverouter.revision_log"
        history: dict[int, dict[str, Any]] = dict(self.admin.connection.execute(query).fetchall())
        for instance in getattr(self, "instances", []):
            for _, revision, model, timeout_s in list(instance.applied):
                content = history[revision]
                assert (content["llm_provider"], content["llm_model"]) == ("openai", model)
                assert content["litellm_timeout"] == timeout_s

    @invariant()
    def no_revision_goes_back(self) -> None:
        """Within an epoch and a life of a client, revisions only grow."""
        for instance in getattr(self, "instances", []):
            life = [(epoch, revision) for epoch, revision, _, _ in list(instance.applied)[instance.since :]]
            assert life == sorted(life)
            assert len(set(life)) == len(life)

    def teardown(self) -> None:
        """Calm down, then end both instances."""
        try:
            self.calm_down()
        finally:
            self.proxy.heal()
            for instance in self.instances:
                instance.live.close()


def _serve_as_child(live: LiveRouter, revision: int) -> None:
    """In a forked child: become live on *revision*, answer, and end without a word."""
    code = 1
    try:
        signal.alarm(int(FORK_S))  # a child that hangs ends
        until(lambda: live.wait_ready(FORK_S).snapshot.revision >= revision, FORK_S)
        code = 0 if live.chat_model().invoke("hi").content else 2
    finally:
        os._exit(code)


@pytest.mark.timeout(400)
def test_any_sequence_of_writes_and_faults_ends_on_the_newest_revision(admin: Admin, proxy: FaultProxy) -> None:
    """Writes good and bad, rollbacks, notifications forged and lost, connections broken and frozen, restarts, forks."""
    run_state_machine_as_test(
        lambda: Machine(admin, proxy, QUIET.limit),  # type: ignore[arg-type]  # a factory serves as well as a class
        settings=settings(
            max_examples=8,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),  # an example takes seconds: shrinking one would take an hour
            suppress_health_check=list(HealthCheck),
        ),
    )
