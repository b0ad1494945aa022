"""One entry of a row becomes a deployment: a fallback, or the primary of a named model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.deployment_reader import DeploymentReader
from liverouter.config.fitting import Said, fit
from liverouter.config.kinds import HINTS, kind_of
from liverouter.config.members import MEMBERS
from liverouter.config.params import read_params
from liverouter.config.settings import PROFILE_HINT
from liverouter.config.values import Values, clip
from liverouter.errors import did_you_mean
from liverouter.providers import ALIASES, PROVIDERS, ProviderSpec

if TYPE_CHECKING:
    from liverouter.revision import Deployment

NAMED: Final = "named model"
_BASIC: Final = ("temperature", "max_tokens")  # parameters that have a member of their own
_TIMES: Final = ("timeout", "first_token_timeout")
_MOST_STRANGERS: Final = 20  # members of one entry that are no setting, each with a guess at what was meant
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Primary:
    """What entries need to know of the primary that they stand behind.

    Attributes:
        name: of the model.
        provider: None where that is not known.
        said: the parameters that rows give it, which an entry takes over where it says nothing itself.
        of_rows: rows of its own describe it, and no entry.
    """

    name: str
    provider: str | None = None
    said: Said = field(default_factory=lambda: _NOTHING)
    of_rows: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a row.

    Attributes:
        values: gives the values, and takes the Problems.
        members: what stands there.
        where: its place, ``settings.llm_fallback_config[0]``.
        kind: what it is, for people: "fallback" or `NAMED`.
        common: the values of the settings that belong to no provider, by name.
    """

    values: Values
    members: Mapping[Any, Any]
    where: str
    kind: str
    common: Mapping[str, Any]

    def as_primary(self, name: str) -> Primary:
        """Return what the fallbacks of the model *name*, whose primary this is, need to know."""
        return Primary(name, self._member("provider"), self._said(Primary(name)))

    def read(self, primary: Primary, order: int | None) -> Deployment | None:
        """Return the deployment, None where a Problem of it is reported.

        *primary*: whose fallback it is, the first of them by itself with *order* 2; with *order* None it is one itself.
        """
        before = len(self.values.problems)
        provider, model = self._member("provider"), self._member("model")
        spec = read_provider(self.values, provider, f"{self.where}.provider") if provider else None
        for name, value in (("provider", provider), ("model", model)):
            place = f"{self.where}.{name}"
            if value is None and not any(p.where == place for p in self.values.problems[before:]):
                self.values.report("LR100", f"the {self.kind} has no '{name}'", place, HINTS["json"])
        inherited = Primary(primary.name) if order is None else primary
        said = self._said(inherited)
        fields = {
            "name": primary.name,
            "order": self._member("order", default=order or 1, high=1 if order is None else 1000),
            "weight": float(self._member("weight")),
            "profile": read_profile(self.values, self.members.get("profile"), f"{self.where}.profile"),
            **self._times(),
        }
        if spec is None or model is None:
            return None
        self._check_members(spec)
        by_rows = inherited.of_rows and inherited.provider != spec.name
        reader = DeploymentReader(self.values, spec, model, self.members, where=self.where, named_by_rows=by_rows)
        found = reader.read(params=_NOTHING, **fields)
        return found and fit(self.values, found, said, native=not self.common["litellm_enable"], entry=self.where)

    def _said(self, primary: Primary) -> dict[str, tuple[Any, str]]:
        """Return the parameters that the entry gives, and takes over from *primary*, each with the place that says it.

        `params` are taken over whole or not at all.
        """
        given = self.members.get("params")
        said = {n: v for n, v in primary.said.items() if n in _BASIC or given is None}
        for name, value in read_params(self.values, given, f"{self.where}.params").items():
            said[name] = (value, f"{self.where}.params.{name}")
        for name in _BASIC:
            if (value := self._member(name)) is not None:
                said[name] = (value, f"{self.where}.{name}")
        if given is None and "extra_body" in said and self._member("provider") != primary.provider:
            _, place = said.pop("extra_body")
            what = f"the extra_body of a primary of {primary.provider} is not sent to the fallback at {self.where}"
            hint = f"Give this fallback 'params' of its own, at {self.where}"
            self.values.report("LR114", what, place, hint, "warning")
        return said

    def _times(self) -> dict[str, float | None]:
        """Return the seconds for one attempt, and to its first content."""
        attempt_s, first_s = (self._member(name) for name in _TIMES)
        return times(self.common, attempt_s, first_s)

    def _member(self, name: str, **changes: Any) -> Any:
        """Return a member of the entry; its default where it says none, or what does not fit, which is reported.

        *changes* replace what the table of members says of it.
        """
        setting = replace(MEMBERS[name], **changes)
        value = self.members.get(name)
        return setting.default if value is None else self.values.checked(setting, value, f"{self.where}.{name}")

    def _check_members(self, spec: ProviderSpec) -> None:
        """Report members that no entry of *spec* has: the first 20 one by one, and how many more there are."""
        known = [*MEMBERS, *(f.name for f in spec.fields), *(f.alias for f in spec.fields if f.alias)]
        known += ["fallbacks"] if self.kind == NAMED else []  # which are read apart
        knows = f"A {spec.name} {self.kind} knows {', '.join(known)}"
        strangers = (str(n) for n in self.members if n not in known)
        for name in islice(strangers, _MOST_STRANGERS):
            place = f"{self.where}.{clip(name)}"
            if name in spec.rejected:
                self.values.report("LR107", f"'{name}' cannot be used", place, spec.rejected[name])
            else:
                hint = did_you_mean(clip(name), known) or knows
                if spec.holder is not None and name in [member.name for member in spec.members]:
                    hint = f"Write it into {spec.holder.name}"
                self.values.report("LR106", f"'{clip(name)}' is not known here", place, hint)
        if more := sum(1 for _ in strangers):
            self.values.report("LR106", f"{more} more members are not known here", self.where, knows)


def times(common: Mapping[str, Any], attempt_s: float | None, first_s: float | None) -> dict[str, float | None]:
    """Return a deployment's two times, of which it says *attempt_s* and *first_s* itself."""
    timeout_s = common["litellm_timeout"] if attempt_s is None else attempt_s
    return {"timeout_s": float(timeout_s), "first_token_timeout_s": None if first_s is None else float(first_s)}


def read_provider(values: Values, provider: str, where: str) -> ProviderSpec | None:
    """Return the provider of that name, None for another name, which is reported at *where*."""
    if spec := PROVIDERS.get(provider):
        return spec
    alias = ALIASES.get(provider.lower())
    known = ", ".join(PROVIDERS)
    hint = f"Did you mean '{alias}'?" if alias else did_you_mean(clip(provider), PROVIDERS)
    values.report(
        "LR101", f"provider '{clip(provider)}' is not one of {known}", where, hint or f"Choose one of {known}"
    )
    return None


def read_profile(values: Values, value: Any, where: str) -> Mapping[str, Any]:
    """Return the profile fields that a row or a member gives; none where it does not fit, which is reported."""
    if value is None:
        return _NOTHING
    if not isinstance(value, Mapping):
        values.report("LR103", f"{kind_of(value)} stands where profile fields belong", where, PROFILE_HINT)
        return _NOTHING
    for name, given in value.items():
        if not isinstance(given, bool | int) or given < 0:
            message = f"'{clip(str(name))}' is neither true, false nor a whole number"
            values.report("LR103", message, where, PROFILE_HINT)
            return _NOTHING
    return MappingProxyType({str(name): given for name, given in value.items()})
