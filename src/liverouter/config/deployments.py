"""Rows become deployments, or Problems: which names there are, and of each the primary and its fallbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.deployment_reader import DeploymentReader
from liverouter.config.entries import NAMED, Entry, Primary, read_profile, read_provider, times
from liverouter.config.fitting import fit
from liverouter.config.kinds import HINTS, kind_of
from liverouter.config.params import read_params
from liverouter.config.settings import MODEL_PREFIX, names_a_model
from liverouter.revision import DEFAULT_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.config.fitting import Said
    from liverouter.config.values import Values
    from liverouter.revision import Deployment

_MOST_NAMES: Final = 50
_MOST_FALLBACKS: Final = 20  # of one name
_MOST_DEPLOYMENTS: Final = 200  # of all names
_FALLBACKS: Final = "settings.llm_fallback_config"


def read_deployments(values: Values, common: Mapping[str, Any]) -> list[Deployment]:
    """Return the deployments that rows describe, by name and order; what is wrong with them is reported to *values*.

    *common* holds the values of the settings that belong to no provider, by name. A deployment with Problems is left
    out.
    """
    reader = _Deployments(values, common)
    found = reader.default()
    for name, row in reader.named().items():
        found += reader.model(name, row)
    return found


class _Deployments:
    """Makes the deployments of one validation."""

    def __init__(self, values: Values, common: Mapping[str, Any]) -> None:
        self.values, self.common = values, common

    def default(self) -> list[Deployment]:
        """Return the deployments of "default", by order: its primary's fields are rows."""
        said = self.said()
        primary = Primary(DEFAULT_NAME, self.common["llm_provider"], said, of_rows=True)
        config = self.common["llm_fallback_config"]
        return self.sorted([self.primary(said), *self.fallbacks(config, _FALLBACKS, primary)], _FALLBACKS)

    def named(self) -> dict[str, Mapping[str, Any]]:
        """Return the rows of the named models, by name; none where there are too many, which is reported."""
        names = {row.removeprefix(MODEL_PREFIX): row for row in sorted(filter(names_a_model, self.values.raw.settings))}
        if len(names) > _MOST_NAMES:
            message = f"{len(names)} named models are more than {_MOST_NAMES}"
            self.values.report("LR104", message, "settings", "Remove the rows of those that nobody asks for")
            return {}
        found = {name: self.values.named_model(row) for name, row in names.items()}
        models = {name: row for name, row in found.items() if row is not None}
        count = 1 + len(_listed(self.common["llm_fallback_config"]))
        count += sum(1 + len(_listed(row.get("fallbacks"))) for row in models.values())
        if count > _MOST_DEPLOYMENTS:
            message = f"all names have {count} deployments, more than {_MOST_DEPLOYMENTS}"
            self.values.report("LR104", message, "settings", "Keep the few fallbacks that would really serve")
            return {}
        return models

    def model(self, name: str, row: Mapping[str, Any]) -> list[Deployment]:
        """Return the deployments of a named model, by order."""
        where = f"settings.{MODEL_PREFIX}{name}"
        members = {member: value for member, value in row.items() if member != "fallbacks"}
        entry = Entry(self.values, members, where, NAMED, self.common)
        primary = entry.read(Primary(name), None)
        fallbacks = self.fallbacks(row.get("fallbacks"), f"{where}.fallbacks", entry.as_primary(name))
        return self.sorted([primary, *fallbacks], f"{where}.fallbacks")

    def said(self) -> Said:
        """Return the parameters that rows give the primary, each with the place that says it."""
        where = self.values.origin("llm_params")
        params = read_params(self.values, self.common["llm_params"], where)
        said = {name: (value, f"{where}.{name}") for name, value in params.items()}
        for name in ("temperature", "max_tokens"):
            if (value := self.common[f"llm_{name}"]) is not None:
                said[name] = (value, self.values.origin(f"llm_{name}"))
        return said

    def primary(self, said: Said) -> Deployment | None:
        """Return the primary that rows describe, None where a Problem of it is reported."""
        provider, model = self.common["llm_provider"], self.common["llm_model"]
        for name, value, example in (
            ("llm_provider", provider, "anthropic"),
            ("llm_model", model, "claude-sonnet-4-6"),
        ):
            if value is None and not any(p.where.startswith(self.values.origin(name)) for p in self.values.problems):
                hint = f"Set it: liverouter set {name}={example}"
                self.values.report("LR100", f"'{name}' is not set", f"settings.{name}", hint)
        where = self.values.origin("llm_provider")
        spec = read_provider(self.values, provider, where) if provider is not None else None
        profile = read_profile(self.values, self.common["llm_profile"], "settings.llm_profile")
        if spec is None or model is None:
            return None
        found = DeploymentReader(self.values, spec, model, {}, where="settings", named_by_rows=True).read(
            name=DEFAULT_NAME,
            order=1,
            weight=float(self.common["llm_weight"]),
            params={},
            profile=profile,
            **times(self.common, self.common["llm_timeout"], self.common["llm_first_token_timeout"]),
        )
        return found and fit(self.values, found, said, native=not self.common["litellm_enable"])

    def fallbacks(self, config: Any, where: str, primary: Primary) -> Iterator[Deployment | None]:
        """Yield the fallbacks of *config*, one entry, a list or null, at *where*; None for one with Problems."""
        entries = _listed(config)
        if len(entries) > _MOST_FALLBACKS:
            message = f"{len(entries)} fallbacks are more than {_MOST_FALLBACKS}"
            self.values.report("LR104", message, where, "Keep the few that would really serve")
            return
        for index, members in enumerate(entries):
            place = f"{where}[{index}]" if isinstance(config, list) else where
            if isinstance(members, Mapping):
                yield Entry(self.values, members, place, "fallback", self.common).read(primary, index + 2)
            else:
                message = f"{kind_of(members)} stands where a fallback belongs"
                self.values.report("LR103", message, place, HINTS["json"])

    def sorted(self, found: Sequence[Deployment | None], where: str) -> list[Deployment]:
        """Return what was *found* of one name by order; reports at *where* the same place with the same credentials.

        One cannot stand in for itself.
        """
        deployments = [d for d in found if d is not None]
        seen: set[str] = set()
        for deployment in deployments:
            if deployment.id in seen:
                self.values.report(
                    "LR108",
                    f"{deployment.label} stands twice with the same credentials",
                    where,
                    "Remove one, or give the fallback another model, endpoint or key",
                )
            seen.add(deployment.id)
        return sorted(deployments, key=lambda d: d.order)


def _listed(config: Any) -> Sequence[Any]:
    """Return the entries of a row or member that holds one, a list, or null."""
    return config if isinstance(config, list) else [] if config is None else [config]
