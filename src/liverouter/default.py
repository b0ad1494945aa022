"""The default client, configured by the environment, and its handle: the one module state of the library.

Importing this is cheap: client, drivers and LangChain are loaded by the first call that needs them.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import liverouter  # noqa: TC001 - for `typing.get_type_hints`
from liverouter.engine.status import Status
from liverouter.revision import DEFAULT_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.client import LiveRouter

_lock = threading.Lock()
_client: LiveRouter | None = None
_stand_in: Serving | None = None  # of `serving`, in place of the default client
_model: liverouter.LiveChatModel | None = None  # of the default; made by the first call of get_chat_model()
_named: dict[str, liverouter.LiveChatModel] = {}  # those of other names


class Serving(Protocol):
    """What can stand in for the default client: a `LiveRouter`, a `MemoryRouter`."""

    def chat_model(self, name: str = DEFAULT_NAME) -> liverouter.LiveChatModel:
        """Return a handle that serves the model *name* with what is in force there."""


def get_chat_model(name: str = DEFAULT_NAME) -> liverouter.LiveChatModel:
    """Return the default client's live chat model; callable from sync code, threads, any event loop, forked workers.

    *name* is NAME of a row ``llm:NAME``; while there is no such row, that model serves as the default does. The first
    call starts the default client, configured by the environment, and blocks until its first generation, as
    `LiveRouter.wait_ready` does.

    Raises:
        NotReadyError: no config became live in time, or the settings are rejected; lists every Problem and how to mend
            it.
        ModelNameError: no row can configure a model of that name.
        OptionsError: LIVEROUTER_DATABASE_URL is missing, or another option cannot be used.
    """
    model = _model if name == DEFAULT_NAME else _named.get(name)
    return model if model is not None else _first_model(name)


def _first_model(name: str) -> liverouter.LiveChatModel:
    """Return the handle, made by the first of all threads that come here; waits for the first generation."""
    global _model  # noqa: PLW0603 - the module's state
    with _lock:
        named, stand_in = _named, _stand_in
    if stand_in is not None:
        return named.setdefault(name, stand_in.chat_model(name))
    client = default_client()
    model = client.chat_model(name)
    client.wait_ready()
    model.restore = get_chat_model if name == DEFAULT_NAME else functools.partial(get_chat_model, name)
    with _lock:
        if name != DEFAULT_NAME:
            return named.setdefault(name, model)
        if _model is None:
            _model = model
        return _model


def default_client() -> LiveRouter:
    """Return the default client, started; made from the environment by the first call."""
    global _client  # noqa: PLW0603 - the module's state
    from liverouter.loops.fork import unforkable
    from liverouter.routing.litellm_setup import collecting_later

    with unforkable(), collecting_later():
        from liverouter.client import LiveRouter  # takes a second
    with _lock:
        if _client is None:
            _client = LiveRouter()
            atexit.register(_client.close)
        client = _client
    client.start()
    return client


def status() -> Status:
    """Return the default client's status; never blocks, starts nothing."""
    client = _client
    return client.status() if client is not None else Status(since=datetime.now(UTC))


@contextlib.contextmanager
def serving(client: Serving) -> Iterator[None]:
    """Have `get_chat_model()` return the handle of *client* inside the block; after it, what it returned before."""
    global _model, _named, _stand_in
    with _lock:
        former = _model, _named, _stand_in
        _model, _named, _stand_in = client.chat_model(), {}, client
    try:
        yield
    finally:
        with _lock:
            _model, _named, _stand_in = former


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - the parent's may be held by a thread that does not exist here
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
