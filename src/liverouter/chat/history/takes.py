"""What a deployment takes of a history, by the API that it is asked by and by the library that asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers import native_model, spec_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage

    from liverouter.generation import Generation
    from liverouter.providers import History
    from liverouter.revision import Deployment

_GEMINI: Final = "google_genai"
_SIGNED: Final = frozenset({"thinking_blocks", "reasoning_items"})  # LangChain's litellm model checks whose they are


@dataclass(frozen=True, slots=True)
class Takes:
    """What is taken.

    Attributes:
        api: by the provider's API.
        by_litellm: litellm asks, and no class of the provider's.
        own: `model_provider`s whose answers the library gives back whole.
        signed_by: the deployment whose answers alone these are, as far as they are signed; "" for any.
        beside: members of `additional_kwargs` of other answers that it reads.
        anthropic_blocks: it takes images, documents and search results as Anthropic writes them.
        gemini_blocks: it takes media as Gemini writes them.
    """

    api: History
    by_litellm: bool = False
    own: frozenset[str] = frozenset()
    signed_by: str = ""
    beside: frozenset[str] = frozenset()
    anthropic_blocks: bool = False
    gemini_blocks: bool = False

    def is_own(self, message: AIMessage) -> bool:
        """Tell whether *message* is an answer that may go back whole."""
        signature = message.response_metadata.get("liverouter")
        if self.signed_by and isinstance(signature, dict) and signature.get("deployment_id") != self.signed_by:
            return False
        return message.response_metadata.get("model_provider") in self.own


def takes(generation: Generation, deployment: Deployment, request: Mapping[str, Any]) -> Takes:
    """Return what *generation*'s chat model of *deployment* takes beside the parameters in *request*."""
    api, native = spec_of(deployment).history(deployment.model), native_model(deployment)
    if not generation.is_native:
        return Takes(api, by_litellm=True, beside=_SIGNED)
    api = native.history or api
    remembers = native.remembers_in(generation.chats[deployment.id], request)
    return Takes(
        api,
        own=native.remembers if remembers else frozenset(),
        signed_by=deployment.id if native.remembers_own else "",
        anthropic_blocks=native.takes_anthropic_blocks,
        gemini_blocks=_GEMINI in native.remembers,
    )
