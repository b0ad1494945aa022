"""How many tokens a text or a conversation has, by litellm's tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liverouter.providers import spec_of
from liverouter.routing.litellm_setup import loaded

if TYPE_CHECKING:
    from liverouter.revision import Deployment


def count_tokens(deployment: Deployment, **said: Any) -> int | None:
    """Return the tokens of *said*, ``text`` or OpenAI ``messages`` and ``tools``; None while litellm is not loaded.

    Exact for OpenAI's models, an estimate for others; neither an image nor a tokenizer is fetched.
    """
    if (litellm := loaded()) is None:
        return None
    name = spec_of(deployment).known_as(deployment)
    return int(litellm.token_counter(name, {"type": "openai_tokenizer"}, use_default_image_token_count=True, **said))
