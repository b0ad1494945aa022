"""A deployment without rows behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liverouter.revision import Deployment, deployment_id
from liverouter.secrecy.sealing import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping


def deployment(
    provider: str = "openai",
    model: str = "m",
    settings: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    **fields: Any,
) -> Deployment:
    """Return the primary of a config, as validation makes it; *fields* are further ones of the record."""
    return Deployment(
        id=deployment_id(provider, model, settings or {}, ""),
        provider=provider,
        model=model,
        role="primary",
        order=1,
        weight=1,
        settings=settings or {},
        secrets={name: Secret(value) for name, value in (secrets or {}).items()},
        endpoint="",
        credential_source="",
        credential_fingerprint="",
        **fields,
    )
