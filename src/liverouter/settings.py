"""The closed list of settings rows: name, type, bounds, default. Pure data for validation, command line and page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from liverouter.errors import LiveRouterError
from liverouter.providers import PROVIDERS

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

Kind = Literal["text", "url", "secret", "number", "integer", "boolean", "json"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of `liverouter.settings`, or for a secret of `liverouter.secrets`."""

    name: str
    kind: Kind
    doc: str
    default: Any = None
    low: float | None = None  # inclusive
    high: float | None = None  # inclusive
    pattern: re.Pattern[str] | None = None  # what a text that becomes a piece of a URL must match whole

    @property
    def variable(self) -> str:
        """Return the environment variable that serves where no row stands."""
        return self.name.upper()


_MEANT: Final = tuple(f"{spec.name}: {spec.model_means}" for spec in PROVIDERS.values() if spec.model_means)
_OWN = (
    Setting("llm_provider", "text", f"the primary's provider: {', '.join(PROVIDERS)}"),
    Setting("llm_model", "text", "; ".join(("the primary's model", *_MEANT))),
    Setting("llm_fallback_config", "json", "a fallback {provider, model, …} or a list of them; null for none"),
    Setting("llm_temperature", "number", "sampling temperature; none sent by default", low=0, high=2),
    Setting("llm_max_tokens", "integer", "longest answer in tokens; none sent by default", low=1, high=10_000_000),
    Setting("llm_profile", "json", "ModelProfile fields of the primary that litellm does not know, or gets wrong"),
    Setting(
        "litellm_enable", "boolean", "false: the plain LangChain model of the primary, without failover", default=True
    ),
    Setting("litellm_num_retries", "integer", "tries on one deployment for 5xx before the next", 2, 0, 10),
    Setting("litellm_allowed_fails", "integer", "failures before a deployment cools", 3, 0, 1000),
    Setting(
        "litellm_cooldown_time", "number", "seconds that a deployment cools: others take its calls", 60.0, 0, 86_400
    ),
    Setting("litellm_timeout", "number", "seconds for one attempt", 120.0, 0.1, 3_600),
    Setting("litellm_model_name", "text", "the logical name in the Router, traces and metrics", default="ekaiX-model"),
    Setting(
        "litellm_check_streams", "boolean", "false: accept streams that end without their finish marker", default=True
    ),
)

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {s.name: s for s in _OWN}
    | {
        f.name: Setting(f.name, f.kind, f"{spec.label}: {f.label}", f.default or None, pattern=f.pattern)
        for spec in PROVIDERS.values()
        for f in spec.fields
    }
)


class SettingValueError(LiveRouterError, ValueError):
    """Text that cannot become the value of a setting (LR103)."""

    def __init__(self, setting: Setting, expected: str) -> None:
        """Say what *setting* expects."""
        super().__init__(
            f"the value is not {expected}", code="LR103", where=f"settings.{setting.name}", hint=_EXAMPLES[setting.kind]
        )


_EXAMPLES: Final = {
    "boolean": "Write true or false.",
    "integer": "Write a whole number, without quotes: 2.",
    "number": "Write a number, without quotes: 0.2.",
    "json": 'Write JSON: {"provider": "openai", "model": "gpt-4o"}, or null.',
    "text": 'Write text: "claude-sonnet-4-6".',
    "url": "Write a URL: https://host/path.",
    "secret": "Store it with `liverouter set --secret NAME`.",
}
_BOOLEANS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def parse(setting: Setting, text: str) -> Any:
    """Return the JSON value that *text* (an environment variable, a command line argument) stands for.

    Raises:
        SettingValueError: the text does not fit the setting's type.
    """
    text = text.strip()
    if text.lower() in ("null", "none") and setting.kind != "text":
        return None
    match setting.kind:
        case "boolean":
            if text.lower() not in _BOOLEANS:
                raise SettingValueError(setting, "true or false")
            return _BOOLEANS[text.lower()]
        case "integer" | "number":
            return _number(setting, text)
        case "json":
            try:
                return json.loads(text)
            except (ValueError, RecursionError) as exc:
                raise SettingValueError(setting, "JSON") from exc
        case _:
            return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _number(setting: Setting, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError as exc:
        raise SettingValueError(setting, "a whole number" if setting.kind == "integer" else "a number") from exc
    if setting.kind == "integer":
        raise SettingValueError(setting, "a whole number")
    return number
