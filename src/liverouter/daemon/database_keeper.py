"""Has the daemon's own PostgreSQL run: notices that it ended or hangs, starts it anew, and gives up in the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from liverouter.embedded.silence import fallen_silent
from liverouter.errors import DatabaseError, Problem
from liverouter.events import LoopFailed, OwnDatabaseEnded, OwnDatabaseRestarted
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.embedded.server import EmbeddedPostgres
    from liverouter.events import Event

_LOOK_S: Final = 0.25  # between two looks at the server
_LOOK_AGAIN_S: Final = 10.0  # after a look that failed
_PAUSES_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)  # before each try
_STEADY_S: Final = 300.0  # that a server runs before its next end counts as the first; it takes 70 to notice a hang
_HINT: Final = "It is started again by itself; if that goes on, read postgres.log in the data folder"
_END: Final = "Read postgres.log in the data folder, mend what it says, and start `liverouter serve` again"


class DatabaseKeeper:
    """Watches one embedded server, which it alone starts and stops from then on. For one event loop.

    Whoever killed it, stopped it, told it to end or filled its disk: it is started again on the same data and port, at
    most as often as `_PAUSES_S` is long without `_STEADY_S` seconds of rest.

    Attributes:
        problem: why nobody can use it at the moment (LR225); None while it runs.
    """

    def __init__(self, server: EmbeddedPostgres, *, tell: Callable[[Event], None]) -> None:
        """Watch *server*, which runs; *tell* takes the events, in the loop of `run`."""
        self._server, self._tell = server, tell
        self.problem: Problem | None = None

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            DatabaseError: it cannot be kept running (LR225); the last reason is its cause.
        """
        tries, since = 0, time.monotonic()
        while True:
            try:
                reason = await self._until_down()
            except Exception as exc:  # noqa: BLE001 - our own fault and no sign of the server's, so it is not killed
                self._tell(LoopFailed("database keeper", brief(exc)))
                await asyncio.sleep(_LOOK_AGAIN_S)
                continue
            tries = 0 if time.monotonic() - since > _STEADY_S else tries
            tries = await self._restart(tries, reason)
            since = time.monotonic()

    async def _until_down(self) -> str:
        """Return why the server has to be started again, once it has; one that hangs is killed first."""
        silence = asyncio.create_task(fallen_silent(self._server.host, self._server.port))
        try:
            while not self._server.has_ended:
                if (await asyncio.wait({silence}, timeout=_LOOK_S))[0]:
                    silence.result()
                    await asyncio.to_thread(self._server.kill)
                    return "it answered nothing for a minute, and was killed"
        finally:
            silence.cancel()
        return "it ended, or was told to end"

    async def _restart(self, tries: int, reason: str) -> int:
        """Start the server again, which is down for *reason*; return how often it was tried, with *tries* of before.

        Raises:
            DatabaseError: there were too many (LR225).
        """
        while True:
            if tries == len(_PAUSES_S):
                raise _error(f"{reason}; gave up after {tries} tries", hint=_END)
            pause_s = _PAUSES_S[tries]
            tries += 1
            self.problem = _error(reason, hint=_HINT).problem
            self._tell(OwnDatabaseEnded(self.problem, tries, pause_s))
            await asyncio.sleep(pause_s)
            try:
                await asyncio.to_thread(self._server.restart)
            except DatabaseError as exc:
                reason = exc.message
            else:
                self.problem = None
                self._tell(OwnDatabaseRestarted(tries))
                return tries


def _error(why: str, *, hint: str) -> DatabaseError:
    """Return that the server is down, and *why*."""
    message = f"the PostgreSQL that liverouter serve runs is down: {why}"
    return DatabaseError(message, code="LR225", where="liverouter serve", hint=hint)
