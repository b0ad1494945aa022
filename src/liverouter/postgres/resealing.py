"""What a rotation of keys does to the envelopes that are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liverouter.errors import SecretError
from liverouter.secrecy.sealing import open as unseal, seal, sealed_key_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import asyncpg

    from liverouter.secrecy.sealing import Keyring


@dataclass(frozen=True, slots=True)
class Resealed:
    """What a rotation did.

    Attributes:
        revision: the head now; a new one where a secret in force was sealed anew.
        renewed: how many distinct values are sealed with the newest key since, history included.
        lost: key id -> how many values of the history no key here opens; they are left as they are. Under "unknown"
            those that are no sealed values, which were written past the triggers.
    """

    revision: int
    renewed: int
    lost: Mapping[str, int]


def resealed(found: Iterable[asyncpg.Record], keyring: Keyring) -> tuple[dict[str, str], dict[str, int]]:
    """Return old envelope -> new envelope, and per lost key id how many envelopes of the history it keeps shut.

    *found* are rows of `sql.SEALED_OTHERWISE`. Raises the SecretError of a secret in force.
    """
    renewed: dict[str, str] = {}
    lost: dict[str, int] = {}
    for row in found:
        try:
            renewed[row["sealed"]] = seal(row["name"], unseal(row["name"], row["sealed"], keyring), keyring)
        except SecretError:
            if row["current"]:
                raise
            key_id = sealed_key_id(row["sealed"]) or "unknown"
            lost[key_id] = lost.get(key_id, 0) + 1
    return renewed, lost
