"""Snapshot to `litellm.Router` and back: build, carry cooldowns over, retire. The only module that configures litellm.

litellm costs seconds to import, so it is loaded once, by `load`, off the path of whoever waits for an error message.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import ConfigError, Problem
from liverouter.events import mask
from liverouter.providers import PROVIDERS, is_claude

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from litellm import Router

    from liverouter.snapshot import Deployment, Snapshot

SHADOW_SUFFIX: Final = ":shadow"  # ids of the group that serves context-window and content-policy fallbacks
_GUARDS: Final = {  # litellm would read .env files and fetch its price list from the internet
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "REDIS_CIRCUIT_BREAKER_TIMEOUT_MIN_DURATION": "1",
    "REDIS_CIRCUIT_BREAKER_RECOVERY_TIMEOUT": "5",
}
_CACHE_POINTS: Final = (
    {"location": "message", "role": "system"},
    {"location": "message", "index": -1},
)
_loading = threading.Lock()
_loaded: Any = None


def guard_environment() -> None:
    """Tell litellm, before its import, to load no .env and fetch nothing; what the user set stays."""
    for name, value in _GUARDS.items():
        os.environ.setdefault(name, value)


def is_loaded() -> bool:
    """Tell whether litellm is imported and configured."""
    return _loaded is not None


def load(*, freeze: bool = True) -> Any:
    """Import and configure litellm once and return it; blocks for seconds the first time, from any thread.

    With *freeze*, everything alive afterwards is exempt from garbage collection: a full collection of litellm's
    360 000 objects otherwise stops the process for 230 ms.
    """
    global _loaded  # noqa: PLW0603 - the import is process-wide, so is this
    if _loaded is not None:
        return _loaded
    with _loading:
        if _loaded is not None:
            return _loaded
        guard_environment()
        collecting = gc.isenabled()
        gc.disable()  # saves a quarter of the import
        try:
            litellm = importlib.import_module("litellm")
            importlib.import_module("langchain_litellm")
        finally:
            if collecting:
                gc.enable()
        _configure(litellm)
        if freeze:
            gc.collect()
            gc.freeze()
        _loaded = litellm
        return litellm


def _configure(litellm: Any) -> None:
    litellm.suppress_debug_info = True  # prints to stdout otherwise
    litellm.telemetry = False
    litellm.modify_params = True  # thinking blocks of another provider in the history would be refused
    if not os.environ.get("LITELLM_LOG"):
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # it logs request bodies; our events say what matters


def build_router(snapshot: Snapshot, former: Router | None = None) -> Router:
    """Return a new Router for *snapshot*, with the active cooldowns of *former* where a deployment is unchanged.

    One model group with an order per deployment, and a shadow group of the fallbacks for the two errors that order
    does not fail over: context window and content policy. Nothing is sent anywhere.

    Raises:
        ConfigError: litellm refused the configuration (LR301).
    """
    litellm = load()
    from litellm.types.router import AllowedFailsPolicy, RetryPolicy

    litellm.request_timeout = snapshot.timeout_s  # the only timeout that litellm's Vertex streams heed
    single = len(snapshot.deployments) == 1
    shadow = f"{snapshot.model_name}-fallback"
    tries, fails = max(snapshot.num_retries, 1), max(snapshot.allowed_fails, 1)
    arguments: dict[str, Any] = (
        {}
        if single
        else {
            "context_window_fallbacks": [{snapshot.model_name: [shadow]}],
            "content_policy_fallbacks": [{snapshot.model_name: [shadow]}],
        }
    )
    try:
        router: Router = _router_class()(
            model_list=_model_list(snapshot, shadow),
            timeout=snapshot.timeout_s,
            num_retries=0,
            cooldown_time=snapshot.cooldown_time_s,
            allowed_fails=fails if fails != _LITELLM_ALLOWED_FAILS else fails + 1,  # its default counts as unset
            disable_cooldowns=single,  # a lone deployment that cools would mask the provider's error
            retry_policy=RetryPolicy(
                InternalServerErrorRetries=tries - 1,
                ServiceUnavailableErrorRetries=tries - 1,
                TimeoutErrorRetries=0,
                RateLimitErrorRetries=0,
                AuthenticationErrorRetries=0,
                NotFoundErrorRetries=0,
                BadRequestErrorRetries=0,
                ContentPolicyViolationErrorRetries=0,
                DefaultRetries=0,
            ),
            allowed_fails_policy=AllowedFailsPolicy(  # n allowed fails cool at failure n + 1
                AuthenticationErrorAllowedFails=0,
                NotFoundErrorAllowedFails=0,
                RateLimitErrorAllowedFails=0,
                TimeoutErrorAllowedFails=min(1, fails - 1),
                InternalServerErrorAllowedFails=fails - 1,
                ServiceUnavailableErrorAllowedFails=fails - 1,
                BadGatewayErrorAllowedFails=fails - 1,
            ),
            **arguments,
        )
    except Exception as exc:
        raise ConfigError([_build_problem(exc)]) from None  # the chain would hold parameters, and so secrets
    if former is not None:
        carry_cooldowns(former, router)
    return router


_LITELLM_ALLOWED_FAILS: Final = 3


def _build_problem(exc: Exception) -> Problem:
    return Problem(
        "LR301",
        f"litellm refused the configuration: {type(exc).__name__}: {mask(str(exc))}",
        "settings",
        "Check provider and model; `liverouter check` tries a configuration without activating it",
    )


def _router_class() -> type[Router]:
    """Return litellm's Router with two of its costs taken out."""
    global _class  # noqa: PLW0603 - made once, after litellm is loaded
    if _class is None:
        from liverouter.streams import CheckedRouter

        class LeanRouter(CheckedRouter):
            """A Router that does not sleep after the last attempt and counts no tokens per minute (we set no limits)."""

            def _time_to_sleep_before_retry(self, e: Exception, remaining_retries: int, *args: Any, **kw: Any) -> float:
                return (
                    float(super()._time_to_sleep_before_retry(e, remaining_retries, *args, **kw))
                    if remaining_retries
                    else 0.0
                )

            async def _increment_deployment_usage(self, **_: Any) -> None:
                return None

        _class = LeanRouter
    return _class


_class: type[Router] | None = None


def _model_list(snapshot: Snapshot, shadow: str) -> list[dict[str, Any]]:
    entries = [_entry(d, snapshot, snapshot.model_name, d.id) for d in snapshot.deployments]
    entries += [
        _entry(d, snapshot, shadow, d.id + SHADOW_SUFFIX)
        for d in snapshot.deployments
        if d.order > snapshot.primary.order
    ]
    return entries


def _entry(deployment: Deployment, snapshot: Snapshot, group: str, identifier: str) -> dict[str, Any]:
    params = PROVIDERS[deployment.provider].litellm_params(deployment) | deployment.params
    params |= {
        "order": deployment.order,
        "weight": deployment.weight,
        "timeout": snapshot.timeout_s,
        "drop_params": True,
    }
    if is_claude(deployment.model) and deployment.provider in ("anthropic", "vertex-ai"):
        params["cache_control_injection_points"] = [dict(point) for point in _CACHE_POINTS]
    info: dict[str, Any] = {"id": identifier}
    if base := deployment.settings.get("azure_openai_base_model"):
        info["base_model"] = base
    return {"model_name": group, "litellm_params": params, "model_info": info}


def base_id(deployment_id: str) -> str:
    """Return the deployment's own id for an id of the Router, the shadow group's included."""
    return deployment_id.removesuffix(SHADOW_SUFFIX)


def carry_cooldowns(former: Router, router: Router) -> None:
    """Copy the active cooldowns of deployments that both Routers hold; nothing is shared afterwards, no I/O."""
    known = set(router.get_model_ids())
    for identifier, value in _cooling(former).items():
        if identifier in known:
            key = router.cooldown_cache.get_cooldown_cache_key(identifier)
            remaining = value["timestamp"] + value["cooldown_time"] - time.time()
            router.cooldown_cache.in_memory_cache.set_cache(key, value, ttl=remaining)


def cooling(router: Router) -> dict[str, float]:
    """Return the remaining seconds of every active cooldown by deployment id, as this process knows it; no I/O."""
    now = time.time()
    found: dict[str, float] = {}
    for identifier, value in _cooling(router).items():
        remaining = value["timestamp"] + value["cooldown_time"] - now
        found[base_id(identifier)] = max(remaining, found.get(base_id(identifier), 0.0))
    return found


def _cooling(router: Router) -> dict[str, Mapping[str, Any]]:
    memory = router.cooldown_cache.in_memory_cache
    active: dict[str, Mapping[str, Any]] = {}
    for identifier in router.get_model_ids():
        value = memory.get_cache(router.cooldown_cache.get_cooldown_cache_key(identifier))
        if isinstance(value, dict) and value["timestamp"] + value["cooldown_time"] > time.time():
            active[identifier] = value
    return active


def retire_router(router: Router) -> None:
    """Take *router* out of litellm's global lists; calls in flight on it finish, shared clients stay open."""
    router.discard()


def forget_models(identifiers: Collection[str]) -> None:
    """Drop the price entries that litellm registered for deployments no Router holds any more."""
    if _loaded is None:
        return
    for identifier in identifiers:
        for name in (identifier, identifier + SHADOW_SUFFIX):
            with contextlib.suppress(KeyError):
                del _loaded.model_cost[name]
