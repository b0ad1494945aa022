"""Rows and environment become a Snapshot, or every Problem at once. Pure but for the files the environment names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from liverouter.errors import Problem, SecretError, Severity, did_you_mean
from liverouter.providers import ALIASES, PROVIDERS, Field, ProviderSpec
from liverouter.sealing import Secret, fingerprint
from liverouter.sealing import open as unseal
from liverouter.settings import SETTINGS, Setting, SettingValueError, parse
from liverouter.snapshot import Deployment, Snapshot, deployment_id

if TYPE_CHECKING:
    from liverouter.options import Environment
    from liverouter.raw import RawConfig
    from liverouter.sealing import Keyring

_COMMON_MEMBERS: Final = ("provider", "model", "temperature", "max_tokens", "order", "weight", "profile")
_PREFIXES: Final = ("llm_", "litellm_", *{name.split("_")[0] + "_" for name in SETTINGS})
_MAX_FALLBACKS: Final = 20
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Validation:
    """The outcome: a snapshot, or errors; warnings beside either."""

    snapshot: Snapshot | None
    problems: tuple[Problem, ...]      # errors first; with a snapshot there are only warnings

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Return the Problems that reject nothing."""
        return tuple(p for p in self.problems if p.severity == "warning")


def validate(raw: RawConfig, *, environment: Environment, keyring: Keyring | None) -> Validation:
    """Return the Snapshot that *raw* describes, or all its Problems; never raises, whatever the rows hold."""
    return _Validator(raw, environment, keyring).run()


class _Validator:
    """One validation: collects Problems, so that an admin mends all of them at once."""

    def __init__(self, raw: RawConfig, environment: Environment, keyring: Keyring | None) -> None:
        self.raw, self.environment, self.keyring = raw, environment, keyring
        self.problems: list[Problem] = []

    def run(self) -> Validation:
        self.check_names()
        common = {name: self.setting(name) for name in SETTINGS if name.startswith(("llm_", "litellm_"))}
        deployments = self.deployments(common)
        errors = [p for p in self.problems if p.severity == "error"]
        warnings = [p for p in self.problems if p.severity == "warning"]
        if errors or not deployments:
            return Validation(None, (*errors, *warnings))
        snapshot = Snapshot(
            epoch=self.raw.epoch,
            revision=self.raw.revision,
            change_id=self.raw.change_id,
            committed_at=self.raw.committed_at,
            deployments=tuple(deployments),
            litellm_enable=common["litellm_enable"],
            model_name=common["litellm_model_name"],
            num_retries=common["litellm_num_retries"],
            allowed_fails=common["litellm_allowed_fails"],
            cooldown_time_s=float(common["litellm_cooldown_time"]),
            timeout_s=float(common["litellm_timeout"]),
            check_streams=common["litellm_check_streams"],
        )
        return Validation(snapshot, tuple(warnings))

    def report(self, code: str, message: str, where: str, hint: str, severity: Severity = "error") -> None:
        self.problems.append(Problem(code, message, where, hint, severity))

    def check_names(self) -> None:
        """Warn of rows that look like a setting but are none; rows of other software pass in silence."""
        rejected = {name for spec in PROVIDERS.values() for name in spec.rejected}
        for name in self.raw.settings:
            if name in SETTINGS or name in rejected:
                continue
            near = did_you_mean(_clip(name), SETTINGS)
            if near or name.startswith(_PREFIXES):
                hint = near or "Remove the row, or see `liverouter show --settings` for the names"
                self.report("LR106", f"'{_clip(name)}' is not a setting", f"settings.{_clip(name)}", hint, "warning")

    # -- one value ---------------------------------------------------------------------------------------------

    def setting(self, name: str) -> Any:
        """Return the value of a non-secret setting: the row, else the environment, else the default."""
        setting = SETTINGS[name]
        if name in self.raw.settings:
            value = self.raw.settings[name]
            return setting.default if value is None else self.checked(setting, value, f"settings.{name}")
        if (found := self.environment.get(name)) is None:
            return setting.default
        if found.error:
            self.report("LR100", found.error, found.source, "Mount the file, or unset the variable that names it")
            return setting.default
        try:
            value = parse(setting, found.text)
        except SettingValueError as exc:
            self.report(exc.code, exc.message, found.source, exc.hint)
            return setting.default
        return setting.default if value is None else self.checked(setting, value, found.source)

    def checked(self, setting: Setting, value: Any, where: str) -> Any:
        """Return *value* when it has the setting's type and range, else the default after a report."""
        fault = _type_fault(setting, value)
        if fault:
            self.report("LR103", f"{_kind(value)} stands where {fault} belongs", where, _HINTS[setting.kind])
            return setting.default
        if setting.kind in ("number", "integer"):
            low, high = setting.low or 0, setting.high or math.inf
            if not low <= value <= high:               # false for NaN too
                hint = f"Choose a number from {low:g} to {high:g}"
                self.report("LR104", f"{_clip(str(value), 20)} is out of range", where, hint)
                return setting.default
            return int(value) if setting.kind == "integer" else value
        if setting.kind in ("text", "url"):
            value = value.strip()
            if not value:
                self.report("LR100", "the value is empty", where, "Give it a value, or remove it")
                return setting.default
            if len(value) > 2000 or any(ord(c) < 32 for c in value):
                self.report("LR104", "the text is too long or holds control characters", where, "Write plain text")
                return setting.default
        return value

    # -- deployments -------------------------------------------------------------------------------------------

    def deployments(self, common: Mapping[str, Any]) -> list[Deployment]:
        primary = self.primary(common)
        found = [primary] if primary else []
        config = common["llm_fallback_config"]
        for index, entry in enumerate(self.entries(config)):
            where = f"settings.llm_fallback_config[{index}]" if isinstance(config, list) else "settings.llm_fallback_config"
            if deployment := self.fallback(entry, where, index, common):
                found.append(deployment)
        self.check_twins(found)
        return sorted(found, key=lambda d: d.order)

    def primary(self, common: Mapping[str, Any]) -> Deployment | None:
        provider, model = common["llm_provider"], common["llm_model"]
        for name, value, example in (("llm_provider", provider, "anthropic"), ("llm_model", model, "claude-sonnet-4-6")):
            if value is None and not any(p.where == f"settings.{name}" for p in self.problems):
                self.report("LR100", f"'{name}' is not set", f"settings.{name}", f"Set it: liverouter set {name}={example}")
        spec = self.spec(provider, self.origin("llm_provider")) if provider is not None else None
        if spec is None or model is None:
            return None
        profile = self.profile(common["llm_profile"], "settings.llm_profile")
        return self.deployment(
            spec, model, {}, where="settings", order=1, weight=1, profile=profile,
            temperature=common["llm_temperature"], max_tokens=common["llm_max_tokens"],
        )

    def origin(self, name: str) -> str:
        """Return where the value of a setting comes from, for a Problem."""
        found = None if name in self.raw.settings else self.environment.get(name)
        return found.source if found else f"settings.{name}"

    def spec(self, provider: str, where: str) -> ProviderSpec | None:
        if spec := PROVIDERS.get(provider):
            return spec
        alias = ALIASES.get(provider.lower().strip())
        hint = f"Did you mean '{alias}'?" if alias else did_you_mean(_clip(provider), PROVIDERS)
        message = f"provider '{_clip(provider)}' is not one of {', '.join(PROVIDERS)}"
        self.report("LR101", message, where, hint or f"Choose one of {', '.join(PROVIDERS)}")
        return None

    def entries(self, value: Any) -> Sequence[Any]:
        entries = value if isinstance(value, list) else [] if value is None else [value]
        if len(entries) > _MAX_FALLBACKS:
            self.report(
                "LR104", f"{len(entries)} fallbacks are more than {_MAX_FALLBACKS}", "settings.llm_fallback_config",
                "Keep the few that would really serve",
            )
            return []
        return entries

    def fallback(self, entry: Any, where: str, index: int, common: Mapping[str, Any]) -> Deployment | None:
        if not isinstance(entry, Mapping):
            self.report("LR103", f"{_kind(entry)} stands where a fallback belongs", where, _HINTS["json"])
            return None
        before = len(self.problems)
        provider, model = (self.member(entry, name, where, text=True) for name in ("provider", "model"))
        spec = self.spec(provider, f"{where}.provider") if provider else None
        for name, value in (("provider", provider), ("model", model)):
            if value is None and not any(p.where == f"{where}.{name}" for p in self.problems[before:]):
                self.report("LR100", f"the fallback has no '{name}'", f"{where}.{name}", _HINTS["json"])
        order = self.number(entry, "order", where, "integer", 1, 1000, default=index + 2)
        weight = self.number(entry, "weight", where, "integer", 1, 1000, default=1)
        temperature = self.number(entry, "temperature", where, "number", 0, 2, default=common["llm_temperature"])
        max_tokens = self.number(entry, "max_tokens", where, "integer", 1, 10_000_000, default=common["llm_max_tokens"])
        profile = self.profile(entry.get("profile"), f"{where}.profile")
        if spec is None or model is None:
            return None
        self.check_members(spec, entry, where)
        return self.deployment(
            spec, model, entry, where=where, order=order, weight=weight, temperature=temperature,
            max_tokens=max_tokens, profile=profile, primary=common["llm_provider"],
        )

    def check_members(self, spec: ProviderSpec, entry: Mapping[Any, Any], where: str) -> None:
        known = [*_COMMON_MEMBERS, *(f.name for f in spec.fields), *(f.alias for f in spec.fields if f.alias)]
        for name in entry:
            if name in known:
                continue
            if name in spec.rejected:
                self.report("LR107", f"'{name}' cannot be used", f"{where}.{name}", spec.rejected[name])
            else:
                hint = did_you_mean(_clip(str(name)), known) or f"A {spec.name} fallback knows {', '.join(known)}"
                self.report("LR106", f"'{_clip(str(name))}' is not known here", f"{where}.{_clip(str(name))}", hint)

    def member(self, entry: Mapping[Any, Any], name: str, where: str, *, text: bool) -> Any:
        value = entry.get(name)
        if value is None:
            return None
        setting = Setting(name, "text" if text else "json", "")
        return self.checked(setting, value, f"{where}.{name}")

    def number(
        self, entry: Mapping[Any, Any], name: str, where: str, kind: Any, low: float, high: float, *, default: Any
    ) -> Any:
        value = entry.get(name)
        if value is None:
            return default
        return self.checked(Setting(name, kind, "", default, low, high), value, f"{where}.{name}")

    def profile(self, value: Any, where: str) -> Mapping[str, Any]:
        if value is None:
            return MappingProxyType({})
        hint = 'Write {"max_input_tokens": 128000, "image_inputs": false}'
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            self.report("LR103", f"{_kind(value)} stands where profile fields belong", where, hint)
            return MappingProxyType({})
        for name, field in value.items():
            if not isinstance(field, bool | int) or (isinstance(field, int) and field < 0):
                self.report("LR103", f"'{_clip(name)}' is neither true, false nor a whole number", where, hint)
                return MappingProxyType({})
        return MappingProxyType(dict(value))

    def deployment(
        self, spec: ProviderSpec, model: str, entry: Mapping[Any, Any], *, where: str, order: int, weight: int,
        temperature: float | None, max_tokens: int | None, profile: Mapping[str, Any], primary: str | None = None,
    ) -> Deployment | None:
        """Return one deployment with all its provider's fields resolved, or None after reports."""
        before = len(self.problems)
        for name, hint in spec.rejected.items():
            if name in self.raw.settings:
                self.report("LR107", f"'{name}' cannot be used", f"settings.{name}", hint)
        settings: dict[str, str] = {}
        secrets: dict[str, Secret] = {}
        sources: dict[str, str] = {}
        for field in spec.fields:
            if field.kind == "secret":
                if (found := self.secret(field, entry, where)) is not None:
                    secrets[field.name], sources[field.name] = found
            elif (value := self.field(spec, field, entry, where, shared=_is_shared(field, primary, spec))) is not None:
                settings[field.name] = value
        if spec.name == "azure-openai":
            settings.setdefault("azure_openai_deployment", model)
            if settings["azure_openai_deployment"] != model:
                settings.setdefault("azure_openai_base_model", model)
        if (account := secrets.get("vertex_ai_credentials")) is not None and _service_account(account) is None:
            self.report(
                "LR103", "the service account is not JSON", _place(where, "vertex_ai_credentials"),
                "Store the whole key file: liverouter set --secret vertex_ai_credentials < key.json",
            )
        if len(self.problems) == before:
            self.check_needs(spec, {*settings, *secrets, *(_credentials_project(secrets))}, where)
        if any(p.severity == "error" for p in self.problems[before:]):
            return None
        used = next((name for name in spec.secret_names if name in secrets), None)
        mark = fingerprint(secrets[used]) if used else ""
        return Deployment(
            id=deployment_id(spec.name, model, settings, mark), provider=spec.name, model=model,
            role="primary" if order == 1 else "fallback", order=order, weight=weight,
            settings=MappingProxyType(settings), secrets=MappingProxyType(secrets),
            endpoint=spec.endpoint(settings, model), credential_source=sources.get(used or "", "ambient"),
            credential_fingerprint=mark, temperature=None if temperature is None else float(temperature),
            max_tokens=max_tokens, profile=profile,
        )

    def check_needs(self, spec: ProviderSpec, have: set[str], where: str) -> None:
        """Report each group of fields of which none has a value."""
        for group in spec.needs:
            if have.intersection(group):
                continue
            first = spec.field(group[0])
            secret = first is not None and first.kind == "secret"
            what = " or ".join(f"'{name}'" for name in group)
            how = f"liverouter set --secret {group[0]}" if secret else f"liverouter set {group[0]}=…"
            self.report(
                "LR102" if secret else "LR100", f"{spec.name} needs {what}", _place(where, group[0]),
                f"Store it: {how}; or set the environment variable {group[0].upper()}",
            )

    def field(self, spec: ProviderSpec, field: Field, entry: Mapping[Any, Any], where: str, *, shared: bool) -> str | None:
        """Return a non-secret field: the entry's own, else the row's, else the environment's, else the default."""
        own = next((name for name in (field.name, field.alias) if name and entry.get(name) is not None), None)
        if own:
            value, place = self.checked(SETTINGS[field.name], entry[own], f"{where}.{own}"), f"{where}.{own}"
        elif shared:
            value, place = self.setting(field.name), self.origin(field.name)
        else:
            value, place = field.default or None, where
        if value is None or field.kind != "url":
            return value
        if fault := _url_fault(value):
            self.report("LR105", fault, place, f"Write a URL like {field.example}")
            return None
        return spec.normalize_url(value)

    # -- secrets -----------------------------------------------------------------------------------------------

    def secret(self, field: Field, entry: Mapping[Any, Any], where: str) -> tuple[Secret, str] | None:
        """Return a secret and its source: named by the entry, else stored, else from the environment."""
        if field.name in self.raw.settings and self.raw.settings[field.name] is not None:
            self.report(
                "LR110", f"'{field.name}' is a secret and stands in settings", f"settings.{field.name}",
                f"Remove the row and store it sealed: liverouter set --secret {field.name}",
            )
            return None
        own = next((name for name in (field.name, field.alias) if name and entry.get(name) is not None), None)
        if own is None:
            return self.named_secret(field.name, where)
        reference = entry[own]
        name = reference.get("secret") if isinstance(reference, Mapping) and set(reference) == {"secret"} else None
        if not isinstance(name, str) or not name.strip():
            self.report(
                "LR110", f"{_kind(reference)} stands where a reference to a secret belongs", f"{where}.{own}",
                'Store the secret (liverouter set --secret NAME) and write {"secret": "NAME"}',
            )
            return None
        found = self.named_secret(name.strip(), f"{where}.{own}")
        if found is None and not any(p.where.endswith(_clip(name)) for p in self.problems):
            self.report(
                "LR102", f"there is no secret '{_clip(name)}'", f"{where}.{own}",
                f"Store it: liverouter set --secret {_clip(name)}; or set the environment variable {_clip(name.upper())}",
            )
        return found

    def named_secret(self, name: str, where: str) -> tuple[Secret, str] | None:
        if (stored := self.raw.secrets.get(name)) is not None:
            try:
                return unseal(name, stored.sealed, self.keyring), f"secret {name}"
            except SecretError as exc:
                self.report(exc.code, exc.message, f"secrets.{_clip(name)}", exc.hint)
                return None
        if (found := self.environment.get(name)) is None:
            return None
        if found.error:
            self.report("LR102", found.error, found.source, "Mount the file, or unset the variable that names it")
            return None
        return Secret(found.text), found.source

    def check_twins(self, deployments: list[Deployment]) -> None:
        """Report deployments that are the same place with the same credentials: one cannot stand in for itself."""
        seen: dict[str, Deployment] = {}
        for deployment in deployments:
            if deployment.id in seen:
                self.report(
                    "LR108", f"{deployment.label} stands twice with the same credentials", "settings.llm_fallback_config",
                    "Remove one, or give the fallback another model, endpoint or key",
                )
            seen[deployment.id] = deployment


_HINTS: Final = {
    "boolean": "Write true or false, without quotes",
    "integer": "Write a whole number, without quotes: 2",
    "number": "Write a number, without quotes: 0.2",
    "json": 'Write {"provider": "openai", "model": "gpt-4o"}, a list of such, or null',
    "text": 'Write text in quotes: "claude-sonnet-4-6"',
    "url": 'Write a URL in quotes: "https://host/path"',
    "secret": "Store it with `liverouter set --secret NAME`",
}


def _type_fault(setting: Setting, value: Any) -> str:
    """Return what belongs there when *value* has the wrong type, else an empty string."""
    match setting.kind:
        case "boolean":
            return "" if isinstance(value, bool) else "true or false"
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return "" if whole and not isinstance(value, bool) else "a whole number"
        case "number":
            return "" if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
        case "json":
            ok = isinstance(value, Mapping | list)
            return "" if ok else "an object"
        case _:
            return "" if isinstance(value, str) else "text"


def _kind(value: Any) -> str:
    """Name the JSON type of *value*, never the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _url_fault(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port                 # raises for a port that is no number
    except ValueError:
        return "the URL cannot be read"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "the URL does not start with http:// or https:// and a host"
    if parts.username or parts.password:
        return "the URL holds a user or password"
    if re.search(r"\s", url):
        return "the URL holds a space"
    return ""


def _is_shared(field: Field, primary: str | None, spec: ProviderSpec) -> bool:
    """Tell whether a deployment takes the row: an azure fallback of an azure primary has a deployment of its own."""
    per_model = field.name in ("azure_openai_deployment", "azure_openai_base_model")
    return not (per_model and primary == spec.name)


def _credentials_project(secrets: Mapping[str, Secret]) -> tuple[str, ...]:
    """Return the project setting's name when the service account names the project itself."""
    account = secrets.get("vertex_ai_credentials")
    return ("vertex_ai_project_id",) if account is not None and (_service_account(account) or {}).get("project_id") else ()


def _service_account(secret: Secret) -> Mapping[str, Any] | None:
    try:
        account = json.loads(secret.reveal())
    except ValueError:
        return None
    return account if isinstance(account, dict) else None


def _place(where: str, name: str) -> str:
    return f"settings.{name}" if where == "settings" else where


def _clip(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
