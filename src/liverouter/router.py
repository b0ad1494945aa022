"""Snapshot to `litellm.Router`. The only module that loads and configures litellm.

litellm costs seconds to import, so it is loaded once, by `load`, off the path of whoever waits for an error message.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from liverouter.cooldowns import Cooldowns, Limits
from liverouter.errors import ConfigError, Problem
from liverouter.literal import looked_up
from liverouter.loop_fork import unforkable
from liverouter.providers import sent_secrets, spec_of
from liverouter.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.failover import FailoverRouter
    from liverouter.snapshot import Deployment, Snapshot

_GUARDS: Final = {  # litellm would read .env files and fetch its price list from the internet
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
}
_OURS: Final = "liverouter"  # marks our deployments in litellm's model_info
_loading = threading.Lock()
_loaded: Any = None
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
    """Put off garbage collection: going through all that is new, over and over, is a quarter of a start."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def freeze() -> None:
    """Exempt everything alive from garbage collection, once per process.

    For when litellm and what its first calls load are there: a full collection of that, which is never garbage, stops
    a process for 230 ms. Nothing is collected before: what was imported leaves next to no garbage.
    """
    global _frozen  # noqa: PLW0603 - it is the process that is frozen
    with _loading:
        if not _frozen:
            _frozen = True
            gc.freeze()


def load() -> Any:
    """Import and configure litellm once and return it; blocks for seconds the first time, from any thread."""
    global _loaded  # noqa: PLW0603 - the import is process-wide, so is this
    if _loaded is not None:
        return _loaded
    with unforkable(), _loading:
        if _loaded is not None:
            return _loaded
        guard_environment()
        with collecting_later():
            litellm = importlib.import_module("litellm")
            importlib.import_module("langchain_litellm")
        _configure(litellm)
        _loaded = litellm
        return litellm


def _configure(litellm: Any) -> None:
    litellm.suppress_debug_info = True  # prints to stdout otherwise
    litellm.telemetry = False
    litellm.expose_router_debug_in_errors = False  # it appends its settings to the provider's words
    litellm.modify_params = True  # thinking blocks of another provider in the history would be refused
    if not os.environ.get("LITELLM_LOG"):
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # it logs request bodies; our events say what matters
    _stay_unlisted(litellm.Router)
    from liverouter.litellm_http import guard_clients, shorten_masking  # imports litellm

    guard_clients()
    shorten_masking()


def _stay_unlisted(router_class: Any) -> None:
    """Keep our deployments out of litellm's process-wide price list, in which other Routers' go on being registered.

    An entry per deployment id would be left there by every key that was ever used, and writing it is most of a build.
    Prices and limits come from the model's own entry.
    """
    register = router_class._register_deployment_pricing  # noqa: SLF001 - litellm has no switch for it

    def register_others(deployment: Any) -> None:
        if not deployment.model_info.get(_OURS):
            register(deployment)

    router_class._register_deployment_pricing = staticmethod(register_others)  # noqa: SLF001


def build_router(snapshot: Snapshot, cooldowns: Cooldowns | None = None) -> FailoverRouter:
    """Return a Router for *snapshot* that reads and writes *cooldowns*, by default its own; nothing is sent anywhere.

    Raises:
        ConfigError: litellm refused the configuration (LR301), or would look a value of it up elsewhere (LR112).
    """
    load()
    from liverouter.failover import FailoverRouter
    from liverouter.litellm_patches import apply_patches

    apply_patches(name for d in snapshot.deployments for name in spec_of(d).litellm_patches(d.model))
    try:
        router = FailoverRouter(
            group=snapshot.model_name,
            orders={d.id: d.order for d in snapshot.deployments},
            cooldowns=cooldowns or Cooldowns(),
            limits=Limits(snapshot.allowed_fails, snapshot.cooldown_time_s),
            tries=snapshot.tries,
            model_list=[_entry(d, snapshot) for d in snapshot.deployments],
            timeout=snapshot.timeout_s,
            num_retries=0,
        )
    except ConfigError as exc:
        problems = exc.problems
    except Exception as exc:  # noqa: BLE001 - litellm raises whatever it meets
        problems = (_build_problem(exc),)
    else:
        router.check_streams, router.secrets = snapshot.check_streams, sent_secrets(snapshot)
        router.headers = {d.id: spec_of(d).headers(d) for d in snapshot.deployments}
        # its callbacks count failures for all Routers of the process, in four lists that take thirty of them; ours no
        router.discard()
        return router
    raise ConfigError(problems)  # out here: its context would hold parameters, and so secrets


def _build_problem(exc: Exception) -> Problem:
    return Problem(
        "LR301",
        f"litellm refused the configuration: {brief(exc)}",
        "settings",
        "Check provider and model; `liverouter check` tries a configuration without activating it",
    )


def _entry(deployment: Deployment, snapshot: Snapshot) -> dict[str, Any]:
    spec = spec_of(deployment)
    params = spec.litellm_params(deployment) | deployment.params
    if problems := looked_up(params, f"deployment {deployment.id}"):
        raise ConfigError(problems)  # the last look before litellm, which would read what is named there and send it
    params |= {
        "order": deployment.order,
        "weight": deployment.weight,
        "timeout": snapshot.timeout_s,
        "drop_params": True,
        **spec.litellm_options(deployment),
    }
    info: dict[str, Any] = {"id": deployment.id, _OURS: True}
    if base := spec.base_model(deployment):
        info["base_model"] = base
    return {"model_name": snapshot.model_name, "litellm_params": params, "model_info": info}


def cooling(router: FailoverRouter) -> dict[str, float]:
    """Return the remaining seconds of every active cooldown of *router*'s deployments by id; no I/O."""
    return router.cooldowns.remaining_s(router.get_model_ids()) if router.cools else {}
