"""One revision: `Rows`, as it is read, with sealed secrets; and `Snapshot`, as it is once validated.

All of it is immutable. `config/validate.py` makes a Snapshot of Rows; a generation is built of a Snapshot alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from liverouter.secrecy.sealing import Secret

Role = Literal["primary", "fallback"]
DEFAULT_NAME: Final = "default"  # of the model that `llm_provider`, `llm_model`, … describe
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """One row of `liverouter.secrets`.

    Attributes:
        sealed: the encrypted text, ``v1:<key id>:<nonce>:<ciphertext>``.
        fingerprint: tells it from another: 8 hex digits, see `sealing.fingerprint`.
        origins: where it may be sent, beside its provider's own hosts; see `origins.origin_of`.
    """

    sealed: str = field(repr=False)
    fingerprint: str
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """The newest revision. Compare two of them by inequality: a restore or a failover may go back.

    Attributes:
        epoch: the database's line of history, `liverouter.epoch()`.
        change_id: a UUID, new with every change.
        report_whole: the database knew nothing of the instance that reported, which is to send every key next.
    """

    epoch: str
    revision: int
    change_id: str
    report_whole: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """One revision, read whole in one snapshot of the database; not validated.

    Attributes:
        committed_at: UTC, by the database's clock.
        age_ms: the milliseconds from then until it was read, by the database's clock.
        settings: name -> JSON value.
        secrets: name -> what is stored.
        standby: it was read from a standby, which may lag behind its primary.
    """

    epoch: str
    revision: int
    change_id: str
    committed_at: datetime
    age_ms: float
    settings: Mapping[str, object]
    secrets: Mapping[str, SealedSecret]
    standby: bool = False

    @property
    def head(self) -> Head:
        """Return which revision this is."""
        return Head(self.epoch, self.revision, self.change_id)

    def says_what(self, other: Rows) -> bool:
        """Tell whether settings and secrets are those of *other*."""
        return self.settings == other.settings and self.secrets == other.secrets


@dataclass(frozen=True, slots=True)
class Deployment:
    """One provider + model + credentials that a Router may send a call to, under one name.

    Attributes:
        id: ``anthropic/claude-sonnet-4-6#1f2e3d4c``, with a digest of all that changes where a call goes; the same
            place has the same id under every name.
        provider: a key of `providers.PROVIDERS`.
        model: as the provider names it; where the user names deployments, the deployment.
        order: 1 is the primary's; a higher one is tried when the lower ones failed.
        weight: share of the traffic within one order, above 0 and up to 1000.
        settings: the provider's fields that are not secret, by setting name, normalised.
        secrets: the provider's secret fields, by setting name.
        endpoint: origin and path that calls go to, as far as known; for people.
        credential_source: "secret openai_api_key", "environment OPENAI_API_KEY", "file …", "ambient".
        credential_fingerprint: 8 hex digits; "" for ambient credentials.
        name: of the model whose calls it serves.
        params: what rows have it sent, by the names of `providers.parameters.KINDS`, as its model takes it.
        timeout_s: seconds for one attempt.
        first_token_timeout_s: seconds until a stream begins to say something; None where `timeout_s` bounds that, too.
        profile: fields of a ModelProfile that the row states, over what is known of the model.
    """

    id: str
    provider: str
    model: str
    role: Role
    order: int
    weight: float
    settings: Mapping[str, str]
    secrets: Mapping[str, Secret]
    endpoint: str
    credential_source: str
    credential_fingerprint: str
    name: str = DEFAULT_NAME
    params: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    timeout_s: float = 120.0
    first_token_timeout_s: float | None = None
    profile: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)

    @property
    def label(self) -> str:
        """Return ``provider/model``, for people."""
        return f"{self.provider}/{self.model}"

    @property
    def temperature(self) -> float | None:
        """Return the configured temperature, None where none is sent."""
        return self.params.get("temperature")

    @property
    def max_tokens(self) -> int | None:
        """Return the configured limit of an answer, None where none is sent."""
        return self.params.get("max_tokens")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One name of a revision: which deployments serve it.

    Attributes:
        name: "default", or NAME of a row ``llm:NAME``.
        deployments: by order, at least one; the first is the primary.
        identity: what answers depend on (provider, model, parameters), as 16 hex digits; keys LLM caches.
    """

    name: str
    deployments: tuple[Deployment, ...]
    identity: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work the identity out once: every call is traced under it."""
        said = [[d.provider, d.model, sorted(d.settings.items()), dict(d.params)] for d in self.deployments]
        object.__setattr__(self, "identity", _digest(*said))

    @property
    def primary(self) -> Deployment:
        """Return the deployment of the lowest order."""
        return self.deployments[0]

    @property
    def fallbacks(self) -> tuple[Deployment, ...]:
        """Return every deployment behind the primary."""
        return self.deployments[1:]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole revision, ready to be built.

    Attributes:
        epoch: the database's line of history, `liverouter.epoch()`.
        change_id: new at every change; tells two revisions of one number apart.
        committed_at: UTC, by the database's clock.
        deployments: of all names, those of "default" first, of each name by order.
        model_name: the logical name of "default" in the Router, in traces and metrics; another name has its own.
        num_retries: tries on one deployment for 5xx before the next.
        allowed_fails: failures that a deployment may have before it cools.
        cooldown_time_s: how long it then cools.
        timeout_s: of one attempt, where a deployment has no time of its own.
        check_streams: a stream without its finish marker is cut off.
        models: the names, each with its deployments.
        alert_webhook: the URL that gets a post when `problems` gains or loses an error; None for none.
        probe_interval_h: hours after which a deployment that nobody called is asked; None for never.
    """

    epoch: str
    revision: int
    change_id: str
    committed_at: datetime
    deployments: tuple[Deployment, ...]
    litellm_enable: bool = True
    model_name: str = "ekaiX-model"
    num_retries: int = 2
    allowed_fails: int = 3
    cooldown_time_s: float = 60.0
    timeout_s: float = 120.0
    check_streams: bool = True
    alert_webhook: Secret | None = None
    probe_interval_h: float | None = None
    models: Mapping[str, ModelConfig] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the deployments by name."""
        found: dict[str, list[Deployment]] = {}
        for deployment in self.deployments:
            found.setdefault(deployment.name, []).append(deployment)
        models = {name: ModelConfig(name, tuple(deployments)) for name, deployments in found.items()}
        object.__setattr__(self, "models", MappingProxyType(models))

    @property
    def primary(self) -> Deployment:
        """Return the primary of "default"."""
        return self.models[DEFAULT_NAME].primary

    @property
    def tries(self) -> int:
        """Return how often one deployment is asked when it answers 5xx; at least once."""
        return max(self.num_retries, 1)

    @property
    def fallbacks(self) -> tuple[Deployment, ...]:
        """Return the fallbacks of "default"."""
        return self.models[DEFAULT_NAME].fallbacks

    @property
    def digest(self) -> str:
        """Return what calls depend on, of credentials the fingerprints, as 16 hex digits."""
        return _digest(
            [self.litellm_enable, self.model_name, self.num_retries, self.allowed_fails, self.cooldown_time_s],
            [self.timeout_s, self.check_streams],
            *[
                [
                    d.name,
                    d.id,
                    d.role,
                    d.order,
                    d.weight,
                    dict(d.params),
                    d.timeout_s,
                    d.first_token_timeout_s,
                    sorted(d.profile.items()),
                    d.credential_source,
                    sorted(d.settings.items()),
                ]
                for d in self.deployments
            ],
        )

    def serves_like(self, other: Snapshot) -> bool:
        """Tell whether calls under *other* go where they go under this one, with equal parameters and credentials."""
        return self.digest == other.digest and [d.secrets for d in self.deployments] == [
            d.secrets for d in other.deployments
        ]


def deployment_id(provider: str, model: str, settings: Mapping[str, str], fingerprint: str) -> str:
    """Return the deterministic id of a deployment: equal arguments give equal ids, in every process."""
    return f"{provider}/{model}#{_digest([provider, model, sorted(settings.items()), fingerprint])[:8]}"


def _digest(*parts: object) -> str:
    """Return 16 hex digits of *parts*, whose mappings may be in any order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
