"""What the database holds, as read: the frozen input of `config.validate`. Pure, imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """One row of `liverouter.secrets`: encrypted, and a fingerprint that tells it from another."""

    sealed: str = field(repr=False)  # "v1:<key id>:<nonce>:<ciphertext>"
    fingerprint: str  # 8 hex digits, see sealing.fingerprint
    origins: tuple[str, ...] = ()  # where it may be sent, beside its provider's own hosts; see `origins.origin_of`


@dataclass(frozen=True, slots=True)
class Head:
    """The newest revision. Compare two of them by inequality: a restore or a failover may go back."""

    epoch: str  # the database's line of history, liverouter.epoch()
    revision: int
    change_id: str  # new with every change, a UUID
    report_whole: bool = False  # the database knew nothing of the instance that reported: send every key next


@dataclass(frozen=True, slots=True)
class RawConfig:
    """One revision, read whole in one snapshot of the database; not validated."""

    epoch: str
    revision: int
    change_id: str
    committed_at: datetime  # UTC, by the database's clock
    age_ms: float  # now - committed_at when it was read, both by the database's clock
    settings: Mapping[str, object]  # key -> JSON value
    secrets: Mapping[str, SealedSecret]
    standby: bool = False  # read from a standby, which may lag behind its primary

    @property
    def head(self) -> Head:
        """Return which revision this is."""
        return Head(self.epoch, self.revision, self.change_id)
