"""litellm's Routers: one for each chat model, and one of every deployment by its id, which is `live.router()`.

Whoever calls `acompletion` of the latter gets answers in litellm's own format, and the same walk over the deployments,
the same HTTP clients and errors as bare. Importing this module imports litellm.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final, NoReturn

import litellm
from litellm import Router

from liverouter.errors import ConfigError, LiveRouterError, Problem
from liverouter.providers import api_of, sent_secrets, spec_of
from liverouter.providers.parameters import ALIASES, KINDS, fitted, typed
from liverouter.revision import DEFAULT_NAME
from liverouter.routing import litellm_patches
from liverouter.routing.answer_errors import ParameterError
from liverouter.routing.causes import blame, cause_of
from liverouter.routing.clock import Clock, clock_for
from liverouter.routing.cooldowns import Limits
from liverouter.routing.model_map import known_model
from liverouter.routing.walk import Walk
from liverouter.secrecy.leaving import bare, raise_anew
from liverouter.secrecy.literal import looked_up
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from liverouter.loops.thread import LoopThread
    from liverouter.revision import Deployment, Snapshot
    from liverouter.routing.cooldowns import Cooldowns

_BLOCKING: Final = ("completion", "text_completion", "responses")


def build_router(snapshot: Snapshot, deployments: Sequence[Deployment]) -> Router:
    """Return a Router of *deployments*, all or some of *snapshot*; nothing is sent.

    Raises:
        ConfigError: litellm refused the configuration (LR301), or would look a value of it up elsewhere (LR112).
    """
    litellm_patches.apply_patches(name for d in deployments for name in spec_of(d).litellm_patches(d.model))
    params = [params_of(deployment) for deployment in deployments]
    try:
        router = Router(
            model_list=[
                {"model_name": _group(d, snapshot), "litellm_params": own, "model_info": _info(d)}
                for d, own in zip(deployments, params, strict=True)
            ],
            timeout=snapshot.timeout_s,
            num_retries=0,
            disable_cooldowns=True,  # of a deployment that is asked by its id litellm would say that there is none
        )
    except Exception as exc:  # noqa: BLE001 - litellm raises whatever it meets
        problem = Problem(
            "LR301",
            f"litellm refused the configuration: {brief(exc)}",
            "settings",
            "Check provider and model; `liverouter check` tries a configuration without activating it",
        )
    else:
        retire(router)
        for deployment in deployments:  # litellm's price list would keep an entry of every key that was ever used
            litellm.model_cost.pop(entry_of(deployment), None)
        litellm_patches.keep_caches(router)
        return router
    raise ConfigError([problem])  # out here: its context would hold parameters, and so secrets


def retire(router: Router) -> None:
    """Take *router* off litellm's process-wide callback lists, which hold thirty and count every Router's failures."""
    (router.retire if hasattr(router, "retire") else router.discard)()  # the former since 1.110


class DirectCalls:
    """Calls of `live.router()` that no chat model makes."""

    def __init__(
        self,
        snapshot: Snapshot,
        one: Mapping[str, Callable[..., Awaitable[Any]]],
        cooldowns: Cooldowns,
        io: LoopThread,
    ) -> None:
        """Ask the deployments of *snapshot*, each by *one* of these functions, which run on the loop of *io*."""
        self._snapshot, self._one, self._cooldowns, self._io = snapshot, one, cooldowns, io

    def serve(self, router: Router) -> None:
        """Have *router*'s own `acompletion` be this one from now on, and refuse what would block."""
        router.acompletion = self.acompletion
        for name in _BLOCKING:
            setattr(router, name, _refuse)

    async def acompletion(self, model: str = "", messages: Any = (), *, stream: bool = False, **request: Any) -> Any:
        """Return litellm's answer, or with *stream* an iterator of its pieces.

        Raises:
            Exception: litellm's own error of the first deployment, without frames and secrets; what the others said
                stands in its notes.
        """
        request |= {"messages": messages}
        if stream:
            return self._io.aiterate(self._pieces, model, request)
        return await self._io.acall(self._whole, model, request)

    async def _whole(self, model: str, request: dict[str, Any]) -> Any:
        clock, answer, error = await self._first(model, request)
        await clock.close()
        return answer if error is None else raise_anew(error)

    async def _pieces(self, model: str, request: dict[str, Any]) -> AsyncGenerator[Any, None]:
        clock, answer, error = await self._first(model, request | {"stream": True})
        try:
            while error is None:
                try:
                    piece = await anext(answer)
                except StopAsyncIteration:
                    return
                except Exception as exc:  # noqa: BLE001 - every error leaves bare
                    error = self._bare(exc)
                else:
                    yield piece
        finally:
            await clock.close()
        raise_anew(error)

    async def _first(self, model: str, request: Mapping[str, Any]) -> tuple[Clock, Any, Exception | None]:
        """Return the attempt's clock and what the first deployment answers that does, or the error to raise."""
        snapshot, first = self._snapshot, None
        served = [d for d in snapshot.deployments if entry_of(d) in self._one]  # without those that are left out
        named = next((d for d in served if model in (d.id, entry_of(d))), None)
        config = snapshot.models.get(named.name if named else model) or snapshot.models[DEFAULT_NAME]
        deployments = [d for d in config.deployments if entry_of(d) in self._one]
        alone = named is not None or request.get("disable_fallbacks") is True
        walk = Walk(deployments if named is None else [named], tries=snapshot.tries, alone=alone)
        several = len(deployments) > 1
        clock = Clock(snapshot.timeout_s)
        while (deployment := walk.next(self._cooldowns.active() if several else {})) is not None:
            clock = clock_for(deployment, deployment.timeout_s)
            clock.reads_cost = True
            try:
                return clock, await self._attempt(clock, deployment, request), None
            except Exception as exc:  # noqa: BLE001 - another deployment may answer
                error = self._timeout(deployment) if type(exc) is TimeoutError else exc
                blame(error, clock.said)
                cause = cause_of(error, answered=clock.answered)
                if several:
                    limits = Limits(snapshot.allowed_fails, snapshot.cooldown_time_s)
                    self._cooldowns.add_failure(deployment.id, cause, limits)
                walk.failed(cause)
                if first is None:
                    first = error
                else:
                    first.add_note(f"{deployment.id} failed as well: {cause}")
        return clock, None, self._bare(first or RuntimeError("no deployment was asked"))

    async def _attempt(self, clock: Clock, deployment: Deployment, request: Mapping[str, Any]) -> Any:
        """Return what *deployment* answers in the time of *clock*, which is closed where it does not answer.

        Raises:
            Exception: litellm's own, or that there is no time left.
        """
        try:
            return await clock.wait(self._one[entry_of(deployment)](**_fitted(deployment, request)))
        except BaseException:  # a cancellation, too
            await clock.close()
            raise

    @staticmethod
    def _timeout(deployment: Deployment) -> Exception:
        """Return litellm's error for a provider whose client heeds no timeout."""
        what = f"no answer within {deployment.timeout_s:.3g} s"
        provider, _ = spec_of(deployment).litellm_name(deployment.model)
        error: Exception = litellm.Timeout(what, deployment.model, provider)
        return error

    def _bare(self, error: Exception) -> Exception:
        return bare(error, [secret.reveal() for secret in sent_secrets(self._snapshot)])


def _fitted(deployment: Deployment, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return *request* with the parameters that *deployment* takes, its row's own included.

    Raises:
        ParameterError: one has a value of another type.
    """
    given: dict[str, Any] = copy.deepcopy(dict(deployment.params))
    for name, value in request.items():
        if (known := ALIASES.get(name, name)) in KINDS and value is not None:
            try:
                given[known] = typed(known, value)
            except TypeError as exc:
                raise ParameterError(name, str(exc)) from None
    api, rest = api_of(deployment, native=False), {n: v for n, v in request.items() if ALIASES.get(n, n) not in KINDS}
    forced = bool(request.get("tools")) and request.get("tool_choice") not in (None, "auto", "none")
    return {**rest, **api.litellm(dict(fitted(api, given, known_model(deployment), forced=forced).sent))}


def _refuse(*_: Any, **__: Any) -> NoReturn:
    """Refuse a blocking call, which litellm makes by clients that nothing guards, on loops of its own.

    Raises:
        LiveRouterError: always (LR406).
    """
    raise LiveRouterError(
        "this Router answers async calls only",
        code="LR406",
        where="router",
        hint="Await router.acompletion(…) there, or use get_chat_model().invoke(…) in blocking code.",
    )


def entry_of(deployment: Deployment) -> str:
    """Return the id of *deployment* in the Router, where the same place may stand under several names."""
    return deployment.id if deployment.name == DEFAULT_NAME else f"{deployment.name}:{deployment.id}"


def _group(deployment: Deployment, snapshot: Snapshot) -> str:
    """Return the logical name of *deployment*'s model in the Router."""
    return snapshot.model_name if deployment.name == DEFAULT_NAME else deployment.name


def params_of(deployment: Deployment) -> dict[str, Any]:
    """Return litellm's parameters of *deployment*.

    Raises:
        ConfigError: litellm would look one of its values up elsewhere (LR112).
    """
    spec = spec_of(deployment)
    params = spec.litellm_params(deployment)
    if problems := looked_up(params, f"deployment {deployment.id}"):
        raise ConfigError(problems)  # the last look before litellm, which would read what is named there and send it
    own = {"order": deployment.order, "timeout": deployment.timeout_s, "drop_params": True}
    return {**params, **own, **spec.litellm_options(deployment)}


def _info(deployment: Deployment) -> dict[str, Any]:
    """Return litellm's `model_info` of *deployment*."""
    info: dict[str, Any] = {"id": entry_of(deployment)}
    base = spec_of(deployment).base_model(deployment)
    return info | {"base_model": base} if base else info
