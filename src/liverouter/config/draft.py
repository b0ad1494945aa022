"""A config that is not stored yet: the stored rows with changes laid over them, secrets bound and sealed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from liverouter.config.settings import names_a_model
from liverouter.errors import SecretError
from liverouter.providers import PROVIDERS
from liverouter.revision import SealedSecret
from liverouter.secrecy.origins import origin_of
from liverouter.secrecy.sealing import Secret, fingerprint, no_keyring, open as unseal, seal, sealed_key_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from liverouter.providers import Field, ProviderSpec
    from liverouter.revision import Rows
    from liverouter.secrecy.sealing import Keyring


def origins_in_force(settings: Mapping[str, object], name: str) -> tuple[str, ...]:
    """Return the origins of the base URLs by which *settings* have the secret *name* used, sorted.

    They are what a secret is bound to when it is stored and no others are named. The database's
    `liverouter_internal.origins_in_force` returns them for what is written by SQL; a test holds the two together.
    """
    return tuple(
        sorted({origin for url in _bases(settings, name) if isinstance(url, str) and (origin := origin_of(url))})
    )


def _bases(settings: Mapping[str, object], name: str) -> Iterator[object]:
    """Yield the base URLs of rows and entries beside which the secret *name* is the credential."""
    for spec in PROVIDERS.values():
        if name in spec.secret_names:
            yield settings.get(spec.base.name)
    for entry in config_entries(settings):
        provider = entry.get("provider")
        user = PROVIDERS.get(provider.strip()) if isinstance(provider, str) else None
        if user is not None and name in _named(user, entry):
            own = _member(entry, user.base)
            yield settings.get(user.base.name) if own is None else own


def config_entries(settings: Mapping[str, object]) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of `llm_fallback_config`, each named model and its fallbacks, whatever *settings* hold."""
    lists = [settings.get("llm_fallback_config")]
    for key, value in settings.items():
        if names_a_model(key) and isinstance(value, Mapping):
            yield value
            lists.append(value.get("fallbacks"))
    for found in lists:
        yield from (e for e in (found if isinstance(found, list) else [found]) if isinstance(e, Mapping))


def _named(spec: ProviderSpec, entry: Mapping[str, Any]) -> Iterator[object]:
    """Yield the name of each secret that an entry asks for."""
    for field in spec.fields:
        if field.kind == "secret":
            reference = _member(entry, field)
            yield (
                field.name if reference is None else reference.get("secret") if isinstance(reference, Mapping) else None
            )


def _member(entry: Mapping[str, Any], field: Field) -> Any:
    """Return what an entry itself says of *field*, by its full name or its alias; None where it says nothing."""
    own = entry.get(field.name)
    return entry.get(field.alias) if own is None and field.alias else own


def sealed_unless_same(
    raw: Rows | None, name: str, secret: Secret, keyring: Keyring | None, *, origins: Sequence[str]
) -> SealedSecret:
    """Return *secret* sealed and bound to *origins*; the stored row itself where it holds that under the newest key.

    Raises:
        SecretError: there is no keyring (LR501); where others are stored, the hint asks for the one that sealed them.
    """
    bound = tuple(sorted(set(origins)))
    stored = raw.secrets.get(name) if raw is not None else None
    if keyring is None and raw is not None and raw.secrets:
        raise no_keyring(f"secrets.{name}", sealed_key_id(next(iter(raw.secrets.values())).sealed))
    if (
        stored is not None
        and keyring is not None
        and stored.origins == bound
        and sealed_key_id(stored.sealed) == keyring.newest
    ):
        try:
            if unseal(name, stored.sealed, keyring) == secret:
                return stored
        except SecretError:
            pass  # damaged: sealed anew
    return SealedSecret(seal(name, secret, keyring), fingerprint(secret), bound)


def with_changes(
    raw: Rows,
    *,
    settings: Mapping[str, object] | None = None,
    secrets: Mapping[str, SealedSecret] | None = None,
    remove: Collection[str] = (),
) -> Rows:
    """Return *raw* with *settings* and *secrets* in it, and without the settings and secrets that *remove* names."""
    return replace(
        raw,
        settings={k: v for k, v in raw.settings.items() if k not in remove} | dict(settings or {}),
        secrets={k: v for k, v in raw.secrets.items() if k not in remove} | dict(secrets or {}),
    )
