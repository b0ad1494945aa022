"""What a generation can do, as a LangChain model profile: the least limit and the common abilities of all deployments.

A failover must fit as well, so limits are the minimum and abilities the conjunction. A row may state what litellm's
model map does not know or gets wrong.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers import spec_of
from liverouter.routing.model_map import model_info

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.language_models import ModelProfile

    from liverouter.revision import Deployment

try:  # what LangChain's tracers take for provider and model of the run; since langchain-core 1.8
    from langchain_core.utils._gateway import GATEWAY_METADATA_RESPONSE_KEY as _SERVED
except ImportError:
    _SERVED = None  # type: ignore[assignment]

DEFAULT_MAX_INPUT_TOKENS: Final = 128_000  # for models that litellm's map does not know
DEFAULT_PROFILE: Final[Mapping[str, Any]] = MappingProxyType(
    {"max_input_tokens": DEFAULT_MAX_INPUT_TOKENS, "structured_output": False}
)
# Abilities as LangChain's ModelProfile names them, each with its name in litellm's model map.
_ABILITIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "image_inputs": "supports_vision",
        "image_url_inputs": "supports_vision",
        "pdf_inputs": "supports_pdf_input",
        "audio_inputs": "supports_audio_input",
        "video_inputs": "supports_video_input",
        "audio_outputs": "supports_audio_output",
        "reasoning_output": "supports_reasoning",
        "tool_calling": "supports_function_calling",
        "tool_choice": "supports_tool_choice",
        "structured_output": "supports_response_schema",
    }
)


def profile_of(deployment: Deployment, *, promises: bool = True) -> dict[str, Any]:
    """Return what *deployment* can do; its row's own fields win.

    *promises*: the engine in use binds an answer to a schema without forcing a tool, so that other tools are used.

    A model that litellm's list does not know has the limits of `DEFAULT_PROFILE`, and its abilities are left out, which
    LangChain takes for "unknown".
    """
    lacks = dict.fromkeys(spec_of(deployment).lacks(deployment.model), False)
    lacks |= {} if promises else {"structured_output": False}
    return dict(DEFAULT_PROFILE) | dict(_from_map(deployment) or {}) | lacks | dict(deployment.profile)


def known_max_input_tokens(deployment: Deployment) -> int | None:
    """Return the longest prompt of *deployment*'s model in tokens, None where nobody said it."""
    known = deployment.profile.get("max_input_tokens") or (_from_map(deployment) or {}).get("max_input_tokens")
    return known if type(known) is int else None


def traced(deployment: Deployment) -> dict[str, str]:
    """Return provider and model of *deployment* as traces name them, the provider by litellm's word; and its name."""
    provider, model = spec_of(deployment).litellm_name(deployment.model)
    return {"ls_provider": provider, "ls_model_name": model, "liverouter_name": deployment.name}


def told_to_tracers(deployment: Deployment) -> dict[str, Any] | None:
    """Return what a stream's last piece tells tracers of who served it, None where LangChain has no place for it."""
    if _SERVED is None:
        return None
    told = traced(deployment)
    return {_SERVED: {"provider": told["ls_provider"], "model": told["ls_model_name"]}}


def combine(profiles: Sequence[Mapping[str, Any]]) -> ModelProfile:
    """Return the profile that fits all of *profiles*; always with `max_input_tokens`."""
    combined: dict[str, Any] = {"max_input_tokens": _least(profiles, "max_input_tokens") or DEFAULT_MAX_INPUT_TOKENS}
    if (output := _least(profiles, "max_output_tokens")) is not None:
        combined["max_output_tokens"] = output
    for name in {name for profile in profiles for name in profile} - {"max_input_tokens", "max_output_tokens"}:
        values: list[Any] = [profile.get(name) for profile in profiles]
        if any(value is False for value in values):
            combined[name] = False
        elif all(value is not None for value in values):
            combined[name] = all(values) if all(isinstance(value, bool) for value in values) else min(values)
    return combined  # type: ignore[return-value]  # a TypedDict, built by name


def _least(profiles: Iterable[Mapping[str, Any]], name: str) -> int | None:
    """Return the least limit *name* of those that have one, None where none has; `true` is no limit."""
    values = [profile.get(name) for profile in profiles]
    return min((value for value in values if type(value) is int and value > 0), default=None)


def _from_map(deployment: Deployment) -> dict[str, Any] | None:
    """Return the profile that litellm's model map has for *deployment*, None for a model that it does not know."""
    known = model_info(deployment)
    if known is None:
        return None
    profile: dict[str, Any] = {name: bool(known.get(theirs)) for name, theirs in _ABILITIES.items()}
    profile |= {"text_inputs": True, "text_outputs": True}
    profile["max_input_tokens"] = known.get("max_input_tokens") or known.get("max_tokens") or DEFAULT_MAX_INPUT_TOKENS
    if known.get("max_output_tokens"):
        profile["max_output_tokens"] = known["max_output_tokens"]
    return profile
