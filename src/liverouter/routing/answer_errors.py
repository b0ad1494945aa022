"""What is wrong with an answer that a provider called a success, that did not come in time, or was never asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from langchain_core.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelTimeoutError,
)

from liverouter.errors import CallError

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

try:
    from langchain_core.exceptions import ModelRefusalError
except ImportError:

    class ModelRefusalError(ModelError):  # type: ignore[no-redef]
        """The one that LangChain has since 1.7.5."""


_HINT_RETRY: Final = "Try again; if it stays, look at the provider's status page and at proxies in between."
_LONGEST_REFUSAL: Final = 200  # characters
_LONGEST_NAME: Final = 64  # characters


class EmptyAnswerError(CallError, ModelAPIError):
    """The provider called it a success and answered nothing (LR304)."""

    status_code: Final = 500

    def __init__(self, deployment_id: str, *, finish: str = "") -> None:
        """Name the deployment, and the reason for which the answer ended."""
        what = f"{_label(deployment_id)} answered nothing" + (f" (finish reason {finish})" if finish else "")
        super().__init__(what, code="LR304", where=deployment_id, hint=_HINT_RETRY)


class CutStreamError(CallError, ModelAPIError):
    """The provider's stream ended without its finish marker (LR303)."""

    status_code: Final = 500

    def __init__(self, deployment_id: str) -> None:
        """Name the deployment."""
        what = f"the stream of {_label(deployment_id)} ended without its finish marker"
        super().__init__(what, code="LR303", where=deployment_id, hint=_HINT_RETRY)


class BrokenCallError(CallError, ModelAPIError):
    """The answer calls a tool with arguments that are no JSON object, or none by name (LR311)."""

    status_code: Final = 500

    def __init__(self, deployment_id: str, tool: str) -> None:
        """Name the deployment and the *tool*; "" for a call that does not."""
        called = (
            f"the tool {tool[:_LONGEST_NAME]!r} with arguments that are no JSON object"
            if tool
            else "a tool without a name"
        )
        what = f"{_label(deployment_id)} calls {called}"
        super().__init__(what, code="LR311", where=deployment_id, hint=_HINT_RETRY)


class FailedAnswerError(CallError, ModelAPIError):
    """The provider's answer ended in an error of its own (LR312)."""

    status_code: Final = 502

    def __init__(self, deployment_id: str, said: str) -> None:
        """Name the deployment, and repeat the beginning of what it *said*."""
        what = f"the answer of {_label(deployment_id)} failed: {said[:_LONGEST_REFUSAL]}"
        super().__init__(what, code="LR312", where=deployment_id, hint=_HINT_RETRY)


class DeclinedError(ModelInvalidRequestError, ModelRefusalError):
    """The model or its provider declines to answer: LangChain's two classes for it in one."""


class RefusedError(CallError, DeclinedError):
    """The provider refused to answer (LR305).

    Attributes:
        raw_message: the answer that refuses, of a stream the piece that says so.
    """

    status_code: Final = 400

    def __init__(self, deployment_id: str, *, text: str = "", raw_message: BaseMessage | None = None) -> None:
        """Name the deployment, and repeat the beginning of what it said."""
        what = f"{_label(deployment_id)} refused to answer" + (f": {text[:_LONGEST_REFUSAL]}" if text else "")
        hint = "Rephrase the request; a fallback of another provider may answer it."
        super().__init__(what, code="LR305", where=deployment_id, hint=hint)
        self.raw_message = raw_message


class SilentError(CallError, ModelTimeoutError):
    """Nothing, or nothing more, came within the timeout (LR307)."""

    status_code: Final = 408

    def __init__(self, deployment_id: str, timeout_s: float, *, begun: bool = False, why: str = "") -> None:
        """Name the deployment and its timeout; *begun*: it had begun to answer; *why*: what was waited for."""
        what = "nothing more came of the stream" if begun else "no answer came"
        message = f"{what} of {_label(deployment_id)} within {timeout_s:.3g} s" + (f": {why}" if why else "")
        super().__init__(message, code="LR307", where=deployment_id, hint=_HINT_RETRY)


class UnreachedError(CallError, ModelConnectionError):
    """The provider could not be reached, or the connection to it was lost (LR310)."""

    def __init__(self, deployment_id: str, why: str, *, begun: bool = False) -> None:
        """Name the deployment, and say *why*: host, port and what happened there; *begun*: it had begun to answer."""
        label = _label(deployment_id)
        what = f"the answer of {label} broke off: {why}" if begun else f"{label} cannot be reached: {why}"
        hint = "Look at the base URL, the provider's status page, and firewalls and proxies in between."
        super().__init__(what, code="LR310", where=deployment_id, hint=hint)


class UnsentError(CallError, ModelInvalidRequestError, ValueError):
    """The request could not be written as the provider wants it, so that nothing was sent (LR308)."""

    status_code: Final = 400

    def __init__(self, deployment_id: str, why: str) -> None:
        """Name the deployment, and say *why*, without secrets."""
        what = f"the request cannot be written as {_label(deployment_id)} wants it, nothing was sent: {why}"
        hint = "Mend the messages, tools or parameters of the call; a fallback of another provider may take them."
        super().__init__(what, code="LR308", where=deployment_id, hint=hint)


class ParameterError(CallError, ModelInvalidRequestError):
    """A parameter of the call has a value of the wrong type, so that nothing was sent (LR313)."""

    status_code: Final = 400

    def __init__(self, name: str, wanted: str) -> None:
        """Name the parameter, and what it wants; its value is not repeated."""
        super().__init__(f"'{name}' wants {wanted}", code="LR313", where="call", hint="Mend the parameter of the call.")


class MissingToolError(CallError, ModelInvalidRequestError):
    """The call is about a built-in tool that the deployment's API does not have, so that nothing was sent (LR314)."""

    status_code: Final = 400

    def __init__(self, deployment_id: str, tool: str) -> None:
        """Name the deployment and the tool."""
        message = f"{_label(deployment_id)} has no built-in tool '{tool}', and the call is about nothing else"
        hint = "Bind a function of your own beside it, or a fallback of the provider that has the tool."
        super().__init__(message, code="LR314", where=deployment_id, hint=hint)


def hollow(
    deployment_id: str, *, refusal: str, finish: str, message: BaseMessage | None
) -> EmptyAnswerError | RefusedError:
    """Return the error of an answer without content that ended for the reason *finish*, with a *refusal* or none.

    *message*: the answer, of a stream its last piece; None where there was none.
    """
    if refusal or finish.lower() in _REFUSALS:
        return RefusedError(deployment_id, text=refusal, raw_message=message)
    return EmptyAnswerError(deployment_id, finish=finish)


# Reasons by which providers say that they will not answer, as OpenAI, Anthropic and Google name them.
_REFUSALS: Final = frozenset(
    {"content_filter", "refusal", "safety", "prohibited_content", "blocklist", "spii", "recitation", "image_safety"}
)


def _label(deployment_id: str) -> str:
    """Return ``provider/model`` of a deployment's id."""
    return deployment_id.partition("#")[0]
