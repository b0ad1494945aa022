"""A config that is not stored yet: the stored rows with changes laid over them. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from liverouter.errors import SecretError
from liverouter.raw import SealedSecret
from liverouter.sealing import Secret, fingerprint, seal
from liverouter.sealing import open as unseal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from liverouter.raw import RawConfig
    from liverouter.sealing import Keyring


def seal_over(raw: RawConfig | None, name: str, secret: Secret, keyring: Keyring | None) -> SealedSecret:
    """Return *secret* sealed; the stored row itself where it holds the same one already, so that nothing changes.

    Raises:
        SecretError: there is no keyring (LR501).
    """
    stored = raw.secrets.get(name) if raw is not None else None
    if stored is not None and keyring is not None and stored.sealed.split(":")[1:2] == [keyring.newest]:
        try:
            if unseal(name, stored.sealed, keyring) == secret:
                return stored
        except SecretError:
            pass  # damaged: sealed anew
    return SealedSecret(seal(name, secret, keyring), fingerprint(secret))


def lay_over(
    raw: RawConfig,
    *,
    settings: Mapping[str, object] | None = None,
    secrets: Mapping[str, SealedSecret] | None = None,
    remove: Collection[str] = (),
) -> RawConfig:
    """Return *raw* with *settings* and *secrets* in it, and without the settings and secrets that *remove* names."""
    return replace(
        raw,
        settings={k: v for k, v in raw.settings.items() if k not in remove} | dict(settings or {}),
        secrets={k: v for k, v in raw.secrets.items() if k not in remove} | dict(secrets or {}),
    )
