"""Snapshot to inner chat model: LangChain's litellm Router model, or the primary provider's own class.

The handle (`chat`) delegates to it; nobody else does. It is built off the path of calls and sends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
from typing import TYPE_CHECKING, Any, Final

from liverouter.plain import build_plain
from liverouter.providers import is_claude

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from litellm import Router

    from liverouter.loop_thread import LoopThread
    from liverouter.snapshot import Snapshot

_LATE: Final = (
    "anyio._backends._asyncio",
    "langchain_core.messages.block_translators.langchain_v0",
    "langchain_core.tracers.langchain",
    "langchain_core.tracers.run_collector",
    "langchain_core.tracers.stdout",
    "langsmith.run_helpers",
)
_LATE_GOOGLE: Final = ("google.auth.transport.requests", "google.oauth2.service_account")


def build_inner(snapshot: Snapshot, router: Router | None, io: LoopThread) -> BaseChatModel:
    """Return the chat model that serves *snapshot*: over *router*, or without one the plain model of the primary.

    Its clients belong to *io*, on whose loop alone it may be called.

    Raises:
        ConfigError: the plain model's package is not installed (LR109), or refuses the configuration (LR301).
    """
    if router is None:
        return build_plain(snapshot, io)
    from langchain_litellm import ChatLiteLLMRouter  # imports litellm, so not before a Router exists

    from liverouter.litellm_http import hurry_google_tokens  # the same
    from liverouter.streams import mark_gemini_ends

    if any(d.provider == "vertex-ai" for d in snapshot.deployments):
        hurry_google_tokens()
    if any(d.provider == "snowflake-cortex" and is_claude(d.model) for d in snapshot.deployments):
        _name_stops_as_claude_does()
    if any(d.provider == "vertex-ai" and not is_claude(d.model) for d in snapshot.deployments):
        mark_gemini_ends()
    router.check_streams = snapshot.check_streams
    io.at_stop(close_litellm_clients)
    return ChatLiteLLMRouter(router=router, model=snapshot.model_name)


@functools.cache
def _name_stops_as_claude_does() -> None:
    """Have litellm send `stop` to Claude at Snowflake under the name it has there; once per process."""
    from litellm.llms.snowflake.chat.transformation import SnowflakeConfig

    transform = SnowflakeConfig._transform_request_anthropic  # noqa: SLF001 - litellm has no switch for it

    def renaming(self: Any, model: str, messages: Any, optional_params: dict[str, Any], *others: Any) -> Any:
        if (stop := optional_params.pop("stop", None)) is not None:
            optional_params["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        return transform(self, model, messages, optional_params, *others)

    SnowflakeConfig._transform_request_anthropic = renaming  # noqa: SLF001


def preload(snapshot: Snapshot) -> None:
    """Import what LangChain and Google's library would import in the middle of the first call."""
    google = any(deployment.provider == "vertex-ai" for deployment in snapshot.deployments)
    for name in (*_LATE, *(_LATE_GOOGLE if google else ())):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


async def close_litellm_clients() -> None:
    """On the I/O loop, at its end: close the clients that litellm cached for it, so that no socket is left behind.

    litellm finds them by ``id(loop)``, which another loop may get later.
    """
    import litellm

    loop = asyncio.get_running_loop()
    cache = litellm.in_memory_llm_clients_cache
    for key in [key for key in cache.cache_dict if key.endswith(f"-{id(loop)}")]:
        client = cache.cache_dict.pop(key)
        cache.ttl_dict.pop(key, None)
        if (close := getattr(client, "aclose", None) or getattr(client, "close", None)) is not None:
            await close()
