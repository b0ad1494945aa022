"""What liverouter changes in a process that uses it, told as JSON: run as a script, by the test beside it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import gc
import importlib
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import warnings
from types import FunctionType
from typing import Any, Final

HOST: Final = (  # what the application has imported, and uses for itself
    "aiohttp",
    "anthropic",
    "asyncpg.connect_utils",
    "google.auth",
    "httpx",
    "langchain_litellm",
    "litellm.litellm_core_utils.secret_redaction",
    "litellm.llms.openai.common_utils",
    "litellm.llms.snowflake.chat.transformation",
    "litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini",
    "litellm.llms.vertex_ai.vertex_llm_base",
    "litellm.proxy.guardrails.exception_utils",
    "numpy",
    "openai",
    "opentelemetry.sdk._logs",  # which some of these import where it is installed, and which adds a filter of warnings
    "redis.asyncio",
    "sqlalchemy.ext.asyncio",
    "structlog",
)
CACHED: Final = type(functools.cache(len))  # of what `functools` makes of a function
KINDS: Final = (FunctionType, re.Pattern, CACHED)
MEMBERS: Final = (FunctionType, staticmethod, classmethod, property)
PACKAGES: Final = {name.partition(".")[0] for name in HOST} | {"asyncio", "langchain_core", "logging", "socket", "ssl"}
ROWS: Final = {
    "llm_provider": "openai",
    "llm_model": "gpt-4o",
    "azure_openai_endpoint": "https://x.openai.azure.com",
    "snowflake_account": "x",
    "vertex_ai_project_id": "x",
    "llm_fallback_config": [
        {"provider": "anthropic", "model": "claude-sonnet-4-6"},
        {"provider": "azure-openai", "model": "gpt-4o"},
        {"provider": "snowflake-cortex", "model": "claude-4-sonnet"},
        {"provider": "vertex-ai", "model": "gemini-2.5-flash"},
    ],
}


def functions() -> dict[str, int]:
    """Return the identity of every function and pattern of the host's packages, by its place."""
    found: dict[str, int] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in PACKAGES:
            continue
        for key, value in list(vars(module).items()):
            if isinstance(value, KINDS):
                found[f"{name}.{key}"] = id(value)
            elif isinstance(value, type) and value.__module__ == name:
                place = f"{name}.{key}"
                found[place] = id(value)
                for k, v in list(vars(value).items()):
                    if isinstance(v, MEMBERS) and k != "__dict__":
                        found[f"{place}.{k}"] = id(v)
    return found


def manners() -> dict[str, Any]:
    """Return what belongs to the process and to no package."""
    return {
        "hooks": [repr(hook) for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.meta_path)],
        "warnings": sorted({repr(entry) for entry in warnings.filters}),
        "root logger": [logging.root.level, repr(logging.root.handlers)],
        "event loop policy": repr(type(asyncio.get_event_loop_policy())),
        "garbage collection": [gc.isenabled(), gc.get_threshold()],
        "sockets": socket.getdefaulttimeout(),
        "path": sys.path,
    }


def handlers() -> dict[str, str]:
    """Return the handler of each signal that Python knows by name."""
    return {number.name: repr(signal.getsignal(number)) for number in signal.Signals}


def switches(litellm: Any) -> dict[str, Any]:
    """Return the plain values that litellm keeps for the whole process."""
    return {k: v for k, v in vars(litellm).items() if isinstance(v, bool | str | int | float) and k[0] != "_"}


def levels() -> dict[str, int]:
    """Return the level of every logger."""
    found = {name: log for name, log in logging.root.manager.loggerDict.items() if isinstance(log, logging.Logger)}
    return {name: log.level for name, log in found.items()}


def use() -> None:
    """Use the library: all providers in memory, a default client that finds no database, a connect that is cut."""
    from liverouter import NotReadyError, get_chat_model
    from liverouter.postgres.connection import connect
    from liverouter.postgres.dsn import Dsn
    from liverouter.testing import MemoryRouter, service_account_json

    names = ("openai_api_key", "anthropic_api_key", "azure_openai_api_key", "snowflake_token")
    key = service_account_json("https://oauth2.googleapis.com")
    with MemoryRouter(ROWS, secrets=dict.fromkeys(names, "sk-test-0123456789") | {"vertex_ai_credentials": key}):
        get_chat_model()
    with contextlib.suppress(NotReadyError):
        get_chat_model()
    with socket.create_server(("127.0.0.1", 0)) as mute, contextlib.suppress(TimeoutError):
        dsn = Dsn.parse(f"postgresql://u@127.0.0.1:{mute.getsockname()[1]}/d")
        asyncio.run(connect(dsn, application_name="x", timeout_s=0.1))


def main() -> None:
    """Print what is not as it was before the library was used."""
    registered: list[str] = []
    at_exit: list[Any] = []

    def seen(kind: str, register: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals["__name__"]  # noqa: SLF001 - there is no public way to ask who calls
            if caller.partition(".")[0] == "liverouter":
                registered.append(kind)
                at_exit.extend(args)  # nothing, of a hook for forks
            return register(*args, **kwargs)

        return call

    atexit.register = seen("atexit", atexit.register)
    os.register_at_fork = seen("fork", os.register_at_fork)
    gc.disable()  # a third of these imports
    litellm = importlib.import_module("litellm")
    for name in HOST:
        importlib.import_module(name)
    gc.freeze()  # the library's own collection passes over all that, too
    gc.enable()
    environ, before, mild, signals = dict(os.environ), functions(), manners(), handlers()
    switched, loud = switches(litellm), levels()
    use()
    for close in at_exit:  # the default client goes on in the background until then
        close()
    after, now, quiet = functions(), switches(litellm), levels()
    told = {
        "environment": sorted(set(os.environ) - set(environ)),
        "functions": sorted(name for name in before if after.get(name) != before[name]),
        "switches": sorted(name for name in switched if now[name] != switched[name]),
        "loggers": sorted(name for name in loud if quiet[name] != loud[name]),
        "registered": sorted(set(registered)),
        "signals": sorted(name for name, handler in handlers().items() if handler != signals[name]),
        "manners": sorted(name for name, fact in manners().items() if fact != mild[name]),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
