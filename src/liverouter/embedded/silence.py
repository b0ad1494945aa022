"""Whether a server says anything at all to a new connection: one that hangs runs, and does not."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Final

_EVERY_S: Final = 10.0  # after an answer
_PATIENCE_S: Final = 20  # for one answer
_MOST_MISSED: Final = 3  # in a row
_SSL_REQUEST: Final = struct.pack("!ii", 8, 80_877_103)  # answered with one byte, before any login


async def fallen_silent(host: str, port: int) -> None:
    """Return once the PostgreSQL at *host* and *port* was asked `_MOST_MISSED` times in a row and said nothing."""
    missed = 0
    while missed < _MOST_MISSED:
        if await _answers(host, port):
            missed = 0
            await asyncio.sleep(_EVERY_S)
        else:
            missed += 1


async def _answers(host: str, port: int) -> bool:
    """Tell whether a new connection is told anything, be it an error, within `_PATIENCE_S` seconds.

    They are counted one by one: of a machine that slept, or gave this process no turn, a minute is one of them.
    Whatever keeps this process from asking says nothing about the server; what nobody foresaw is raised.
    """
    asking = asyncio.create_task(_ask(host, port))
    try:
        for _ in range(_PATIENCE_S):
            if (await asyncio.wait({asking}, timeout=1.0))[0]:
                asking.result()
                return True
        return False
    finally:
        asking.cancel()


async def _ask(host: str, port: int) -> None:
    """Connect and wait for the first byte, or for the end."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(_SSL_REQUEST)
            await reader.read(1)
        finally:
            writer.close()
