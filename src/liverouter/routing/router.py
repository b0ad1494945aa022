"""Builds the Router of a snapshot. Importing this module imports no litellm; building loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liverouter.errors import ConfigError, Problem
from liverouter.providers import sent_secrets, spec_of
from liverouter.routing.cooldowns import Cooldowns, Limits
from liverouter.routing.litellm_setup import load
from liverouter.secrecy.literal import looked_up
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from liverouter.revision import Deployment, Snapshot
    from liverouter.routing.failover import FailoverRouter


def build_router(snapshot: Snapshot, cooldowns: Cooldowns | None = None) -> FailoverRouter:
    """Return a Router for *snapshot* that reads and writes *cooldowns*, by default its own; nothing is sent anywhere.

    Raises:
        ConfigError: litellm refused the configuration (LR301), or would look a value of it up elsewhere (LR112).
    """
    load()
    from liverouter.routing.failover import FailoverRouter
    from liverouter.routing.litellm_patches import apply_patches

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
        # takes its callbacks off litellm's four process-wide lists: they hold thirty, and count every Router's failures
        router.discard()
        return router
    raise ConfigError(problems)  # out here: its context would hold parameters, and so secrets


def _build_problem(exc: Exception) -> Problem:
    """Return the Problem of what litellm raised when the Router was built."""
    return Problem(
        "LR301",
        f"litellm refused the configuration: {brief(exc)}",
        "settings",
        "Check provider and model; `liverouter check` tries a configuration without activating it",
    )


def _entry(deployment: Deployment, snapshot: Snapshot) -> dict[str, Any]:
    """Return *deployment* as an entry of litellm's `model_list`.

    Raises:
        ConfigError: litellm would look one of its values up elsewhere (LR112).
    """
    from liverouter.routing.litellm_patches import OURS  # imports litellm

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
    info: dict[str, Any] = {"id": deployment.id, OURS: True}
    if base := spec.base_model(deployment):
        info["base_model"] = base
    return {"model_name": snapshot.model_name, "litellm_params": params, "model_info": info}


def cooling(router: FailoverRouter) -> dict[str, float]:
    """Return the remaining seconds of every active cooldown of *router*'s deployments by id; no I/O."""
    return router.cooldowns.remaining_s(router.get_model_ids()) if router.cools else {}
