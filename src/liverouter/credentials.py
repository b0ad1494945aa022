"""Which credential a deployment uses, where it comes from, and whether it may go where that deployment's calls go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import Problem, SecretError
from liverouter.literal import looked_up
from liverouter.lookup import MEND_FILE, Lookup, clip
from liverouter.origins import is_loopback, origin_of
from liverouter.providers import IN_PATH, OWNERS
from liverouter.sealing import Secret
from liverouter.sealing import open as unseal
from liverouter.settings import HINTS

if TYPE_CHECKING:
    from liverouter.providers import ProviderSpec

_SERVICE_ACCOUNT: Final = "service_account"
_GOOGLE: Final = "googleapis.com"
_TOKEN_ADDRESSES: Final = frozenset(  # Google's own, the newest first; key files of all ages name one of them
    {
        "https://oauth2.googleapis.com/token",
        "https://www.googleapis.com/oauth2/v4/token",
        "https://accounts.google.com/o/oauth2/token",
    }
)
_INDIRECT: Final = (
    "credential_source",
    "service_account_impersonation_url",
    "source_credentials",
    "subject_token_type",
)
_KEY_FILE: Final = (
    "Store the whole key file of a service account: liverouter set --secret vertex_ai_credentials < key.json"
)
_AMBIENT: Final = (
    f"{_KEY_FILE}. A federation's file is named to the process itself, by GOOGLE_APPLICATION_CREDENTIALS, "
    "while no secret is stored"
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret as it was found: what it is, where it comes from, and how far it may go."""

    name: str  # as rows call it; "" for ambient ones
    secret: Secret | None  # None: ambient, what the machine itself is trusted with
    source: str  # "secret NAME", "environment NAME", "file …", "ambient"
    user: ProviderSpec  # the provider that a deployment sends it to
    owner: ProviderSpec  # the one whose own hosts it may be sent to
    origins: tuple[str, ...]  # and where else: it was stored for these, or the environment names them
    stored: bool  # in the database

    def may_go_to(self, origin: str) -> bool:
        """Tell whether it may be sent to *origin*."""
        return origin in self.origins or is_loopback(origin) or self.owner.is_own(origin)


def find(look: Lookup, name: str, user: ProviderSpec, *, referenced: bool) -> Credential | None:
    """Return the secret *name* for a deployment of *user*: stored, else the environment's, else None.

    *referenced*: an entry named it, ``{"secret": name}``; else it is the provider's own. What is wrong is reported.
    """
    owner = OWNERS.get(name, user)
    if name in look.raw.secrets:
        secret = _opened(look, name)
        origins = look.raw.secrets[name].origins
        return None if secret is None else Credential(name, secret, f"secret {name}", user, owner, origins, stored=True)
    found = look.environment.referenced(name) if referenced else None
    if found is None and name in OWNERS:
        found = look.environment.get(name)
    if found is None:
        return None
    if found.error:
        look.report("LR102", found.error, found.source, MEND_FILE)
        return None
    if look.is_reported(looked_up(found.text, found.source)):
        return None
    return Credential(name, Secret(found.text), found.source, user, owner, _trusted(look, owner), stored=False)


def ambient(look: Lookup, user: ProviderSpec) -> Credential:
    """Return what the machine itself gives a deployment of *user*: the identity that its cloud knows it by."""
    return Credential("", None, "ambient", user, user, _trusted(look, user), stored=False)


def check_origin(look: Lookup, credential: Credential, endpoint: str, place: str, *, trusted: bool) -> None:
    """Report a *credential* that is not meant for where calls to *endpoint* go, as *place* says.

    *trusted*: the process's own environment gives that address, and so any key of that very provider's goes there.
    """
    origin = origin_of(endpoint)
    if credential.may_go_to(origin) or (trusted and OWNERS.get(credential.name) is credential.user):
        return
    meant = ", ".join([f"{credential.owner.label}'s own hosts", *credential.origins])
    again = f"liverouter set --secret {clip(credential.name or user_secret(credential.owner))} --for {origin}"
    if credential.stored:
        what = f"the key '{clip(credential.name)}' was stored for {meant}"
        hint = f"Mend the address, or store the key again for this one: {again}"
    else:
        whose = credential.source if credential.name else "this machine itself"
        what = f"the credential of {whose} is meant for {meant}"
        allow = f"start each process with LIVEROUTER_API_BASES={origin}"
        hint = f"Mend the address; or {allow}; or store a key for this one: {again}"
    look.report("LR111", f"{what}; this leads to {origin or 'an address that cannot be read'}", place, hint)


def user_secret(spec: ProviderSpec) -> str:
    """Return the name of the secret that a provider's deployments ask for first."""
    return spec.secret_names[0]


def service_account(look: Lookup, credential: Credential, endpoint: str, place: str) -> Mapping[str, Any]:
    """Return the content of a Google service account key, empty after a report."""
    account = _as_json(credential.secret)
    if account is None:
        look.report("LR103", "the service account is not JSON", place, _KEY_FILE)
        return {}
    if credential.stored and look.is_reported(_google_faults(account, place, local=is_loopback(origin_of(endpoint)))):
        return {}
    return {} if look.is_reported(_project_faults(account, place)) else account


def secret_faults(name: str, secret: Secret) -> list[Problem]:
    """Return why *secret*, which is to be stored as *name*, could never be used; nothing of it is repeated."""
    where = f"secrets.{clip(name)}"
    if found := looked_up(secret.reveal(), where):
        return found
    if name != "vertex_ai_credentials":
        return []
    account = _as_json(secret)
    if account is None:
        return [Problem("LR103", "the service account is not JSON", where, _KEY_FILE)]
    return _google_faults(account, where, local=True) or _project_faults(account, where)


def _google_faults(account: Mapping[str, Any], where: str, *, local: bool) -> list[Problem]:
    """Return the LR113 of a credential that is to be stored, or is.

    A service account asks Google itself for its tokens. Any other kind names files, programs and addresses, chosen by
    whoever stored it. A stand-in on this machine has its own token address here as well: *local*.
    """
    kind, address = account.get("type"), account.get("token_uri")
    if kind != _SERVICE_ACCOUNT or any(name in account for name in _INDIRECT):
        return [Problem("LR113", "the stored credential is no service account", where, _AMBIENT)]
    known = address in _TOKEN_ADDRESSES or (local and is_loopback(origin_of(str(address))))
    if not known or account.get("universe_domain", _GOOGLE) != _GOOGLE:
        message = "the stored service account does not get its tokens from Google's own address"
        return [Problem("LR113", message, where, _KEY_FILE)]
    return []


def _project_faults(account: Mapping[str, Any], where: str) -> list[Problem]:
    """Return the fault of a project that could be no piece of a URL, in which calls have it."""
    project = account.get("project_id", "")
    if isinstance(project, str) and (not project or IN_PATH.fullmatch(project)):
        return []
    return [Problem("LR113", "the project_id of the service account is no project's name", where, _KEY_FILE)]


def _opened(look: Lookup, name: str) -> Secret | None:
    """Return a stored secret, None after a report."""
    where = f"secrets.{clip(name)}"
    try:
        secret = unseal(name, look.raw.secrets[name].sealed, look.keyring)
    except SecretError as exc:
        look.report(exc.code, exc.message, where, exc.hint)
        return None
    if not secret.reveal().strip():
        look.report("LR102", "the stored secret is empty", where, HINTS["secret"].replace("NAME", clip(name)))
        return None
    return None if look.is_reported(looked_up(secret.reveal(), where)) else secret


def _trusted(look: Lookup, spec: ProviderSpec) -> tuple[str, ...]:
    """Return where the environment itself has its credentials of *spec* sent to, beside the provider's hosts."""
    found = look.environment.get(spec.base.name)
    own = origin_of(found.text) if found is not None and not found.error else ""
    return tuple(dict.fromkeys([*([own] if own else []), *look.environment.api_bases]))


def _as_json(secret: Secret | None) -> Mapping[str, Any] | None:
    try:
        account = json.loads(secret.reveal()) if secret is not None else {}
    except (ValueError, RecursionError):
        return None
    return account if isinstance(account, Mapping) else None
