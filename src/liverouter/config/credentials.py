"""Which credential a deployment uses, where it comes from, and whether it may go where that deployment's calls go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from liverouter.config.kinds import HINTS, misfit
from liverouter.config.settings import ALERT_WEBHOOK, SETTINGS
from liverouter.config.values import MEND_FILE, Values, clip
from liverouter.errors import Problem, SecretError
from liverouter.providers import NO_HOSTS, OWNERS, PROVIDERS, Contents
from liverouter.secrecy.literal import looked_up
from liverouter.secrecy.origins import is_loopback, origin_of
from liverouter.secrecy.sealing import Secret, open as unseal

if TYPE_CHECKING:
    from liverouter.providers import Field, ProviderSpec

_NONE: Final = "none"  # the source of no credential, which may go anywhere
_KEY: Final = re.compile(r"[\x20-\x7e]+")  # what a header can hold; libraries call anything else a fault of the request
_QUOTES: Final = ("'", '"')
_NO_QUOTES: Final = "Take them away: they are part of the value in a file of variables that no shell reads"
_COPY: Final = "Copy it again, from where it was made: a key is one line of letters, digits and signs"


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret as it was found: what it is, where it comes from, and how far it may go.

    Attributes:
        name: as rows call it; "" for an ambient one, and for none.
        secret: None for an ambient one, by which the machine itself is known, and for none.
        source: "secret NAME", "environment NAME", "file …", "ambient" or "none".
        user: the provider that a deployment sends it to.
        owner: the provider whose own hosts it may be sent to.
        origins: where else it may be sent to: those that it was stored for, or that the environment names.
        stored: it comes from the database.
    """

    name: str
    secret: Secret | None
    source: str
    user: ProviderSpec
    owner: ProviderSpec
    origins: tuple[str, ...]
    stored: bool

    def may_go_to(self, origin: str) -> bool:
        """Tell whether it may be sent to *origin*."""
        return origin in self.origins or is_loopback(origin) or (self.goes_to_its_owner and self.owner.is_own(origin))

    @property
    def goes_to_its_owner(self) -> bool:
        """Tell whether it may be sent to the owner's own hosts, whatever it was stored for.

        A stored one with a name of its own may be anybody's: not so where it was stored for other vendors alone, nor
        where the owner stands for many.
        """
        if not self.stored or self.name in OWNERS:
            return True
        others = [spec for spec in PROVIDERS.values() if spec is not self.owner]
        of_others = [any(spec.is_own(origin) for spec in others) for origin in self.origins]
        return not self.owner.vendors and not (of_others and all(of_others))


def find(values: Values, name: str, user: ProviderSpec, *, referenced: bool) -> Credential | None:
    """Return the secret *name* for a deployment of *user*: stored, else the environment's, else None.

    *referenced*: an entry named it, ``{"secret": name}``; else it is the provider's own. What is wrong is reported.
    """
    owner = OWNERS.get(name, user)
    if name in values.raw.secrets:
        secret = _opened(values, name)
        origins = values.raw.secrets[name].origins
        return None if secret is None else Credential(name, secret, f"secret {name}", user, owner, origins, stored=True)
    found = values.environment.referenced(name) if referenced else None
    if found is None and name in OWNERS:
        found = values.environment.get(name)
    if found is None:
        return None
    if found.error:
        values.report("LR102", found.error, found.source, MEND_FILE)
        return None
    if values.is_reported(looked_up(found.text, found.source)):
        return None
    return Credential(name, Secret(found.text), found.source, user, owner, _trusted(values, owner), stored=False)


def without(values: Values, user: ProviderSpec) -> Credential:
    """Return what a deployment of *user* has without a secret: the identity that its cloud knows the machine by.

    Where the provider is called without any, it has none.
    """
    source = _NONE if user.keyless else "ambient"
    return Credential("", None, source, user, user, _trusted(values, user), stored=False)


def check_origin(values: Values, credential: Credential, endpoint: str, place: str, *, trusted: bool) -> None:
    """Report a *credential* that is not meant for where calls to *endpoint* go, as *place* says.

    *trusted*: the process's own environment gives that address, and so any key of that very provider's goes there.
    """
    origin = origin_of(endpoint)
    owner, is_own = credential.owner, trusted and OWNERS.get(credential.name) is credential.user
    if credential.source == _NONE or is_own or credential.may_go_to(origin):
        return
    own = [f"{owner.label}'s own hosts"] if credential.goes_to_its_owner and owner.own_hosts is not NO_HOSTS else []
    meant = ", ".join([*own, *credential.origins]) or "this machine alone"
    again = f"liverouter set --secret {clip(credential.name or user_secret(owner))} --for {origin}"
    if credential.stored:
        what = f"the key '{clip(credential.name)}' was stored for {meant}"
        hint = f"Mend the address, or store the key again for this one: {again}"
    else:
        whose = credential.source if credential.name else "this machine itself"
        what = f"the credential of {whose} is meant for {meant}"
        allow = f"start each process with LIVEROUTER_API_BASES={origin}"
        hint = f"Mend the address; or {allow}; or store a key for this one: {again}"
    values.report("LR111", f"{what}; this leads to {origin or 'an address that cannot be read'}", place, hint)


def user_secret(spec: ProviderSpec) -> str:
    """Return the name of the secret that a provider's deployments ask for first."""
    return spec.secret_names[0]


def contents(values: Values, field: Field, credential: Credential, endpoint: str, place: str) -> Contents:
    """Return what *credential*, which is to be used as *field*, holds; empty Contents where that is reported."""
    if credential.secret is None:
        return Contents()
    if field.read is None:
        if problem := _unsendable(credential.secret, f"the key of {credential.source}", place):
            values.is_reported([problem])
        return Contents()
    local = is_loopback(origin_of(endpoint))
    found = field.read(credential.secret.reveal(), place, stored=credential.stored, local=local)
    if found.problem is not None:
        values.is_reported([found.problem])
    return found


def secret_faults(name: str, secret: Secret) -> list[Problem]:
    """Return why *secret*, which is to be stored as *name*, could never be used; nothing of it is repeated."""
    where = f"secrets.{clip(name)}"
    if found := looked_up(secret.reveal(), where):
        return found
    if name == ALERT_WEBHOOK and (unfit := misfit(SETTINGS[ALERT_WEBHOOK], secret.reveal().strip())) is not None:
        code, message, hint = unfit
        return [Problem(code, message, where, hint)]
    field = next((f for f in OWNERS[name].secrets if f.name == name), None) if name in OWNERS else None
    if field is None:  # whose it is, an entry says
        return []
    if field.read is None:
        problem = _unsendable(secret, "the key", where)
    else:
        problem = field.read(secret.reveal(), where, stored=True, local=True).problem
    return [] if problem is None else [problem]


def _unsendable(secret: Secret, what: str, place: str) -> Problem | None:
    """Return that *secret*, which *what* names, cannot be sent in a header, None where it can."""
    text = secret.reveal()
    if not _KEY.fullmatch(text):
        return Problem("LR123", f"{what} holds a line break, or a character that no key has", place, _COPY)
    if text[0] in _QUOTES and text[-1] == text[0]:
        return Problem("LR123", f"{what} stands in quotes", place, _NO_QUOTES)
    if text.lower().startswith("bearer "):
        return Problem("LR123", f"{what} begins with 'Bearer'", place, "Take that away: each request has it already")
    return None


def _opened(values: Values, name: str) -> Secret | None:
    """Return the stored secret *name*, None where it cannot be used and that is reported."""
    where = f"secrets.{clip(name)}"
    try:
        secret = unseal(name, values.raw.secrets[name].sealed, values.keyring)
    except SecretError as exc:
        values.report(exc.code, exc.message, where, exc.hint)
        return None
    if not secret.reveal().strip():
        values.report("LR102", "the stored secret is empty", where, HINTS["secret"].replace("NAME", clip(name)))
        return None
    return None if values.is_reported(looked_up(secret.reveal(), where)) else secret


def _trusted(values: Values, spec: ProviderSpec) -> tuple[str, ...]:
    """Return the origins that the environment has its credentials of *spec* sent to, beside the provider's hosts."""
    found = None if spec.members else values.environment.get(spec.base.name)
    own = origin_of(found.text) if found is not None and not found.error else ""
    return tuple(dict.fromkeys([*([own] if own else []), *values.environment.api_bases]))
