"""How long what was committed may take to be live: from the commit or, where that is later, from the fault's end.

The README's table of faults quotes the words of the longest bound that a test waits for. A test fails only at the
limit, which a busy machine does not reach: a way that is missing or does not work takes minutes, or never ends.
Imports nothing of its own: the README's tables are made from it alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

ROOM_S: Final = 25.0  # what a busy machine may add
# Until LISTEN is won back: its longest pause between two tries, and the pauses grow with the time that it was away.
LISTEN_S: Final = 30.0 + ROOM_S


class Bound(NamedTuple):
    """One bound."""

    words: str  # for the README, with the default intervals
    promised: float  # with the intervals of `follower.QUICK`; seconds, where nothing is said
    room: float = ROOM_S

    @property
    def limit(self) -> float:
        """Where a test fails."""
        return self.promised + self.room


AT_ONCE: Final = Bound("milliseconds", 0.0)
RECONNECTED: Final = Bound("0.2 s + time to connect", 0.2)
RESTARTED: Final = Bound("1.8 s + time to connect", 1.8)
WOKEN: Final = Bound("1 s, over which a fleet spreads its reads", 1.0)
BURST: Final = Bound("2 s + one reload", 2.0)
POLLED_KNOWINGLY: Final = Bound("5 s: two polls of 2 s ± 20 %", 2 * 1.2)
RETRIED: Final = Bound("5 s + time to connect", 5.0)
PROMOTED: Final = Bound("5 s + time to connect, per host", 5.0 + 0.1)
CONNECT_HANGS: Final = Bound("10 s: a connect that hangs is given up after 5 s, retried within 5 s", 10.0)
MISSED_PROBE: Final = Bound("16 s: one probe interval ± 20 %, and 4 s for an answer", 0.6 + 4.0)
READ_HANGS: Final = Bound("17 s: a read is given up after 12 s, retried within 5 s", 17.0)
POLLED: Final = Bound("36 s: one poll interval ± 20 %", 1.2)
SLOW_LINE: Final = Bound("what the line takes for 5 kB", 5.0)
REFILED: Final = Bound("96 s: a minute, and one poll interval ± 20 %", 0.1 + 1.2)  # tests: 0.1 s for the minute
MOVED: Final = Bound(
    "149 s: a look every 120 s ± 20 % where the DSN leads, and a connect timeout of 5 s", 5.0
)  # tests: 1 s
UNDER_LOAD: Final = Bound("one reload beside that load", 10.0)
FORKED: Final = Bound("the child's first call, which starts its client", 60.0, room=90.0)
CLOSED: Final = Bound("8 s until the process has ended", 8.0)
EXITED: Final = Bound("3 s until the process has ended", 3.0)
GONE: Final = Bound("nothing is left when it returns", 10.0)  # until PostgreSQL shows it, too
QUIET: Final = Bound("20 s after the last fault", 20.0)
GROWTH: Final = Bound("10 MB", 10.0, room=0.0)  # megabytes
