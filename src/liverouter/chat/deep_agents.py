"""Deep Agents' guidance for a model, given live: the prompt suffix that fits the model in force, call by call.

Deep Agents chooses its harness profile once, when an agent is built, from the name that the model reports. The handle
reports a logical name and may be served by anybody later, so its profile is a middleware that looks the real model up.
Loaded by Deep Agents itself, through the entry point `deepagents.harness_profiles`; nothing here imports it earlier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepagents import HarnessProfile, register_harness_profile
from deepagents.profiles.harness import harness_profiles
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import SystemMessage

from liverouter.chat.model import PROVIDER, LiveChatModel
from liverouter.providers import spec_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain.agents.middleware import ModelRequest, ModelResponse

    from liverouter.revision import Deployment


def register() -> None:
    """Register the harness profile of the handle; Deep Agents calls this once per process."""
    register_harness_profile(PROVIDER, HarnessProfile(extra_middleware=lambda: [LiveHarnessMiddleware()]))


class LiveHarnessMiddleware(AgentMiddleware[Any, Any]):
    """Appends the prompt suffix of the model that the handle would be served by now; of no other model."""

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the model with its own guidance."""
        return handler(_with_suffix(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Call the model with its own guidance."""
        return await handler(_with_suffix(request))


def _with_suffix(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Return *request* with the suffix of the primary's model behind its system message; itself where there is none."""
    model = request.model
    generation = model.source.current if isinstance(model, LiveChatModel) else None
    suffix = _suffix(generation.primary) if generation is not None else None
    if not suffix:
        return request
    said = request.system_message
    blocks: list[Any] = [*(said.content_blocks if said is not None else ()), {"type": "text", "text": f"\n\n{suffix}"}]
    return request.override(system_message=SystemMessage(content=blocks))


def _suffix(deployment: Deployment) -> str | None:
    """Return the prompt suffix of Deep Agents for the model of *deployment*, on whichever cloud; None without one."""
    spec = spec_of(deployment)
    model = spec.known_as(deployment)
    look_up = getattr(harness_profiles, "_get_harness_profile", None)  # it has no public name
    profile = look_up(f"{spec.maker_of(model)}:{model.partition('@')[0]}") if look_up is not None else None
    return profile.system_prompt_suffix if profile is not None else None
