"""The native engine, `litellm_enable = false`: each deployment by its provider's own LangChain class.

`providers` says how each class is made. litellm is not imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.errors import ConfigError, Problem
from liverouter.providers import native_model
from liverouter.routing.http import DeploymentHttp
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from liverouter.loops.thread import LoopThread
    from liverouter.revision import Deployment, Snapshot


def build(snapshot: Snapshot, io: LoopThread) -> tuple[dict[str, BaseChatModel], tuple[Problem, ...]]:
    """Return the chat model of each deployment by its id, and a warning for each fallback that is left out.

    A fallback is left out where its package is not installed. The models may be called on the loop of *io* alone.

    Raises:
        ConfigError: the primary's package is not installed (LR109), or a class refuses the configuration (LR301).
    """
    models: dict[str, BaseChatModel] = {}
    warnings: list[Problem] = []
    for deployment in snapshot.deployments:
        try:
            models[deployment.id] = _build(deployment, snapshot, io)
        except ImportError as exc:
            if deployment is snapshot.primary:
                raise ConfigError([_missing_package(deployment, exc)]) from exc
            warnings.append(_missing_package(deployment, exc))
    return models, tuple(warnings)


def _build(deployment: Deployment, snapshot: Snapshot, io: LoopThread) -> BaseChatModel:
    """Return the chat model of *deployment*.

    Raises:
        ImportError: its package is not installed.
        ConfigError: its class refuses the configuration (LR301).
    """
    http = DeploymentHttp(deployment, snapshot.timeout_s, io)
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


def _missing_package(deployment: Deployment, exc: ImportError) -> Problem:
    native, is_fallback = native_model(deployment), deployment.role == "fallback"
    consequence = ": this fallback is left out" if is_fallback else ""
    return Problem(
        "LR109",
        f"without litellm {deployment.provider} needs the package '{exc.name or native.package}', "
        f"which is not installed{consequence}",
        "settings.llm_fallback_config" if is_fallback else "settings.litellm_enable",
        f"Install it: pip install 'liverouter[{native.extra}]'",
        "warning" if is_fallback else "error",
    )
