"""One deployment: what its provider needs, from the entry itself, the rows, the environment, or a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from liverouter.config import credentials
from liverouter.config.environment import reference_variable
from liverouter.config.plain_secrets import is_reference
from liverouter.config.settings import NO_PIECE_OF_A_URL, SETTINGS, kind_of
from liverouter.config.values import Values, clip
from liverouter.revision import Deployment, deployment_id
from liverouter.secrecy.sealing import fingerprint

if TYPE_CHECKING:
    from liverouter.providers import Field, ProviderSpec


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
        settings = self._settings()
        found = {f.name: credential for f in self.spec.secrets if (credential := self._secret(f))}
        self._check_model(settings)
        endpoint = self.spec.endpoint(settings, self.model)
        for field in self.spec.secrets:
            if credential := found.get(field.name):
                held = credentials.contents(self.values, field, credential, endpoint, self._place(field.name)).settings
                settings = dict(held) | settings  # given, so that no library asks the environment for it
        if not self.values.errors(before):
            self._check_needs({*settings, *found})
        if self.values.errors(before):
            return None
        used = next((name for name in self.spec.secret_names if name in found), "")
        credential = found[used] if used else credentials.ambient(self.values, self.spec)
        self._check_origin(credential, settings, endpoint)
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

    def _check_model(self, settings: Mapping[str, str]) -> None:
        """Report a model that becomes a piece of a URL and would end it."""
        piece, pattern = settings.get(self.spec.deployment_field, self.model), self.spec.model_pattern
        if pattern is not None and not pattern.fullmatch(piece):
            place = self.values.origin("llm_model") if self.where == "settings" else f"{self.where}.model"
            code, message, hint = NO_PIECE_OF_A_URL
            self.values.report(code, message, place, hint)

    def _settings(self) -> dict[str, str]:
        """Return the non-secret fields that have a value."""
        plain = [f for f in self.spec.fields if f.kind != "secret"]
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
        if own:
            value = self.values.checked(SETTINGS[field.name], self.entry[own], f"{self.where}.{own}")
        else:
            value = self.values.setting(field.name)
        return self.spec.normalize_url(value) if value is not None and field.kind == "url" else value

    def _secret(self, field: Field) -> credentials.Credential | None:
        """Return a secret: named by the entry, else the provider's own; None where there is none, or after a report."""
        if self.values.raw.settings.get(field.name) is not None:
            hint = f"Remove the row and store it sealed: liverouter set --secret {field.name}"
            message = f"'{field.name}' is a secret and stands in settings"
            self.values.report("LR110", message, f"settings.{field.name}", hint)
            return None
        own = self._own(field)
        if own is None:
            return credentials.find(self.values, field.name, self.spec, referenced=False)
        reference, place = self.entry[own], f"{self.where}.{own}"
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

    def _own(self, field: Field) -> str | None:
        """Return the member by which the entry itself gives *field*, if it does."""
        return next((name for name in (field.name, field.alias) if name and self.entry.get(name) is not None), None)

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

    def _place(self, name: str) -> str:
        """Return the place that a Problem of the field *name* has: its row, or for a fallback the entry."""
        return f"settings.{name}" if self.where == "settings" else self.where

    def _place_of(self, field: Field) -> str:
        """Return where the value of a non-secret field comes from."""
        own = self._own(field)
        return f"{self.where}.{own}" if own else self.values.origin(field.name)

    def _check_origin(self, credential: credentials.Credential, settings: Mapping[str, str], endpoint: str) -> None:
        """Report a credential that is not meant for *endpoint*, at the row or the member that sends it there."""
        base = self._place_of(self.spec.base) if self.spec.base.name in settings else ""
        trusted = self.values.is_of_environment(base)
        place = base
        if trusted or not base:
            named = next((own for f in self.spec.secrets if (own := self._own(f))), "provider")
            place = "settings.llm_provider" if self.where == "settings" else f"{self.where}.{named}"
        credentials.check_origin(self.values, credential, endpoint, place, trusted=trusted)
