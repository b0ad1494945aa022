"""Why an engine has no chat model of a deployment: which is an error of a primary, and a fallback is left out.

Validation says of the native one what is known before anything is built, so this module loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.errors import Problem
from liverouter.providers import native_model
from liverouter.revision import DEFAULT_NAME

if TYPE_CHECKING:
    from liverouter.revision import Deployment


def without_litellm(deployment: Deployment) -> Problem | None:
    """Return that litellm alone serves *deployment*; None where its provider has a class of its own."""
    if native_model(deployment).package:
        return None
    hint = "Set litellm_enable to true, or choose a provider with a LangChain class of its own"
    return _problem("LR117", f"litellm alone serves {deployment.label}, and it is not used", deployment, hint)


def missing_package(deployment: Deployment, exc: ImportError, *, by_litellm: bool = False) -> Problem:
    """Return that a package is not installed, as *exc* tells: of *deployment*'s class, or what litellm calls it by."""
    native, engine = native_model(deployment), "with" if by_litellm else "without"
    who = deployment.provider if native.extra else deployment.label  # which stands for many
    package = exc.name or native.package
    what = f"{engine} litellm {who} needs the package '{package}'"
    hint = f"Install it: pip install '{f'liverouter[{native.extra}]' if native.extra else package}'"
    return _problem("LR109", f"{what}, which is not installed", deployment, hint)


def _problem(code: str, message: str, deployment: Deployment, hint: str) -> Problem:
    if deployment.role != "fallback":
        return Problem(code, message, "settings.litellm_enable", hint)
    is_default = deployment.name == DEFAULT_NAME
    place = "settings.llm_fallback_config" if is_default else f"settings.llm:{deployment.name}.fallbacks"
    return Problem(code, f"{message}: this fallback is left out", place, hint, "warning")
