"""What is wrong with an answer that a provider called a success. Importing this module imports litellm."""

from __future__ import annotations

from typing import Final

import litellm
from langchain_core.exceptions import ModelAPIError, ModelInvalidRequestError

from liverouter.errors import CallError, Problem

_HINT_RETRY: Final = "Try again; if it stays, look at the provider's status page and at proxies in between."


class _FoundError(CallError):
    """An error found here, which litellm's Router must take for one of its own."""

    failed_deployment_id: str = ""  # where the Router looks for it

    def _describe(self, message: str, *, code: str, where: str, hint: str) -> None:
        """Set what a LiveRouterError has; its constructor would go on to litellm's, which wants other arguments."""
        self.code, self.message, self.where, self.hint = code, message, where, hint
        self.args = (str(Problem(code, message, where, hint)),)

    def __str__(self) -> str:
        return str(self.args[0])


class EmptyAnswerError(_FoundError, ModelAPIError, litellm.InternalServerError):  # type: ignore[misc]  # litellm has no types
    """The provider called it a success and answered nothing (LR304)."""

    def __init__(self, deployment_id: str, *, finish: str | None = None) -> None:
        what = f"{_label(deployment_id)} answered nothing" + (f" (finish reason {finish})" if finish else "")
        litellm.InternalServerError.__init__(self, what, *provider_and_model(deployment_id))
        self._describe(what, code="LR304", where=deployment_id, hint=_HINT_RETRY)


class CutStreamError(_FoundError, ModelAPIError, litellm.InternalServerError):  # type: ignore[misc]  # litellm has no types
    """The provider's stream ended without its finish marker (LR303)."""

    def __init__(self, deployment_id: str) -> None:
        what = f"the stream of {_label(deployment_id)} ended without its finish marker"
        litellm.InternalServerError.__init__(self, what, *provider_and_model(deployment_id))
        self._describe(what, code="LR303", where=deployment_id, hint=_HINT_RETRY)


class RefusedError(_FoundError, ModelInvalidRequestError, litellm.ContentPolicyViolationError):  # type: ignore[misc]  # no types
    """The provider refused to answer (LR305)."""

    def __init__(self, deployment_id: str, *, text: str = "") -> None:
        what = f"{_label(deployment_id)} refused to answer" + (f": {text[:200]}" if text else "")
        litellm.ContentPolicyViolationError.__init__(self, what, *reversed(provider_and_model(deployment_id)))
        hint = "Rephrase the request; a fallback of another provider may answer it."
        self._describe(what, code="LR305", where=deployment_id, hint=hint)


def hollow(deployment_id: str, *, refusal: str, finish: str | None) -> EmptyAnswerError | RefusedError:
    """Return the error of an answer without content that ended for the reason *finish*, with a *refusal* or none."""
    if refusal or finish == "content_filter":
        return RefusedError(deployment_id, text=refusal)
    return EmptyAnswerError(deployment_id, finish=finish)


def _label(deployment_id: str) -> str:
    """Return ``provider/model`` of a deployment's id."""
    return deployment_id.partition("#")[0]


def provider_and_model(deployment_id: str) -> tuple[str, str]:
    """Return both of a deployment's id."""
    provider, _, model = _label(deployment_id).partition("/")
    return provider, model
