"""litellm's Router with another failover: each deployment in order, each as often as configured, never a sleep.

litellm picks, calls and logs. What it does with a failure is replaced, because its own loops lose whole classes of
errors: order never fails over a full context window or a refused content, equals of one order are not tried, retries
sleep seconds where one deployment is left, cooldowns are counted by process-wide callbacks that miss or double
failures, and a deadline is whatever the provider's client makes of it. Importing this module imports litellm.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import litellm
from litellm import Router
from litellm.router_utils.cooldown_cache import CooldownCache, CooldownCacheValue
from litellm.types.router import RouterRateLimitError, RouterRateLimitErrorBasic
from litellm.utils import is_internal_call

from liverouter.call import current_call
from liverouter.errors import LiveRouterError
from liverouter.providers import PROVIDERS
from liverouter.routing.causes import cause_of
from liverouter.routing.clock import GRACE
from liverouter.routing.guard import own_headers
from liverouter.routing.litellm_http import attempt_timeout_s, connections, shared_client
from liverouter.routing.streams import CheckedRouter
from liverouter.secrecy.leaving import bare, raise_anew

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from liverouter.routing.cooldowns import Cooldown, Cooldowns, Limits

_LITELLM_LOOPS: Final = (  # arguments of what is replaced here; no provider may see them
    "fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "model_group_retry_policy",
    "max_fallbacks",
)
_NOTHING_READY: Final = (RouterRateLimitError, RouterRateLimitErrorBasic)
_WATCHERS: Final = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "_async_success_callback",
    "_async_failure_callback",
)
_LITELLM_CACHE: Final = "cache"  # what litellm's Vertex AI module puts there as it is imported; no log row comes of it
_BUCKETS: Final = ("metadata", "litellm_metadata")
_BY_OWN_CLIENT: Final = tuple(  # what models begin with that litellm calls through its own HTTP client
    f"{spec.litellm_provider}/" for spec in PROVIDERS.values() if spec.litellm_client is None
)


class FailoverRouter(CheckedRouter):
    """A Router of one group that asks its deployments, by order and then by weight, until one answers.

    Every deployment is asked once before a call fails, those that cool last of all: then the caller sees the providers'
    own errors and not that nobody was asked. A server error is worth *tries* in all at the same deployment.
    """

    cooldowns: Cooldowns
    headers: Mapping[str, Mapping[str, str | None]] = MappingProxyType({})  # deployment id -> `ProviderSpec.headers`

    def __init__(
        self,
        *,
        group: str,
        orders: Mapping[str, int],
        cooldowns: Cooldowns,
        limits: Limits,
        tries: int,
        **arguments: Any,
    ) -> None:
        """Build litellm's Router from *arguments*; the others decide what it does after a failure.

        Args:
            group: litellm's name for all of the deployments together.
            orders: deployment id -> order; the lowest is asked first.
            cooldowns: what its deployments' failures are counted in, and what it reads.
            limits: when a deployment cools.
            tries: attempts in all at a deployment that answers 5xx; at least 1.
            arguments: those of litellm's Router.
        """
        super().__init__(**arguments)
        self._group, self._orders, self._limits, self._tries = group, orders, limits, tries
        self.cooldowns = cooldowns
        self.cooldown_cache = _CooldownView(self)

    @property
    def cools(self) -> bool:
        """Tell whether a failing deployment is left alone for a while: there is another one to ask."""
        return len(self._orders) > 1

    async def async_function_with_fallbacks(self, *args: Any, **kwargs: Any) -> Any:
        """Make one call: litellm comes here from every method that calls a model."""
        function = kwargs.pop("original_function")
        for name in _LITELLM_LOOPS:
            kwargs.pop(name, None)
        retries = kwargs.pop("num_retries", None)
        alone = kwargs.pop("disable_fallbacks", False) is True
        group = kwargs.pop("model")
        walk = _Walk(
            group,
            orders=self._orders if group == self._group else {},
            tries=self._tries if retries is None else retries + 1,
            alone=alone,
        )
        while (target := walk.next_target(self.cooldowns.active() if self.cools else {})) is not None:
            try:
                return await self._attempt(function, args, {**kwargs, **target})
            except _NOTHING_READY as exc:  # what was ready began to cool before litellm looked
                walk.refused(exc)
            except Exception as exc:  # noqa: BLE001 - whatever an attempt ends in, another deployment may answer
                walk.failed(exc)
        # freed of secrets here and not by the chat model alone: people call a Router directly, too
        return raise_anew(bare(walk.verdict(), [secret.reveal() for secret in self.secrets]))

    def function_with_fallbacks(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse a blocking call, which litellm makes here: by clients that nothing guards, on loops of its own.

        Raises:
            LiveRouterError: always (LR406).
        """
        raise LiveRouterError(
            "this Router answers async calls only",
            code="LR406",
            where="router",
            hint="Await router.acompletion(…) there, or use get_chat_model().invoke(…) in blocking code.",
        )

    async def _attempt(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Make one attempt and count its failure, if it fails, against the deployment that litellm picked."""
        for name in _BUCKETS:
            if isinstance(bucket := kwargs.get(name), dict):  # litellm writes the deployment there, and logs it later
                kwargs[name] = dict(bucket)
        if (call := current_call()) is not None:
            call.began_at = time.monotonic()
        token = is_internal_call.set(is_internal_call.get() or not _is_watched(kwargs))
        try:
            return await self._before_deadline(function, args, kwargs)
        except Exception as exc:
            if identifier := getattr(exc, "failed_deployment_id", None):
                self.attempt_failed(identifier, exc)
            raise
        finally:
            is_internal_call.reset(token)

    async def _before_deadline(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return the answer, or a stream that has begun to answer; some providers' clients heed no timeout."""
        asked_s = kwargs.get("timeout")
        timeout_s = float(asked_s if isinstance(asked_s, int | float) else self.timeout)
        attempt_timeout_s.set(timeout_s)
        limit_s = timeout_s * GRACE
        deadline = asyncio.timeout(limit_s)
        try:
            async with deadline:
                answer = function(*args, **kwargs)
                return await answer if inspect.isawaitable(answer) else answer
        except TimeoutError:
            if not deadline.expired():
                raise
            raise self._timeout(kwargs, limit_s) from None

    def _timeout(self, kwargs: Mapping[str, Any], limit_s: float) -> Exception:
        """Return litellm's Timeout for an attempt that took *limit_s* seconds, marked with its deployment and noted."""
        metadata = next((kwargs[name] for name in _BUCKETS if name in kwargs), None) or {}
        identifier = (metadata.get("model_info") or {}).get("id", "")
        model = str(metadata.get("deployment") or kwargs.get("model") or "")
        provider, _, name = model.partition("/")
        error = litellm.Timeout(f"no answer within {limit_s:.3g} s", model=name or model, llm_provider=provider)
        if identifier:
            error.failed_deployment_id = identifier
            if (call := current_call()) is not None:
                call.failed_at(identifier, error)
        return error  # type: ignore[no-any-return]  # litellm has no types

    def attempt_failed(self, identifier: str, error: Exception) -> None:
        """Count a failure of *identifier*; a stream comes here when it breaks after its first content."""
        if self.cools:
            self.cooldowns.add_failure(identifier, cause_of(error), self._limits)

    def attempt_succeeded(self, identifier: str) -> None:
        """Note that *identifier* gave a whole answer."""
        self.cooldowns.add_success(identifier)

    def _get_async_openai_model_client(self, deployment: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        """Return the HTTP client of an attempt: litellm asks here for OpenAI's, and passes on that of any provider.

        Left to itself it streams from Claude with one client for all loops, and from Gemini without the timeout. A
        client of OpenAI's belongs to one key and one timeout; its connections outlive it and serve the next one's calls
        (Azure's do not: litellm passes the session on to OpenAI's alone).
        """
        own_headers.set(self.headers.get(deployment["model_info"]["id"], {}))
        if not deployment["litellm_params"]["model"].startswith(_BY_OWN_CLIENT):
            if "client" not in kwargs:
                kwargs["shared_session"] = connections()
            return super()._get_async_openai_model_client(deployment=deployment, kwargs=kwargs)
        return shared_client(self.timeout)

    def deployment_callback_on_failure(self, *_: Any, **__: Any) -> bool:
        """Do nothing: failures are counted where they are caught, once each."""
        return False

    async def _increment_deployment_usage(self, **_: Any) -> None:
        """Do nothing: litellm counts tokens per minute for limits, and none are set here."""


def _is_watched(request: Mapping[str, Any]) -> bool:
    """Tell whether anybody wants litellm's log rows of a call.

    Another Router of the process wants those of its own calls only. Else litellm is told to make none, which saves an
    eighth of a call's CPU. Its worker for them belongs to one event loop at a time: where two loops of a process make
    calls, it fails in the background.
    """
    watchers = (watcher for name in _WATCHERS for watcher in (*getattr(litellm, name), *(request.get(name) or ())))
    return bool(litellm.max_budget) or any(
        watcher != _LITELLM_CACHE and not isinstance(getattr(watcher, "__self__", None), Router) for watcher in watchers
    )


class _Walk:
    """The way of one call through the deployments of its group."""

    def __init__(self, group: str, *, orders: Mapping[str, int], tries: int, alone: bool) -> None:
        self._group, self._orders, self._tries, self._alone = group, orders, tries, alone
        self._spent: dict[str, Exception] = {}  # deployment id -> its first error
        self._again: str | None = None  # the deployment that is worth another try
        self._tried = 0  # attempts at that one
        self._errors: list[Exception] = []
        self._trusts_litellm = True  # to pick among what is ready

    def next_target(self, cooling: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the arguments that lead litellm to the next deployment, None where none is left to ask."""
        if self._again is not None and self._again not in cooling:
            return {"model": self._again}
        if not self._errors and (not self._orders or (not cooling and self._trusts_litellm)):
            return {"model": self._group}  # without orders it is one deployment, by name: asked though it cools
        if self._errors and (self._alone or not self._orders):
            return None
        fresh = [identifier for identifier in self._orders if identifier not in self._spent]
        ready = [identifier for identifier in fresh if identifier not in cooling]
        if not ready or not self._trusts_litellm:
            chosen = min(ready or fresh, key=self._orders.__getitem__, default=None)
            return None if chosen is None else {"model": chosen}
        order = min(self._orders[identifier] for identifier in ready)
        return {"model": self._group, "_target_order": order, "_excluded_deployment_ids": list(self._spent)}

    def failed(self, error: Exception) -> None:
        """Note that an attempt ended in *error*."""
        self._errors.append(error)
        identifier = getattr(error, "failed_deployment_id", "")
        if identifier not in self._orders:  # nothing was picked, or not from the group: there is nothing to walk
            self._orders, self._again = {}, None
            return
        self._spent.setdefault(identifier, error)
        self._tried = self._tried + 1 if identifier == self._again else 1
        again = self._tried < self._tries and cause_of(error).is_worth_a_retry
        self._again = identifier if again else None

    def refused(self, error: Exception) -> None:
        """Note that litellm found nothing ready to pick."""
        if not self._trusts_litellm or not self._orders:
            self._errors.append(error)
            self._orders = {}
        self._trusts_litellm = False

    def verdict(self) -> Exception:
        """Return the first error, that of the deployment which should have answered; the others are its notes."""
        first, *others = self._errors
        for error in others:
            where = getattr(error, "failed_deployment_id", None)
            if where is not None and error is not first:
                first.add_note(f"{where} failed as well: {cause_of(error)}")
        return first


class _CooldownView(CooldownCache):  # type: ignore[misc]  # litellm has no types
    """What litellm reads of the cooldowns of one Router's deployments."""

    def __init__(self, router: FailoverRouter) -> None:
        super().__init__(cache=router.cache, default_cooldown_time=router._limits.cooldown_time_s)  # noqa: SLF001
        self._source, self._cools = router.cooldowns, router.cools

    def get_active_cooldowns(
        self, model_ids: Sequence[str], parent_otel_span: object = None
    ) -> list[tuple[str, CooldownCacheValue]]:
        del parent_otel_span
        active = self._source.active() if self._cools else {}
        return [(i, _as_litellms(active[i])) for i in model_ids if i in active] if active else []

    async def async_get_active_cooldowns(
        self, model_ids: Sequence[str], parent_otel_span: object = None
    ) -> list[tuple[str, CooldownCacheValue]]:
        return self.get_active_cooldowns(model_ids, parent_otel_span)

    def active_cooldowns_from_results(
        self, model_ids: Sequence[str], results: object
    ) -> list[tuple[str, CooldownCacheValue]]:
        del results  # of a cache that holds none of ours
        return self.get_active_cooldowns(model_ids)

    def get_min_cooldown(self, model_ids: Sequence[str], parent_otel_span: object = None) -> float:
        del parent_otel_span
        return float(min(self._source.remaining_s(model_ids).values(), default=self.default_cooldown_time))


def _as_litellms(cooldown: Cooldown) -> CooldownCacheValue:
    return CooldownCacheValue(
        exception_received=str(cooldown.cause),
        status_code=str(cooldown.cause.status),
        timestamp=cooldown.began_at,
        cooldown_time=cooldown.length_s,
    )
