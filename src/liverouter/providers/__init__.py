"""The providers, one file each. The core knows them by these tables alone.

To add one: its file with a `SPEC`, its line in `_SPECS`, and a stand-in that speaks its dialect in `testing`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from liverouter.providers.native import NativeModel
from liverouter.providers.spec import NO_HOSTS, Contents, Field, History, ProviderSpec, is_claude
from liverouter.secrecy.sealing import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.providers.parameters import Api
    from liverouter.revision import Deployment, Snapshot

__all__ = [
    "ALIASES",
    "NO_HOSTS",
    "OWNERS",
    "PROVIDERS",
    "REJECTED",
    "Contents",
    "Field",
    "History",
    "NativeModel",
    "ProviderSpec",
    "api_of",
    "is_claude",
    "native_model",
    "sent_secrets",
    "spec_of",
]

if TYPE_CHECKING:  # whoever checks code that uses us is spared the thousands of modules of the providers' libraries
    _SPECS: tuple[ProviderSpec, ...]
else:
    from liverouter.providers import anthropic, azure, compatible, litellm, openai, snowflake, vertex

    _SPECS = (
        anthropic.SPEC,
        azure.SPEC,
        openai.SPEC,
        snowflake.SPEC,
        vertex.SPEC,
        compatible.SPEC,
        litellm.SPEC,
    )

PROVIDERS: Final[Mapping[str, ProviderSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})

# A secret's name -> the provider whose credential it is.
OWNERS: Final[Mapping[str, ProviderSpec]] = MappingProxyType(
    {name: spec for spec in _SPECS for name in spec.secret_names}
)

# What people type -> the provider that is meant; for hints alone.
ALIASES: Final[Mapping[str, str]] = MappingProxyType({alias: spec.name for spec in _SPECS for alias in spec.aliases})

# A setting that its provider cannot use -> what to store instead.
REJECTED: Final[Mapping[str, str]] = MappingProxyType(
    {name: hint for spec in _SPECS for name, hint in spec.rejected.items()}
)


def spec_of(deployment: Deployment) -> ProviderSpec:
    """Return the provider of *deployment*."""
    return PROVIDERS[deployment.provider]


def api_of(deployment: Deployment, *, native: bool) -> Api:
    """Return which parameters the API of *deployment* takes; *native*: asked by its LangChain class."""
    own = native_model(deployment).parameters if native else None
    return own or spec_of(deployment).parameters(deployment.model)


def sent_secrets(snapshot: Snapshot) -> tuple[Secret, ...]:
    """Return the secrets of all deployments, in each form that is stored or sent: what an error is cleared of."""
    stored = [secret for deployment in snapshot.deployments for secret in deployment.secrets.values()]
    sent = [
        Secret(field.sent_as(deployment.secrets[field.name].reveal()))
        for deployment in snapshot.deployments
        for field in spec_of(deployment).secrets
        if field.sent_as is not None and field.name in deployment.secrets
    ]
    return tuple(dict.fromkeys((*stored, *sent)))


def native_model(deployment: Deployment) -> NativeModel:
    """Return the LangChain class that serves *deployment* without litellm."""
    return spec_of(deployment).native(deployment.model)
