"""The closed list of settings rows: name, type, bounds, default. Pure data for validation, command line and page."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.kinds import Setting
from liverouter.providers import PROVIDERS, Field, ProviderSpec
from liverouter.revision import DEFAULT_NAME
from liverouter.secrecy.origins import origin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PROFILE_HINT: Final = 'Write {"max_input_tokens": 128000, "image_inputs": false}'
PARAMS_HINT: Final = 'Write {"top_p": 0.9, "reasoning_effort": "low"}'
MODEL_HINT: Final = 'Write {"provider": "openai", "model": "gpt-5.4"}, and "fallbacks" beside them where there are any'
MODEL_PREFIX: Final = "llm:"  # of the rows of named models, ``llm:fast``
_MODEL_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MEANT: Final = tuple(f"{spec.name}: {spec.model_means}" for spec in PROVIDERS.values() if spec.model_means)
ALERT_WEBHOOK: Final = "llm_alert_webhook"
_ENCRYPTED: Final = re.compile(r"https://.*|http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")  # or here
_OWN = (
    Setting("llm_provider", "text", f"the primary's provider: {', '.join(PROVIDERS)}"),
    Setting("llm_model", "text", "; ".join(("the primary's model", *_MEANT))),
    Setting(
        "llm_fallback_config",
        "json",
        "a fallback {provider, model, …} or a list of them; null for none",
        may_be_list=True,
    ),
    Setting("llm_temperature", "number", "sampling temperature; none sent by default", low=0, high=2),
    Setting("llm_max_tokens", "integer", "longest answer in tokens; none sent by default", low=1, high=10_000_000),
    Setting(
        "llm_params",
        "json",
        "further parameters of each answer, of the fallbacks as well: top_p, reasoning_effort, …; none sent by default",
        own_hint=PARAMS_HINT,
    ),
    Setting("llm_weight", "number", "the primary's share of the calls among equal orders", 1, 0, 1000, above_low=True),
    Setting(
        "llm_timeout", "number", "seconds for one attempt at the primary; else `litellm_timeout`", None, 0.1, 3_600
    ),
    Setting(
        "llm_first_token_timeout",
        "number",
        "seconds until a stream of the primary begins to say something, then another is asked",
        None,
        0.1,
        3_600,
    ),
    Setting(
        "llm_profile",
        "json",
        "ModelProfile fields of the primary that litellm does not know, or gets wrong",
        own_hint=PROFILE_HINT,
    ),
    Setting(
        ALERT_WEBHOOK,
        "url",
        "gets a JSON post when `problems` gains or loses an error; may be stored as a secret of this name instead",
        pattern=_ENCRYPTED,
        own_hint="No alerts are sent. Write a URL that begins with https://; http:// is for this machine alone",
        severity="warning",
    ),
    Setting(
        "llm_probe_interval_h",
        "number",
        "hours after which a deployment that nobody called is asked once, which costs some 30 tokens; off by default",
        low=0.1,
        high=1_000,
    ),
    Setting(
        "litellm_enable",
        "boolean",
        "false: the providers' own LangChain classes, the same fallbacks",
        default=True,
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

COMMON: Final = tuple(setting.name for setting in _OWN)  # the settings that belong to no provider


def setting_of(spec: ProviderSpec, field: Field) -> Setting:
    """Return what *field* of *spec* takes."""
    hint = f"Write {field.example}" if field.kind == "json" else ""
    doc = f"{spec.label}: {field.label}"
    return Setting(field.name, field.kind, doc, field.default or None, pattern=field.pattern, own_hint=hint)


SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {s.name: s for s in _OWN} | {f.name: setting_of(spec, f) for spec in PROVIDERS.values() for f in spec.fields}
)


NAMED_MODEL: Final = Setting(
    "llm:NAME", "json", "a named model {provider, model, fallbacks, …}, NAME of a-z, 0-9, _ and -", own_hint=MODEL_HINT
)


def is_model_name(name: object) -> bool:
    """Tell whether a named model can be called *name*: it begins with a-z, then up to 31 of a-z, 0-9, _ and -.

    "default" is none: that is the model of the rows `llm_provider`, `llm_model`, …
    """
    return isinstance(name, str) and name != DEFAULT_NAME and _MODEL_NAME.fullmatch(name) is not None


def names_a_model(row: str) -> bool:
    """Tell whether *row* is ``llm:NAME`` of a named model."""
    return row.startswith(MODEL_PREFIX) and is_model_name(row.removeprefix(MODEL_PREFIX))


def shown(name: str, value: Any) -> Any:
    """Return *value* of the setting *name* as it may be shown: of a webhook's URL, which is its key, the origin."""
    return origin_of(value) if name == ALERT_WEBHOOK and isinstance(value, str) else value
