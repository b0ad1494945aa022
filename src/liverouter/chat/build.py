"""Snapshot to the chat model that serves it: LangChain's litellm Router model, or the provider's own class.

The handle delegates to it; nobody else does. It is built off the path of calls and sends nothing.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from liverouter.call import current_call
from liverouter.errors import ClosedError, ConfigError, Problem
from liverouter.providers import native_model, spec_of
from liverouter.routing.drain import read_to_its_end
from liverouter.routing.google_tokens import TokenRequest
from liverouter.routing.guard import guarded, put_own
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from langchain_core.language_models import BaseChatModel
    from litellm import Router

    from liverouter.loops.thread import LoopThread
    from liverouter.revision import Deployment, Snapshot

C = TypeVar("C")


def build_chat(snapshot: Snapshot, router: Router | None, io: LoopThread) -> BaseChatModel:
    """Return the chat model that serves *snapshot*: over *router*, or without one the native model of the primary.

    Its clients belong to *io*, on whose loop alone it may be called.

    Raises:
        ConfigError: the native model's package is not installed (LR109), or refuses the configuration (LR301).
    """
    if router is None:
        return build_native(snapshot, io)
    from langchain_litellm import ChatLiteLLMRouter  # imports litellm, so not before a Router exists

    from liverouter.routing.litellm_http import close_clients

    io.at_stop(close_clients)
    return ChatLiteLLMRouter(router=router, model=snapshot.model_name)


def build_native(snapshot: Snapshot, io: LoopThread) -> BaseChatModel:
    """Return the primary's own LangChain model, with the configured timeout and retries: the way back from litellm.

    `providers` says how each class is made. Every model gets HTTP clients of its own, which are closed on the I/O loop
    when the model is garbage: pooled connections serve every call, none outlives its configuration, and a call in
    flight keeps what it uses.

    Raises:
        ConfigError: its package is not installed (LR109), or refuses the configuration (LR301).
    """
    deployment, http = snapshot.primary, _Http(snapshot)
    try:
        model = native_model(deployment).build(deployment, http)
    except ImportError as exc:
        raise ConfigError([_missing_package(deployment, exc)]) from exc
    except ValueError as exc:
        problem = Problem(
            "LR301",
            f"the native model of {deployment.label} refused the configuration: {mask(str(exc))}",
            "settings",
            "Mend the setting, or set litellm_enable back to true",
        )
    else:
        for close in http.closes:
            weakref.finalize(model, _close_soon, io, close, io.at_stop(close)).atexit = False
        return model
    raise ConfigError([problem])  # out here: its context would hold parameters, and so secrets


class _Http:
    """The `providers.Http` of one snapshot's primary.

    Attributes:
        closes: for each client that was made, what closes its connections.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.timeout_s, self.tries = snapshot.timeout_s, snapshot.tries
        self.token_request: Callable[..., Any] = TokenRequest(snapshot.timeout_s)
        self.closes: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._headers = spec_of(snapshot.primary).headers(snapshot.primary)

    def client(self, kind: Callable[..., C], *, to_its_end: bool = False) -> C:
        """Return a new client of *kind*, guarded; `closes` has its closing."""
        hooks = {"request": [self._prepare], "response": [read_to_its_end] if to_its_end else []}
        client: Any = guarded(kind(timeout=self.timeout_s, event_hooks=hooks))
        self.closes.append(client.aclose)
        return client  # type: ignore[no-any-return]  # of the class that was asked for

    async def _prepare(self, request: Any) -> None:
        """Count a request as an attempt of the call that makes it, and put the provider's own headers on it."""
        put_own(request.headers, self._headers)
        if (call := current_call()) is not None:
            call.attempts += 1


def _missing_package(deployment: Deployment, exc: ImportError) -> Problem:
    native = native_model(deployment)
    return Problem(
        "LR109",
        f"litellm is off and the package '{exc.name or native.package}' that {deployment.provider} then needs "
        "is not installed",
        "settings.litellm_enable",
        f"Install it: pip install 'liverouter[{native.extra}]'",
    )


def _close_soon(io: LoopThread, close: Callable[[], Coroutine[Any, Any, None]], forget: Callable[[], object]) -> None:
    """Have *close* run on the loop of *io* now, and not when that stops, which *forget* calls off.

    A finalizer calls it, on any thread.
    """
    forget()
    with contextlib.suppress(ClosedError):
        io.submit(close)
