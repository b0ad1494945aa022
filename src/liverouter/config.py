"""Rows and environment become a Snapshot, or every Problem at once. Pure but for the files the environment names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter import credentials
from liverouter.errors import Problem, did_you_mean, first_problems
from liverouter.literal import looked_up
from liverouter.lookup import HINTS, NO_PIECE_OF_A_URL, Lookup, clip, kind_of
from liverouter.options import reference_variable
from liverouter.plain_secrets import is_reference
from liverouter.providers import ALIASES, PROVIDERS, REJECTED, Field, ProviderSpec
from liverouter.sealing import fingerprint
from liverouter.settings import SETTINGS, Kind, Setting
from liverouter.snapshot import Deployment, Snapshot, deployment_id

if TYPE_CHECKING:
    from liverouter.options import Environment
    from liverouter.raw import RawConfig
    from liverouter.sealing import Keyring

_MEMBERS: Final = ("provider", "model", "temperature", "max_tokens", "order", "weight", "profile")
_PREFIXES: Final = tuple({name.split("_")[0] + "_" for name in SETTINGS})
_MAX_FALLBACKS: Final = 20
_MOST_GUESSES: Final = 200  # rows that are compared with the names of settings; other software may have thousands
_MOST_STRANGERS: Final = 20  # members of one entry that are no setting, each with a guess at what was meant
_NO_PROFILE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Validation:
    """The outcome: a snapshot, or errors; warnings beside either."""

    snapshot: Snapshot | None
    problems: tuple[Problem, ...]  # errors first; with a snapshot there are only warnings

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Return the Problems that reject nothing."""
        return tuple(p for p in self.problems if p.severity == "warning")


def validate(raw: RawConfig, *, environment: Environment, keyring: Keyring | None) -> Validation:
    """Return the Snapshot that *raw* describes, or all its Problems; never raises, whatever the rows hold.

    Takes time that grows with the size of the rows alone: whoever may write could else stop every process by one row.
    Of more than a hundred Problems the first are returned, and one that counts the others.
    """
    look = Lookup(raw, environment, keyring)
    _check_names(look)
    common = {name: look.setting(name) for name in SETTINGS if name.startswith(("llm_", "litellm_"))}
    deployments = _Deployments(look, common).all()
    errors = look.errors()
    warnings = tuple(p for p in look.problems if p.severity == "warning")
    if errors or not deployments:
        return Validation(None, first_problems((*errors, *warnings)))
    snapshot = Snapshot(
        epoch=raw.epoch,
        revision=raw.revision,
        change_id=raw.change_id,
        committed_at=raw.committed_at,
        deployments=tuple(deployments),
        litellm_enable=common["litellm_enable"],
        model_name=common["litellm_model_name"],
        num_retries=common["litellm_num_retries"],
        allowed_fails=common["litellm_allowed_fails"],
        cooldown_time_s=float(common["litellm_cooldown_time"]),
        timeout_s=float(common["litellm_timeout"]),
        check_streams=common["litellm_check_streams"],
    )
    return Validation(snapshot, first_problems(warnings))


def _check_names(look: Lookup) -> None:
    """Report rows that a library would look up elsewhere, used or not, and warn of rows that look like a setting.

    Rows of other software pass in silence.
    """
    strangers = [name for name in look.raw.settings if name not in SETTINGS and name not in REJECTED]
    for name, value in look.raw.settings.items():
        if name in SETTINGS:
            look.is_reported(looked_up(value, f"settings.{name}"))
    for number, name in enumerate(strangers):
        near = did_you_mean(clip(name), SETTINGS) if number < _MOST_GUESSES else ""
        if near or name.startswith(_PREFIXES):
            hint = near or "Remove the row; `liverouter show --settings` lists the names"
            look.report("LR106", f"'{clip(name)}' is not a setting", f"settings.{clip(name)}", hint, "warning")


class _Deployments:
    """Makes the primary and the fallbacks; whatever is wrong with them is reported to *look*."""

    def __init__(self, look: Lookup, common: Mapping[str, Any]) -> None:
        self.look, self.common = look, common

    def all(self) -> list[Deployment]:
        """Return the deployments by order; those with Problems are left out."""
        config = self.common["llm_fallback_config"]
        found = [self.primary()]
        for index, entry in enumerate(self.entries(config)):
            place = f"[{index}]" if isinstance(config, list) else ""
            found.append(self.fallback(entry, f"settings.llm_fallback_config{place}", index))
        deployments = [d for d in found if d is not None]
        self.check_twins(deployments)
        return sorted(deployments, key=lambda d: d.order)

    def primary(self) -> Deployment | None:
        provider, model = self.common["llm_provider"], self.common["llm_model"]
        for name, value, example in (
            ("llm_provider", provider, "anthropic"),
            ("llm_model", model, "claude-sonnet-4-6"),
        ):
            if value is None and not any(p.where == self.look.origin(name) for p in self.look.problems):
                hint = f"Set it: liverouter set {name}={example}"
                self.look.report("LR100", f"'{name}' is not set", f"settings.{name}", hint)
        spec = self.spec(provider, self.look.origin("llm_provider")) if provider is not None else None
        profile = self.profile(self.common["llm_profile"], "settings.llm_profile")
        if spec is None or model is None:
            return None
        return _Builder(self.look, spec, model, {}, where="settings", primary=None).build(
            order=1,
            weight=1,
            temperature=self.common["llm_temperature"],
            max_tokens=self.common["llm_max_tokens"],
            profile=profile,
        )

    def spec(self, provider: str, where: str) -> ProviderSpec | None:
        if spec := PROVIDERS.get(provider):
            return spec
        alias = ALIASES.get(provider.lower())
        known = ", ".join(PROVIDERS)
        hint = f"Did you mean '{alias}'?" if alias else did_you_mean(clip(provider), PROVIDERS)
        self.look.report(
            "LR101", f"provider '{clip(provider)}' is not one of {known}", where, hint or f"Choose one of {known}"
        )
        return None

    def entries(self, config: Any) -> Sequence[Any]:
        entries = config if isinstance(config, list) else [] if config is None else [config]
        if len(entries) > _MAX_FALLBACKS:
            message = f"{len(entries)} fallbacks are more than {_MAX_FALLBACKS}"
            self.look.report("LR104", message, "settings.llm_fallback_config", "Keep the few that would really serve")
            return []
        return entries

    def fallback(self, entry: Any, where: str, index: int) -> Deployment | None:
        if not isinstance(entry, Mapping):
            self.look.report("LR103", f"{kind_of(entry)} stands where a fallback belongs", where, HINTS["json"])
            return None
        before = len(self.look.problems)
        provider = self.member(entry, "provider", where, "text")
        model = self.member(entry, "model", where, "text")
        spec = self.spec(provider, f"{where}.provider") if provider else None
        for name, value in (("provider", provider), ("model", model)):
            if value is None and not any(p.where == f"{where}.{name}" for p in self.look.problems[before:]):
                self.look.report("LR100", f"the fallback has no '{name}'", f"{where}.{name}", HINTS["json"])
        numbers = {
            "order": self.member(entry, "order", where, "integer", 1, 1000, index + 2),
            "weight": self.member(entry, "weight", where, "integer", 1, 1000, 1),
            "temperature": self.member(entry, "temperature", where, "number", 0, 2, self.common["llm_temperature"]),
            "max_tokens": self.member(
                entry, "max_tokens", where, "integer", 1, 10_000_000, self.common["llm_max_tokens"]
            ),
        }
        profile = self.profile(entry.get("profile"), f"{where}.profile")
        if spec is None or model is None:
            return None
        self.check_members(spec, entry, where)
        builder = _Builder(self.look, spec, model, entry, where=where, primary=self.common["llm_provider"])
        return builder.build(**numbers, profile=profile)

    def member(  # noqa: PLR0917 - a table of numbers reads best in columns
        self,
        entry: Mapping[Any, Any],
        name: str,
        where: str,
        kind: Kind,
        low: float | None = None,
        high: float | None = None,
        default: Any = None,
    ) -> Any:
        value = entry.get(name)
        if value is None:
            return default
        return self.look.checked(Setting(name, kind, "", default, low, high), value, f"{where}.{name}")

    def profile(self, value: Any, where: str) -> Mapping[str, Any]:
        if value is None:
            return _NO_PROFILE
        hint = 'Write {"max_input_tokens": 128000, "image_inputs": false}'
        if not isinstance(value, Mapping):
            self.look.report("LR103", f"{kind_of(value)} stands where profile fields belong", where, hint)
            return _NO_PROFILE
        for name, field in value.items():
            if not isinstance(field, bool | int) or field < 0:
                message = f"'{clip(str(name))}' is neither true, false nor a whole number"
                self.look.report("LR103", message, where, hint)
                return _NO_PROFILE
        return MappingProxyType({str(name): field for name, field in value.items()})

    def check_members(self, spec: ProviderSpec, entry: Mapping[Any, Any], where: str) -> None:
        known = [*_MEMBERS, *(f.name for f in spec.fields), *(f.alias for f in spec.fields if f.alias)]
        strangers = (str(n) for n in entry if n not in known)
        for name in islice(strangers, _MOST_STRANGERS):
            place = f"{where}.{clip(name)}"
            if name in spec.rejected:
                self.look.report("LR107", f"'{name}' cannot be used", place, spec.rejected[name])
            else:
                hint = did_you_mean(clip(name), known) or f"A {spec.name} fallback knows {', '.join(known)}"
                self.look.report("LR106", f"'{clip(name)}' is not known here", place, hint)
        if more := sum(1 for _ in strangers):
            hint = f"A {spec.name} fallback knows {', '.join(known)}"
            self.look.report("LR106", f"{more} more members are not known here", where, hint)

    def check_twins(self, deployments: Sequence[Deployment]) -> None:
        """Report deployments that are the same place with the same credentials: one cannot stand in for itself."""
        seen: set[str] = set()
        for deployment in deployments:
            if deployment.id in seen:
                self.look.report(
                    "LR108",
                    f"{deployment.label} stands twice with the same credentials",
                    "settings.llm_fallback_config",
                    "Remove one, or give the fallback another model, endpoint or key",
                )
            seen.add(deployment.id)


@dataclass(frozen=True, slots=True)
class _Builder:
    """Makes one deployment: resolves every field of its provider, the entry's own members first."""

    look: Lookup
    spec: ProviderSpec
    model: str
    entry: Mapping[Any, Any]
    where: str
    primary: str | None  # the primary's provider, when this is a fallback

    def build(self, *, order: int, weight: int, profile: Mapping[str, Any], **params: Any) -> Deployment | None:
        """Return the deployment, or None after reports; *params* are temperature and max_tokens."""
        before = len(self.look.problems)
        for name, hint in self.spec.rejected.items():
            if name in self.look.raw.settings:
                self.look.report("LR107", f"'{name}' cannot be used", f"settings.{name}", hint)
        settings = self.settings()
        found = {f.name: credential for f in self.spec.secrets if (credential := self.secret(f))}
        self.check_model(settings)
        endpoint = self.spec.endpoint(settings, self.model)
        for field in self.spec.secrets:
            if credential := found.get(field.name):
                held = credentials.contents(self.look, field, credential, endpoint, self.place(field.name)).settings
                settings = dict(held) | settings  # a library would ask the environment first
        if not self.look.errors(before):
            self.check_needs({*settings, *found})
        if self.look.errors(before):
            return None
        used = next((name for name in self.spec.secret_names if name in found), "")
        credential = found[used] if used else credentials.ambient(self.look, self.spec)
        self.check_origin(credential, settings, endpoint)
        if self.look.errors(before):
            return None
        mark = fingerprint(credential.secret) if credential.secret is not None else ""
        temperature = params["temperature"]
        return Deployment(
            id=deployment_id(self.spec.name, self.model, settings, mark),
            provider=self.spec.name,
            model=self.model,
            role="primary" if order == 1 else "fallback",
            order=order,
            weight=weight,
            settings=MappingProxyType(settings),
            secrets=MappingProxyType({name: c.secret for name, c in found.items() if c.secret is not None}),
            endpoint=endpoint,
            credential_source=credential.source,
            credential_fingerprint=mark,
            temperature=None if temperature is None else float(temperature),
            max_tokens=params["max_tokens"],
            profile=profile,
        )

    def check_model(self, settings: Mapping[str, str]) -> None:
        """Report a model that becomes a piece of a URL and would end it."""
        piece, pattern = settings.get(self.spec.deployment_field, self.model), self.spec.model_pattern
        if pattern is not None and not pattern.fullmatch(piece):
            place = self.look.origin("llm_model") if self.where == "settings" else f"{self.where}.model"
            code, message, hint = NO_PIECE_OF_A_URL
            self.look.report(code, message, place, hint)

    def settings(self) -> dict[str, str]:
        """Return the non-secret fields that have a value."""
        plain = [f for f in self.spec.fields if f.kind != "secret"]
        settings = {f.name: value for f in plain if (value := self.field(f)) is not None}
        deployment, base_model = self.spec.deployment_field, self.spec.base_model_field
        if deployment and settings.setdefault(deployment, self.model) != self.model and base_model:
            settings.setdefault(base_model, self.model)
        return settings

    def field(self, field: Field) -> str | None:
        """Return a non-secret field: the entry's own, else the row's, else the environment's, else the default."""
        own = self.own(field)
        # a fallback of the primary's provider has a deployment of its own, by default named as its model
        is_of_deployment = field.name in {self.spec.deployment_field, self.spec.base_model_field}
        if own is None and is_of_deployment and self.primary == self.spec.name:
            return field.default or None
        value: str | None
        if own:
            value = self.look.checked(SETTINGS[field.name], self.entry[own], f"{self.where}.{own}")
        else:
            value = self.look.setting(field.name)
        return self.spec.normalize_url(value) if value is not None and field.kind == "url" else value

    def secret(self, field: Field) -> credentials.Credential | None:
        """Return a secret: named by the entry, else the provider's own; None where there is none, or after a report."""
        if self.look.raw.settings.get(field.name) is not None:
            hint = f"Remove the row and store it sealed: liverouter set --secret {field.name}"
            message = f"'{field.name}' is a secret and stands in settings"
            self.look.report("LR110", message, f"settings.{field.name}", hint)
            return None
        own = self.own(field)
        if own is None:
            return credentials.find(self.look, field.name, self.spec, referenced=False)
        reference, place = self.entry[own], f"{self.where}.{own}"
        hint = 'Store the secret (liverouter set --secret NAME) and write {"secret": "NAME"}'
        name = reference.get("secret") if isinstance(reference, Mapping) and set(reference) == {"secret"} else None
        if not isinstance(name, str) or not name.strip():
            self.look.report("LR110", f"{kind_of(reference)} stands where a reference to a secret belongs", place, hint)
            return None
        name, before = name.strip(), len(self.look.problems)
        if not is_reference({"secret": name}):  # and perhaps a key: it is not repeated
            self.look.report("LR110", "what stands there is no name of a secret", place, hint)
            return None
        found = credentials.find(self.look, name, self.spec, referenced=True)
        if found is None and not self.look.errors(before):
            hint = f"Store it: liverouter set --secret {clip(name)}"
            if variable := reference_variable(name):
                hint += f"; or set the environment variable {clip(variable, 80)}"
            self.look.report("LR102", f"there is no secret '{clip(name)}'", place, hint)
        return found

    def own(self, field: Field) -> str | None:
        """Return the member by which the entry itself gives *field*, if it does."""
        return next((name for name in (field.name, field.alias) if name and self.entry.get(name) is not None), None)

    def check_needs(self, have: set[str]) -> None:
        """Report each group of fields of which none has a value."""
        for group in self.spec.needs:
            if have.intersection(group):
                continue
            name = group[0]
            secret = name in self.spec.secret_names
            how = f"liverouter set --secret {name}" if secret else f"liverouter set {name}=…"
            self.look.report(
                "LR102" if secret else "LR100",
                f"{self.spec.name} needs {' or '.join(group)}",
                self.place(name),
                f"Store it: {how}; or set the environment variable {name.upper()}",
            )

    def place(self, name: str) -> str:
        return f"settings.{name}" if self.where == "settings" else self.where

    def place_of(self, field: Field) -> str:
        """Return where the value of a non-secret field comes from."""
        own = self.own(field)
        return f"{self.where}.{own}" if own else self.look.origin(field.name)

    def check_origin(self, credential: credentials.Credential, settings: Mapping[str, str], endpoint: str) -> None:
        """Report a credential that is not meant for *endpoint*, at the row or the member that sends it there."""
        base = self.place_of(self.spec.base) if self.spec.base.name in settings else ""
        trusted = self.look.is_of_environment(base)
        place = base
        if trusted or not base:
            named = next((own for f in self.spec.secrets if (own := self.own(f))), "provider")
            place = "settings.llm_provider" if self.where == "settings" else f"{self.where}.{named}"
        credentials.check_origin(self.look, credential, endpoint, place, trusted=trusted)
