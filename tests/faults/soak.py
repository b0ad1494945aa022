"""A long run of faults under load: ``python3 run.py soak --minutes N``.

Three processes call without a pause while settings are written four times a second and, one after the other, faults
come and go: notifications lost and forged, connections broken and black-holed, bad rows, a frozen, restarted, crashed
server, frozen processes, a provider that fails. Ends with 1 where a call failed, a revision came later than its bound,
memory or descriptors grew.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

sys.path.insert(0, str(Path(__file__).parents[2]))

import psycopg

from liverouter.testing import StandIn
from tests.faults.swaps import measure_swaps
from tests.kit.admin import Admin
from tests.kit.postgres.cluster import Cluster, Seed
from tests.kit.postgres.proxy import FaultProxy, is_config_notification
from tests.kit.processes import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND_S: Final = 20.0  # from the end of a fault, or the commit: a read that hangs is given up after 12 s, then retried
GROWTH_MB: Final = 10.0  # of one process, after its warm-up
GROWTH_DESCRIPTORS: Final = 10
WRITE_EVERY_S: Final = 0.25
WARM_UP_S: Final = 20.0


class Writer:
    """Writes good revisions all the time, whatever happens to the server, and remembers when each was committed."""

    def __init__(self, admin: Admin) -> None:
        """Prepare; *admin*'s connection is this thread's from now on."""
        self._admin = admin
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self.committed: list[tuple[int, float]] = []  # revision, monotonic time; newest last
        self.count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._ended.wait(WRITE_EVERY_S):
            try:
                revision = self._admin.set(llm_provider="openai", llm_model=f"m{self.count}")
            except psycopg.Error:
                self._reconnect()
                continue
            self.count += 1
            self.committed.append((revision, time.monotonic()))
            del self.committed[:-200]

    def _reconnect(self) -> None:
        try:
            self._admin.reconnect()
        except psycopg.Error:
            self._ended.wait(0.2)


class Soak:
    """Everything that runs, and what was seen."""

    def __init__(self, stack: ExitStack, seed: int) -> None:
        """Start it all; takes a quarter of a minute."""
        self.random = random.Random(seed)  # noqa: S311 - a replay of the same faults
        data = Seed()
        stack.callback(data.remove)
        self.primary = stack.enter_context(StandIn("openai", keep=100))
        fallback = stack.enter_context(StandIn("anthropic", keep=100))
        self.cluster: Cluster = stack.enter_context(data.grow())
        admin = Admin(self.cluster.dsn)
        admin.set(
            llm_provider="openai",
            llm_model="first",
            openai_api_base=self.primary.api_base,
            anthropic_api_base=fallback.api_base,
            llm_fallback_config={"provider": "anthropic", "model": "claude-sonnet-4-6"},
        )
        self.spoiler = Admin(self.cluster.dsn)
        self.proxies = [stack.enter_context(FaultProxy(self.cluster.dsn)) for _ in range(2)]
        dsns = [*(p.dsn for p in self.proxies), self.cluster.dsn]
        self.workers = [stack.enter_context(Worker(dsn, LITELLM_ENABLE="true", WORKER_THREADS="2")) for dsn in dsns]
        self.writer = stack.enter_context(Writer(admin))
        self.faults: dict[str, int] = {}
        self.last = ""
        self.calm_since = time.monotonic()
        self.in_fault = False
        self.worst_s = 0.0

    def rest(self, seconds: float) -> None:
        """Let time pass, and look for revisions that are late."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if not self.in_fault:
                self.worst_s = max(self.worst_s, self.staleness_s(now))
            time.sleep(0.02)

    def staleness_s(self, now: float) -> float:
        """Return how long the oldest revision that some worker lacks has been due."""
        due = [
            at for worker in self.workers for revision, at in list(self.writer.committed) if revision > worker.revision
        ]
        return now - max(min(due), self.calm_since) if due else 0.0

    def inject(self) -> None:
        """Have one fault come and go, then wait until everybody has caught up."""
        fault = self.random.choice(FAULTS)
        self.last = fault.__name__
        self.faults[self.last] = self.faults.get(self.last, 0) + 1
        self.in_fault = True
        try:
            fault(self)
        finally:
            self.in_fault, self.calm_since = False, time.monotonic()
        self.rest(1.0)
        while (late_s := self.staleness_s(time.monotonic())) > 1.0 and late_s < 2 * BOUND_S:
            self.rest(0.2)

    def standings(self) -> list[dict[str, Any]]:
        """Ask every worker."""
        return [worker.ask(30) for worker in self.workers]


def notifications_lost(soak: Soak) -> None:
    """No notification arrives for a while."""
    for proxy in soak.proxies:
        proxy.rewrite(lambda frame: [] if is_config_notification(frame) else [frame])
    soak.rest(4)
    for proxy in soak.proxies:
        proxy.rewrite(None)


def notifications_forged(soak: Soak) -> None:
    """A stranger floods the channel."""
    for number in range(500):
        soak.spoiler.execute("SELECT pg_notify('liverouter', %s)", str(number * 7919))


def listeners_terminated(soak: Soak) -> None:
    """An admin ends all listening sessions."""
    soak.spoiler.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'liverouter-listen%%'"
    )


def connections_reset(soak: Soak) -> None:
    """Every connection of one worker breaks."""
    soak.random.choice(soak.proxies).reset()


def black_hole(soak: Soak) -> None:
    """The packets of one worker vanish."""
    proxy = soak.random.choice(soak.proxies)
    proxy.black_hole()
    soak.rest(soak.random.uniform(1, 8))
    proxy.heal()


def connects_hang(soak: Soak) -> None:
    """New connections hang, the open ones are ended."""
    for proxy in soak.proxies:
        proxy.hang_new()
        proxy.reset()
    soak.rest(3)
    for proxy in soak.proxies:
        proxy.heal()
        proxy.reset()  # those that hang would go on doing so until their timeout


def bad_row(soak: Soak) -> None:
    """A row that nobody can use; the writer's next revision mends it."""
    soak.spoiler.set(llm_provider="opnai")


def server_frozen(soak: Soak) -> None:
    """Every process of the server stands still."""
    soak.cluster.freeze()
    soak.rest(soak.random.uniform(1, 5))
    soak.cluster.thaw()


def server_restarted(soak: Soak) -> None:
    """The server stops and starts."""
    soak.cluster.stop()
    soak.rest(soak.random.uniform(0, 3))
    soak.cluster.start()
    soak.spoiler.reconnect()


def server_crashed(soak: Soak) -> None:
    """The server ends as in a power cut, and recovers."""
    soak.cluster.crash()
    soak.cluster.start()
    soak.spoiler.reconnect()


def worker_frozen(soak: Soak) -> None:
    """One process stands still."""
    worker = soak.random.choice(soak.workers)
    worker.signal(signal.SIGSTOP)
    soak.rest(soak.random.uniform(1, 6))
    worker.signal(signal.SIGCONT)


def provider_fails(soak: Soak) -> None:
    """The primary answers 500; the fallback carries the calls."""
    soak.primary.fail("500")
    soak.rest(3)
    soak.primary.heal()


FAULTS: Final[tuple[Callable[[Soak], None], ...]] = (
    notifications_lost,
    notifications_forged,
    listeners_terminated,
    connections_reset,
    black_hole,
    connects_hang,
    bad_row,
    server_frozen,
    server_restarted,
    server_crashed,
    worker_frozen,
    provider_fails,
)


def main(argv: list[str]) -> int:
    """Run, print what was seen, return 1 where something must not be."""
    parser = argparse.ArgumentParser(prog="run.py soak", description="Inject faults under load for a long time.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument("--swaps", type=int, default=10_000, help="swaps in one process, measured at the end")
    parser.add_argument("--seed", type=int, default=1, help="which sequence of faults")
    options = parser.parse_args(argv)
    os.environ |= {"OPENAI_API_KEY": "sk-soak", "ANTHROPIC_API_KEY": "sk-ant-soak", "LIVEROUTER_LOG_LEVEL": "error"}
    with ExitStack() as stack:
        print("starting a server, two providers, three processes …", flush=True)
        soak = Soak(stack, options.seed)
        end = time.monotonic() + options.minutes * 60
        soak.rest(min(WARM_UP_S, options.minutes * 15))
        first = soak.standings()
        while time.monotonic() < end:
            soak.inject()
            _progress(soak, end)
        soak.rest(2.0)
        last = soak.standings()
        sound = _report(soak, first, last)
    return 0 if measure_swaps(options.swaps, limit_mb=GROWTH_MB) and sound else 1


def _progress(soak: Soak, end: float) -> None:
    left = max(0.0, end - time.monotonic())
    print(
        f"{left:6.0f} s left  faults {sum(soak.faults.values()):4}  revisions {soak.writer.count:6}"
        f"  worst staleness {soak.worst_s:5.2f} s  ({soak.last})",
        flush=True,
    )


def _report(soak: Soak, first: list[dict[str, Any]], last: list[dict[str, Any]]) -> bool:
    calls, failed = sum(s["calls"] for s in last), sum(s["failed"] for s in last)
    print(f"\ncalls                {calls}, of which failed {failed}")
    for standing in last:
        for failure in standing["failures"]:
            print(f"  {failure}")
    print(f"revisions            {soak.writer.count} written; applied last: {[w.revision for w in soak.workers]}")
    print(f"faults               {', '.join(f'{name} {count}' for name, count in sorted(soak.faults.items()))}")
    print(f"worst staleness      {soak.worst_s:.2f} s of {BOUND_S:g} s allowed")
    sound = not failed and soak.worst_s <= BOUND_S
    for number, (before, after) in enumerate(zip(first, last, strict=True), start=1):
        growth = after["rss_mb"] - before["rss_mb"]
        more = after["descriptors"] - before["descriptors"]
        print(
            f"process {number}            RSS {before['rss_mb']:.0f} → {after['rss_mb']:.0f} MB,"
            f" descriptors {before['descriptors']} → {after['descriptors']}, state {after['state']}"
        )
        sound = sound and growth < GROWTH_MB and more < GROWTH_DESCRIPTORS
    return sound


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
