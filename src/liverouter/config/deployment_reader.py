"""One deployment: what its provider needs, from the entry itself, the rows, the environment, or a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.config import credentials
from liverouter.config.environment import reference_variable
from liverouter.config.kinds import NO_PIECE_OF_A_URL, kind_of
from liverouter.config.plain_secrets import is_reference
from liverouter.config.settings import SETTINGS, setting_of
from liverouter.config.values import Values, clip
from liverouter.errors import did_you_mean
from liverouter.revision import Deployment, deployment_id
from liverouter.secrecy.sealing import fingerprint

if TYPE_CHECKING:
    from liverouter.providers import Field, ProviderSpec

_MOST_STRANGERS: Final = 20  # members of one object that are not known


@dataclass(frozen=True, slots=True)
class DeploymentReader:
    """Makes one deployment: resolves every field of its provider, the entry's own members first.

    Attributes:
        values: gives the values, and takes the Problems.
        spec: the provider.
        model: as the provider calls it.
        entry: of a row; empty for the primary of "default", whose fields are rows.
        where: the place of the entry, "settings" for that primary.
        named_by_rows: the rows that name a deployment of the user's own, and the model behind it, are about this one.
    """

    values: Values
    spec: ProviderSpec
    model: str
    entry: Mapping[Any, Any]
    where: str
    named_by_rows: bool

    def read(self, **fields: Any) -> Deployment | None:
        """Return the deployment, None where a Problem of it is reported; *fields* are those that are not resolved here.

        They are name, order, weight, params, profile, timeout_s and first_token_timeout_s.
        """
        before = len(self.values.problems)
        for name, hint in self.spec.rejected.items():
            if name in self.values.raw.settings:
                self.values.report("LR107", f"'{name}' cannot be used", f"settings.{name}", hint)
        self._check_holder()
        settings = self._settings()
        secrets = [field for field in self.spec.parts if field.kind == "secret"]
        found = {f.name: credential for f in secrets if (credential := self._secret(f))}
        self._check_model(settings)
        endpoint = self.spec.endpoint(settings, self.model)
        for field in secrets:
            if credential := found.get(field.name):
                held = credentials.contents(self.values, field, credential, endpoint, self._place(field.name)).settings
                settings = dict(held) | settings  # given, so that no library asks the environment for it
        if not self.values.errors(before):
            self._check_needs({*settings, *found})
            self._check_fit(settings, found)
        if self.values.errors(before):
            return None
        credential = next(iter(found.values()), None) or credentials.without(self.values, self.spec)
        for sent in found.values() if self.spec.holder else (credential,):
            self._check_origin(sent, settings, endpoint)
        if self.values.errors(before):
            return None
        mark = fingerprint(credential.secret) if credential.secret is not None else ""
        return Deployment(
            id=deployment_id(self.spec.name, self.model, settings, mark),
            provider=self.spec.name,
            model=self.model,
            role="primary" if fields["order"] == 1 else "fallback",
            settings=MappingProxyType(settings),
            secrets=MappingProxyType({name: c.secret for name, c in found.items() if c.secret is not None}),
            endpoint=endpoint,
            credential_source=credential.source,
            credential_fingerprint=mark,
            **fields,
        )

    def _check_holder(self) -> None:
        """Report members of the provider's object that it does not know."""
        members, place = self._held()
        known = [field.name for field in self.spec.members]
        for name in islice((str(name) for name in members if name not in known), _MOST_STRANGERS):
            hint = self.spec.member_hints.get(name) or did_you_mean(clip(name), known)
            knows = f"It knows {', '.join(known)}"
            self.values.report("LR106", f"'{clip(name)}' is not known here", f"{place}.{clip(name)}", hint or knows)

    def _held(self) -> tuple[Mapping[Any, Any], str]:
        """Return the object that holds the provider's members, and its place; empty where there is none."""
        if (holder := self.spec.holder) is None:
            return {}, ""
        if self.where == "settings":
            return self.values.setting(holder.name) or {}, self.values.origin(holder.name)
        place, value = f"{self.where}.{holder.name}", self.entry.get(holder.name)
        given = None if value is None else self.values.checked(SETTINGS[holder.name], value, place)
        return given or {}, place

    def _check_model(self, settings: Mapping[str, str]) -> None:
        """Report a model that becomes a piece of a URL and would end it."""
        piece, pattern = settings.get(self.spec.deployment_field, self.model), self.spec.model_pattern
        if pattern is not None and not pattern.fullmatch(piece):
            code, message, hint = NO_PIECE_OF_A_URL
            self.values.report(code, message, self._place_of_model(), hint)

    def _settings(self) -> dict[str, str]:
        """Return the non-secret fields that have a value."""
        plain = [f for f in self.spec.parts if f.kind != "secret"]
        settings = {f.name: value for f in plain if (value := self._field(f)) is not None}
        deployment, base_model = self.spec.deployment_field, self.spec.base_model_field
        if deployment and settings.setdefault(deployment, self.model) != self.model and base_model:
            settings.setdefault(base_model, self.model)
        return settings

    def _field(self, field: Field) -> str | None:
        """Return a non-secret field: the entry's own, else the row's, else the environment's, else the default."""
        own = self._own(field)
        is_of_deployment = field.name in {self.spec.deployment_field, self.spec.base_model_field}
        if own is None and is_of_deployment and not self.named_by_rows:  # named as the model, where nothing is said
            return field.default or None
        value: str | None
        if own is not None:
            value = self.values.checked(setting_of(self.spec, field), *own)
        else:
            value = None if self.spec.members else self.values.setting(field.name)
        return self.spec.normalize_url(value) if value is not None and field.kind == "url" else value

    def _secret(self, field: Field) -> credentials.Credential | None:
        """Return a secret: named by the entry, else the provider's own; None where there is none, or after a report."""
        if not self.spec.members and self.values.raw.settings.get(field.name) is not None:
            hint = f"Remove the row and store it sealed: liverouter set --secret {field.name}"
            message = f"'{field.name}' is a secret and stands in settings"
            self.values.report("LR110", message, f"settings.{field.name}", hint)
            return None
        own = self._own(field)
        if own is None:
            return None if self.spec.members else credentials.find(self.values, field.name, self.spec, referenced=False)
        reference, place = own
        hint = 'Store the secret (liverouter set --secret NAME) and write {"secret": "NAME"}'
        name = reference.get("secret") if isinstance(reference, Mapping) and set(reference) == {"secret"} else None
        if not isinstance(name, str) or not name.strip():
            self.values.report(
                "LR110", f"{kind_of(reference)} stands where a reference to a secret belongs", place, hint
            )
            return None
        name, before = name.strip(), len(self.values.problems)
        if not is_reference({"secret": name}):  # and perhaps a key: it is not repeated
            self.values.report("LR110", "what stands there is no name of a secret", place, hint)
            return None
        found = credentials.find(self.values, name, self.spec, referenced=True)
        if found is None and not self.values.errors(before):
            hint = f"Store it: liverouter set --secret {clip(name)}"
            if variable := reference_variable(name):
                hint += f"; or set the environment variable {clip(variable, 80)}"
            self.values.report("LR102", f"there is no secret '{clip(name)}'", place, hint)
        return found

    def _own(self, field: Field) -> tuple[Any, str] | None:
        """Return what the entry itself, or the object that holds the members, gives for *field*, and its place."""
        members, place = self._held() if self.spec.members else (self.entry, self.where)
        names = (name for name in (field.name, field.alias) if name and members.get(name) is not None)
        return next(((members[name], f"{place}.{name}") for name in names), None)

    def _check_needs(self, have: set[str]) -> None:
        """Report each group of fields of which none has a value."""
        for group in self.spec.needs:
            if have.intersection(group):
                continue
            name = group[0]
            secret = name in self.spec.secret_names
            how = f"liverouter set --secret {name}" if secret else f"liverouter set {name}=…"
            self.values.report(
                "LR102" if secret else "LR100",
                f"{self.spec.name} needs {' or '.join(group)}",
                self._place(name),
                f"Store it: {how}; or set the environment variable {name.upper()}",
            )

    def _check_fit(self, settings: Mapping[str, str], found: Mapping[str, Any]) -> None:
        """Report what its provider says against the deployment."""
        if (unfit := self.spec.unfit(self.model, settings, found.keys())) is not None:
            place = self._place_of_model() if unfit.field == "model" else self._held()[1]
            self.values.report(unfit.code, unfit.message, place, unfit.hint)

    def _place_of_model(self) -> str:
        """Return where the model is named."""
        return self.values.origin("llm_model") if self.where == "settings" else f"{self.where}.model"

    def _place(self, name: str) -> str:
        """Return the place that a Problem of the field *name* has: its row, or for a fallback the entry."""
        return f"settings.{name}" if self.where == "settings" else self.where

    def _place_of(self, field: Field) -> str:
        """Return where the value of a non-secret field comes from."""
        own = self._own(field)
        return own[1] if own is not None else self.values.origin(field.name)

    def _check_origin(self, credential: credentials.Credential, settings: Mapping[str, str], endpoint: str) -> None:
        """Report a credential that is not meant for *endpoint*, at the row or the member that sends it there."""
        base = self._place_of(self.spec.base) if self.spec.base.name in settings else ""
        trusted = self.values.is_of_environment(base)
        place = base
        if trusted or not base:
            own = (own[1] for f in self.spec.parts if f.kind == "secret" and (own := self._own(f)))
            place = next(own, "settings.llm_provider" if self.where == "settings" else f"{self.where}.provider")
        credentials.check_origin(self.values, credential, endpoint, place, trusted=trusted)
