"""Loads litellm and the engine over it, once per process, and configures it; or tells why it cannot be used.

It costs seconds to import, so it is loaded by `load` alone, off the path of whoever waits for an error message.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import ConfigError, Problem
from liverouter.loops.fork import unforkable
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Iterator

_GUARDS: Final = {  # litellm would read .env files and fetch its price list from the internet
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
}
RANGE: Final = "litellm>=1.106,<2"  # as pyproject.toml has it
_AN_IMPORT: Final = 50_000  # new objects; those of a start are three times as many
_loading = threading.Lock()
_loaded: Any = None
_unusable: Problem | None = None
_frozen = False


def guard_environment() -> None:
    """Tell litellm, before its import, to load no .env and fetch nothing; what the user set stays."""
    for name, value in _GUARDS.items():
        os.environ.setdefault(name, value)


def loaded() -> Any | None:
    """Return litellm, None while it is not imported and configured."""
    return _loaded


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """Put off garbage collection: going through all that is new, over and over, is a quarter of a start.

    What an import brought is as old as can be then, so that the next collection does not go through it either. What a
    reload makes stays young: of that some is garbage soon.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            if gc.get_count()[0] > _AN_IMPORT and not gc.get_freeze_count():  # what is frozen must stay so
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()


def freeze() -> None:
    """Exempt everything alive from garbage collection, once per process.

    Called once litellm and what its first calls load are there: a full collection would look through all of it, which
    is never garbage, and stop the process for 230 ms. Nothing is collected first: imports leave next to no garbage.
    """
    global _frozen  # noqa: PLW0603 - it is the process that is frozen
    with _loading:
        if not _frozen:
            _frozen = True
            gc.freeze()


def load() -> Any:
    """Import and configure litellm once and return it; blocks for seconds the first time, from any thread.

    Raises:
        ConfigError: it cannot be used (LR309). That is found out once per process: an import that failed halfway leaves
            modules behind over which the next one stumbles, and would tell of those.
    """
    global _loaded, _unusable  # noqa: PLW0603 - the import is process-wide, so is this
    if _loaded is not None:
        return _loaded
    with unforkable(), _loading:
        if _loaded is not None:
            return _loaded
        if _unusable is None:
            try:
                with collecting_later():
                    _loaded = _import()
            except Exception as exc:  # noqa: BLE001 - a version that we have not seen may raise anything
                _unusable = _why(exc)
            else:
                return _loaded
    raise ConfigError([_unusable])


def _import() -> Any:
    """Return litellm, configured, with all that the engine takes of it.

    Raises:
        Exception: what its import raises, or that it lacks something.
    """
    guard_environment()
    litellm = importlib.import_module("litellm")
    importlib.import_module("liverouter.routing.engines.litellm")  # takes what it needs of litellm
    _configure(litellm)
    return litellm


def _why(exc: Exception) -> Problem:
    """Return why litellm cannot be used, of the error that its import ended in."""
    try:
        what = f"litellm {version('litellm')} cannot be used"
    except PackageNotFoundError:
        what = "litellm is not installed"
    return Problem(
        "LR309",
        f"{what}: {brief(exc)}",
        "settings.litellm_enable",
        f"Install one that can: pip install '{RANGE}', and restart the process; or set litellm_enable to false",
    )


def _configure(litellm: Any) -> None:
    """Set litellm's process-wide switches, and apply the patches that every provider needs."""
    litellm.suppress_debug_info = True  # prints to stdout otherwise
    litellm.telemetry = False
    litellm.expose_router_debug_in_errors = False  # it appends its settings to the provider's words
    vars(litellm.utils).pop("json_data", None)  # what it read Claude's tokenizer by, and nothing reads again: 8 MB
    litellm.disable_hf_tokenizer_download = True  # it would fetch one for a stream that was cut, and all calls wait
    if not os.environ.get("LITELLM_LOG"):
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # it logs request bodies; our events say what matters
    patches = importlib.import_module("liverouter.routing.litellm_patches")  # imports litellm
    patches.apply_patches(patches.COMMON)
