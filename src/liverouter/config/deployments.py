"""Rows and the fallbacks in them become deployments, or Problems: which there are, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.deployment_reader import DeploymentReader
from liverouter.config.fitting import fit
from liverouter.config.members import MEMBERS
from liverouter.config.settings import HINTS, PROFILE_HINT, kind_of
from liverouter.config.values import Values, clip
from liverouter.errors import did_you_mean
from liverouter.providers import ALIASES, PROVIDERS, ProviderSpec

if TYPE_CHECKING:
    from liverouter.revision import Deployment

_MAX_FALLBACKS: Final = 20
_MOST_STRANGERS: Final = 20  # members of one entry that are no setting, each with a guess at what was meant
_NO_PROFILE: Final[Mapping[str, Any]] = MappingProxyType({})


def read_deployments(values: Values, common: Mapping[str, Any]) -> list[Deployment]:
    """Return the deployments that the rows describe, by order; what is wrong with them is reported to *values*.

    *common* holds the values of the settings that belong to no provider, by name. A deployment with Problems is left
    out.
    """
    return _Deployments(values, common).all()


class _Deployments:
    """Makes the primary and the fallbacks of one validation."""

    def __init__(self, values: Values, common: Mapping[str, Any]) -> None:
        self.values, self.common = values, common

    def all(self) -> list[Deployment]:
        """Return the deployments by order."""
        config = self.common["llm_fallback_config"]
        found = [self.primary()]
        for index, entry in enumerate(self.entries(config)):
            place = f"[{index}]" if isinstance(config, list) else ""
            found.append(self.fallback(entry, f"settings.llm_fallback_config{place}", index))
        deployments = [d for d in found if d is not None]
        self.check_twins(deployments)
        return sorted(deployments, key=lambda d: d.order)

    def primary(self) -> Deployment | None:
        """Return the primary, None where a Problem of it is reported."""
        provider, model = self.common["llm_provider"], self.common["llm_model"]
        for name, value, example in (
            ("llm_provider", provider, "anthropic"),
            ("llm_model", model, "claude-sonnet-4-6"),
        ):
            if value is None and not any(p.where == self.values.origin(name) for p in self.values.problems):
                hint = f"Set it: liverouter set {name}={example}"
                self.values.report("LR100", f"'{name}' is not set", f"settings.{name}", hint)
        spec = self.spec(provider, self.values.origin("llm_provider")) if provider is not None else None
        profile = self.profile(self.common["llm_profile"], "settings.llm_profile")
        if spec is None or model is None:
            return None
        found = DeploymentReader(self.values, spec, model, {}, where="settings", primary=None).read(
            order=1,
            weight=1,
            temperature=self.common["llm_temperature"],
            max_tokens=self.common["llm_max_tokens"],
            profile=profile,
        )
        return found and fit(self.values, found, {}, "settings")

    def spec(self, provider: str, where: str) -> ProviderSpec | None:
        """Return the provider of that name, None for another name, which is reported at *where*."""
        if spec := PROVIDERS.get(provider):
            return spec
        alias = ALIASES.get(provider.lower())
        known = ", ".join(PROVIDERS)
        hint = f"Did you mean '{alias}'?" if alias else did_you_mean(clip(provider), PROVIDERS)
        self.values.report(
            "LR101", f"provider '{clip(provider)}' is not one of {known}", where, hint or f"Choose one of {known}"
        )
        return None

    def entries(self, config: Any) -> Sequence[Any]:
        """Return the entries of `llm_fallback_config`: one, a list, or null; none where more than 20 are reported."""
        entries = config if isinstance(config, list) else [] if config is None else [config]
        if len(entries) > _MAX_FALLBACKS:
            message = f"{len(entries)} fallbacks are more than {_MAX_FALLBACKS}"
            self.values.report("LR104", message, "settings.llm_fallback_config", "Keep the few that would really serve")
            return []
        return entries

    def fallback(self, entry: Any, where: str, index: int) -> Deployment | None:
        """Return the fallback of *entry*, None where a Problem of it is reported.

        *index* counts from 0 and gives the order where the entry says none: 2 for the first.
        """
        if not isinstance(entry, Mapping):
            self.values.report("LR103", f"{kind_of(entry)} stands where a fallback belongs", where, HINTS["json"])
            return None
        before = len(self.values.problems)
        provider = self.member(entry, "provider", where)
        model = self.member(entry, "model", where)
        spec = self.spec(provider, f"{where}.provider") if provider else None
        for name, value in (("provider", provider), ("model", model)):
            if value is None and not any(p.where == f"{where}.{name}" for p in self.values.problems[before:]):
                self.values.report("LR100", f"the fallback has no '{name}'", f"{where}.{name}", HINTS["json"])
        numbers = {
            "order": self.member(entry, "order", where, index + 2),
            "weight": self.member(entry, "weight", where, 1),
            "temperature": self.member(entry, "temperature", where, self.common["llm_temperature"]),
            "max_tokens": self.member(entry, "max_tokens", where, self.common["llm_max_tokens"]),
        }
        profile = self.profile(entry.get("profile"), f"{where}.profile")
        if spec is None or model is None:
            return None
        self.check_members(spec, entry, where)
        reader = DeploymentReader(self.values, spec, model, entry, where=where, primary=self.common["llm_provider"])
        found = reader.read(**numbers, profile=profile)
        return found and fit(self.values, found, entry, where)

    def member(self, entry: Mapping[Any, Any], name: str, where: str, default: Any = None) -> Any:
        """Return the member *name* of *entry*; *default* where it says none, or what does not fit and is reported."""
        value = entry.get(name)
        if value is None:
            return default
        return self.values.checked(replace(MEMBERS[name], default=default), value, f"{where}.{name}")

    def profile(self, value: Any, where: str) -> Mapping[str, Any]:
        """Return the profile fields that a row or a member gives; none where it does not fit, which is reported."""
        if value is None:
            return _NO_PROFILE
        if not isinstance(value, Mapping):
            self.values.report("LR103", f"{kind_of(value)} stands where profile fields belong", where, PROFILE_HINT)
            return _NO_PROFILE
        for name, field in value.items():
            if not isinstance(field, bool | int) or field < 0:
                message = f"'{clip(str(name))}' is neither true, false nor a whole number"
                self.values.report("LR103", message, where, PROFILE_HINT)
                return _NO_PROFILE
        return MappingProxyType({str(name): field for name, field in value.items()})

    def check_members(self, spec: ProviderSpec, entry: Mapping[Any, Any], where: str) -> None:
        """Report members that no fallback of *spec* has: the first 20 one by one, and how many more there are."""
        known = [*MEMBERS, *(f.name for f in spec.fields), *(f.alias for f in spec.fields if f.alias)]
        strangers = (str(n) for n in entry if n not in known)
        for name in islice(strangers, _MOST_STRANGERS):
            place = f"{where}.{clip(name)}"
            if name in spec.rejected:
                self.values.report("LR107", f"'{name}' cannot be used", place, spec.rejected[name])
            else:
                hint = did_you_mean(clip(name), known) or f"A {spec.name} fallback knows {', '.join(known)}"
                self.values.report("LR106", f"'{clip(name)}' is not known here", place, hint)
        if more := sum(1 for _ in strangers):
            hint = f"A {spec.name} fallback knows {', '.join(known)}"
            self.values.report("LR106", f"{more} more members are not known here", where, hint)

    def check_twins(self, deployments: Sequence[Deployment]) -> None:
        """Report deployments that are the same place with the same credentials: one cannot stand in for itself."""
        seen: set[str] = set()
        for deployment in deployments:
            if deployment.id in seen:
                self.values.report(
                    "LR108",
                    f"{deployment.label} stands twice with the same credentials",
                    "settings.llm_fallback_config",
                    "Remove one, or give the fallback another model, endpoint or key",
                )
            seen.add(deployment.id)
