"""A config that is not stored yet: the stored rows with changes laid over them, secrets bound and sealed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from liverouter.config.settings import names_a_model
from liverouter.errors import SecretError
from liverouter.providers import OWNERS, PROVIDERS
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
    """Yield the base URLs of rows and entries, said or known, that the secret *name* is sent to."""
    for spec in PROVIDERS.values():
        if name in spec.secret_names and _is_in_force(spec, settings):
            yield settings.get(spec.base.name)
    for user, entry in _users(settings):
        if name in _named(user, entry) and (entry is not settings or _is_in_force(user, settings)):
            own = _member(_members(user, entry), user.base)
            if own is None and user.members:  # a key that is a provider's own is no vendor's
                model = entry.get("llm_model" if entry is settings else "model")
                own = "" if name in OWNERS else _vendor_base(user, entry, model)
            yield settings.get(user.base.name) if own is None else own


def _vendor_base(spec: ProviderSpec, entry: Mapping[str, Any], model: object) -> str:
    """Return where *spec* calls *model*, of an *entry* that says no base; "" where that is not known."""
    members = _members(spec, entry)
    pieces = {
        field.name: text
        for field in spec.members
        if field.pattern is not None
        and isinstance(value := members.get(field.name), str)
        and field.pattern.fullmatch(text := value.strip())
    }
    return spec.endpoint(pieces, model.strip()) if isinstance(model, str) else ""


def _is_in_force(spec: ProviderSpec, settings: Mapping[str, object]) -> bool:
    """Tell whether the rows of *spec* are the primary's: a base that nobody uses is seen by nobody, and binds nothing.

    Where no row names the primary's provider, the environment may.
    """
    provider = settings.get("llm_provider")
    return provider is None or (isinstance(provider, str) and provider.strip() == spec.name)


def secrets_referred_to(settings: Mapping[str, object]) -> set[str]:
    """Return the names of secrets that rows and entries refer to, ``{"secret": name}``."""
    named = (name for user, entry in _users(settings) for name in _named(user, entry))
    return {name for name in named if isinstance(name, str)}


def _users(settings: Mapping[str, object]) -> Iterator[tuple[ProviderSpec, Mapping[str, Any]]]:
    """Yield each entry with its provider, and the rows' objects of members as entries of theirs."""
    for spec in PROVIDERS.values():
        if spec.holder is not None:
            yield spec, settings
    for entry in config_entries(settings):
        provider = entry.get("provider")
        if isinstance(provider, str) and (user := PROVIDERS.get(provider.strip())) is not None:
            yield user, entry


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
    for field in spec.parts:
        if field.kind == "secret":
            reference = _member(_members(spec, entry), field)
            if reference is not None or not spec.members:
                yield field.name if reference is None else _reference(reference)


def _reference(value: Any) -> object:
    """Return the name of the secret that *value* refers to, None where it is no reference."""
    return value.get("secret") if isinstance(value, Mapping) else None


def _members(spec: ProviderSpec, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what holds the settings of *spec* in *entry*: itself, or the object of its members."""
    if spec.holder is None:
        return entry
    held = entry.get(spec.holder.name)
    return held if isinstance(held, Mapping) else {}


def _member(entry: Mapping[str, Any], field: Field) -> Any:
    """Return what *entry* itself says of *field*, by its full name or its alias; None where it says nothing."""
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
