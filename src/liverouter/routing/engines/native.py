"""The native engine, `litellm_enable = false`: each deployment by its provider's own LangChain class.

`providers` says how each class is made. litellm is not imported.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from liverouter.errors import ConfigError, Problem
from liverouter.providers import native_model
from liverouter.routing.engines.left_out import missing_package, without_litellm
from liverouter.routing.http import DeploymentHttp
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from liverouter.generation import Generation
    from liverouter.loops.thread import LoopThread
    from liverouter.revision import Deployment, Snapshot

    Chats = dict[str, dict[str, BaseChatModel]]


def build(snapshot: Snapshot, io: LoopThread, former: Generation | None) -> tuple[Chats, tuple[Problem, ...]]:
    """Return the chat models of each name by their deployments' ids, and a warning for each fallback that is left out.

    A fallback is left out where its package is not installed, or its provider has none. The models may be called on the
    loop of *io* alone, as those of *former*, which serve on where their deployments are what they were.

    Raises:
        ConfigError: a primary's package is not installed (LR109) or there is none (LR117), or a class refuses the
            configuration (LR301).
    """
    built = _built(former)
    chats: Chats = {name: {} for name in snapshot.models}
    warnings: list[Problem] = []
    for deployment in snapshot.deployments:
        key = _key(deployment)
        if (alone := without_litellm(deployment)) is not None:
            if deployment is snapshot.models[deployment.name].primary:
                raise ConfigError([replace(alone, severity="error")])
            if snapshot.litellm_enable:  # and cannot be used; else validation has said it
                warnings.append(alone)
            continue
        try:
            chats[deployment.name][deployment.id] = built[key] = built.get(key) or _build(deployment, io)
        except ImportError as exc:
            if deployment is snapshot.models[deployment.name].primary:
                raise ConfigError([missing_package(deployment, exc)]) from exc
            warnings.append(missing_package(deployment, exc))
    return chats, tuple(dict.fromkeys(warnings))


def promises(deployment: Deployment, chat: BaseChatModel) -> bool:
    """Tell whether *chat*, the model of *deployment*, has its answers bound to a schema, tools beside it."""
    return native_model(deployment).promises(chat)


def _built(former: Generation | None) -> dict[Any, BaseChatModel]:
    """Return the chat models of *former* by what they were built of; none of another engine's."""
    if former is None or not former.is_native:
        return {}
    models = former.models.values()
    return {_key(d): m.chats[d.id] for m in models for d in m.config.deployments if d.id in m.chats}


def _key(deployment: Deployment) -> Any:
    """Return all that a chat model of *deployment* is built of: parameters come with each request."""
    parts = (deployment.settings, deployment.secrets)
    return deployment.provider, deployment.model, deployment.timeout_s, *(frozenset(p.items()) for p in parts)


def _build(deployment: Deployment, io: LoopThread) -> BaseChatModel:
    """Return the chat model of *deployment*.

    Raises:
        ImportError: its package is not installed.
        ConfigError: its class refuses the configuration (LR301).
    """
    http = DeploymentHttp(deployment, deployment.timeout_s, io)
    try:
        model = native_model(deployment).build(deployment, http)
    except ValueError as exc:
        problem = Problem(
            "LR301",
            f"the native model of {deployment.label} refused the configuration: {mask(str(exc))}",
            "settings",
            "Mend the setting, or set litellm_enable back to true",
        )
    else:
        http.belongs_to(model)
        return model
    finally:
        http.give_back()
    raise ConfigError([problem])  # out here: its context would hold parameters, and so secrets
