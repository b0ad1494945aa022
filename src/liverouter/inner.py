"""Snapshot to inner chat model: LangChain's litellm Router model, or the primary provider's own class.

The handle (`chat`) delegates to it; nobody else does. It is built off the path of calls and sends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING, Final

from liverouter.native import build_native
from liverouter.providers import spec_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from litellm import Router

    from liverouter.loop import LoopThread
    from liverouter.snapshot import Snapshot

_LATE: Final = (
    "anyio._backends._asyncio",
    "langchain_core.messages.block_translators.langchain_v0",
    "langchain_core.tracers.langchain",
    "langchain_core.tracers.run_collector",
    "langchain_core.tracers.stdout",
    "langsmith.run_helpers",
)


def build_inner(snapshot: Snapshot, router: Router | None, io: LoopThread) -> BaseChatModel:
    """Return the chat model that serves *snapshot*: over *router*, or without one the native model of the primary.

    Its clients belong to *io*, on whose loop alone it may be called.

    Raises:
        ConfigError: the native model's package is not installed (LR109), or refuses the configuration (LR301).
    """
    if router is None:
        return build_native(snapshot, io)
    from langchain_litellm import ChatLiteLLMRouter  # imports litellm, so not before a Router exists

    router.check_streams = snapshot.check_streams
    io.at_stop(close_litellm_clients)
    return ChatLiteLLMRouter(router=router, model=snapshot.model_name)


def preload(snapshot: Snapshot) -> None:
    """Import what LangChain and the providers' libraries would import in the middle of the first call."""
    own = (name for deployment in snapshot.deployments for name in spec_of(deployment).preload)
    for name in dict.fromkeys((*_LATE, *own)):
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
