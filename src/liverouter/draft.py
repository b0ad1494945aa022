"""A config that is not stored yet: the stored rows with changes laid over them. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from liverouter.raw import RawConfig, SealedSecret


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
