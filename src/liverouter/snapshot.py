"""One revision, validated and immutable: what `config.validate` makes and everything behind it is built from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from liverouter.sealing import Secret

Role = Literal["primary", "fallback"]
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Deployment:
    """One provider + model + credentials that a Router may send a call to."""

    id: str  # "anthropic/claude-sonnet-4-6#1f2e3d4c": digest of all that changes where a call goes
    provider: str  # a key of providers.PROVIDERS
    model: str  # as the provider names it; azure-openai: the deployment
    role: Role
    order: int  # 1 = primary; a higher order is tried when the lower ones failed
    weight: int  # share of traffic within one order, 1..1000
    settings: Mapping[str, str]  # the provider's non-secret fields by setting name, normalised
    secrets: Mapping[str, Secret]  # the provider's secret fields by setting name
    endpoint: str  # origin and path that calls go to, as far as known; for people
    credential_source: str  # "secret openai_api_key", "environment OPENAI_API_KEY", "file …", "ambient"
    credential_fingerprint: str  # 8 hex digits; "" for ambient credentials
    temperature: float | None = None
    max_tokens: int | None = None
    profile: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)  # row-level override of ModelProfile fields

    @property
    def label(self) -> str:
        """Return ``provider/model``, for people."""
        return f"{self.provider}/{self.model}"

    @property
    def params(self) -> dict[str, Any]:
        """Return the sampling parameters that are sent; empty where none is configured."""
        both = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in both.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole revision, ready to be built."""

    epoch: str  # the database's history line: liverouter.epoch()
    revision: int
    change_id: str  # new at every bump; tells two revisions of one number apart
    committed_at: datetime  # UTC, by the database's clock
    deployments: tuple[Deployment, ...]  # by order, at least one; the first is the primary
    litellm_enable: bool = True
    model_name: str = "ekaiX-model"  # the logical name in the Router, traces and metrics
    num_retries: int = 2  # tries on one deployment for 5xx before the next
    allowed_fails: int = 3  # failures that a deployment may have before it cools
    cooldown_time_s: float = 60.0
    timeout_s: float = 120.0  # of one attempt
    check_streams: bool = True  # treat a stream without its finish marker as cut off

    @property
    def primary(self) -> Deployment:
        """Return the deployment of the lowest order."""
        return self.deployments[0]

    @property
    def tries(self) -> int:
        """Return how often one deployment is asked when it answers 5xx; at least once."""
        return max(self.num_retries, 1)

    @property
    def fallbacks(self) -> tuple[Deployment, ...]:
        """Return every deployment behind the primary."""
        return self.deployments[1:]

    @property
    def digest(self) -> str:
        """Return what calls depend on, as 16 hex digits: equal for two revisions that serve alike."""
        return _digest(
            [self.litellm_enable, self.model_name, self.num_retries, self.allowed_fails, self.cooldown_time_s],
            [self.timeout_s, self.check_streams],
            *[
                [
                    d.id,
                    d.role,
                    d.order,
                    d.weight,
                    d.temperature,
                    d.max_tokens,
                    sorted(d.profile.items()),
                    d.credential_source,
                    sorted(d.settings.items()),
                ]
                for d in self.deployments
            ],
        )

    @property
    def identity(self) -> str:
        """Return what answers depend on (provider, model, parameters), as 16 hex digits; keys LLM caches."""
        return _digest(
            *[[d.provider, d.model, sorted(d.settings.items()), d.temperature, d.max_tokens] for d in self.deployments]
        )

    def serves_like(self, other: Snapshot) -> bool:
        """Tell whether calls under both would be the same, credentials included."""
        return self.digest == other.digest and [d.secrets for d in self.deployments] == [
            d.secrets for d in other.deployments
        ]


def deployment_id(provider: str, model: str, settings: Mapping[str, str], fingerprint: str) -> str:
    """Return the deterministic id of a deployment: the same credentials at the same place give the same id."""
    return f"{provider}/{model}#{_digest([provider, model, sorted(settings.items()), fingerprint])[:8]}"


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
