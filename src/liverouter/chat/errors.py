"""A failed call becomes one error: typed as LangChain types them, without secrets, naming who failed and why.

A provider's error stays an instance of the class its library raised, and becomes one of LangChain's `ModelError`s as
well, so that retry middleware and agents can tell what cannot succeed. Where every deployment failed, one error names
them all.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from langchain_core import exceptions as core

from liverouter.errors import CallError, LiveRouterError
from liverouter.providers import sent_secrets
from liverouter.routing.answer_errors import DeclinedError
from liverouter.routing.causes import Kind, describe, is_of_a_library, kind_of, verdict_of
from liverouter.secrecy.leaving import bare
from liverouter.secrecy.redaction import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from liverouter.call import Call
    from liverouter.revision import Deployment

E = TypeVar("E", bound=Exception)

_MAX_CAUSE: Final = 250  # characters
_TYPES: Final[Mapping[Kind, type[core.ModelError]]] = MappingProxyType(
    {
        "authentication": core.ModelAuthenticationError,
        "permission": core.ModelPermissionDeniedError,
        "not_found": core.ModelNotFoundError,
        "rate_limit": core.ModelRateLimitError,
        "timeout": core.ModelTimeoutError,
        "connection": core.ModelConnectionError,
        "context_overflow": core.ContextOverflowError,
        "refusal": DeclinedError,
        "invalid_request": core.ModelInvalidRequestError,
        "server": core.ModelAPIError,
    }
)
_classes: Final[dict[tuple[type[Exception], type[core.ModelError]], type[Exception]]] = {}
_CALLERS_OWN: Final = (core.ModelInvalidRequestError, core.ContextOverflowError)


class EveryDeploymentFailedError(CallError):
    """No deployment answered (LR302); when raised also one of LangChain's ModelErrors, which fits the causes best.

    Attributes:
        causes: the id of each deployment and what failed there, without secrets.
    """

    causes: Mapping[str, str]

    def __init__(self, causes: Mapping[str, str], *, told: Iterable[str], where: str) -> None:
        """Say *where* it was, under which revision, and what is *told* of each deployment of *causes*."""
        self.causes = MappingProxyType(dict(causes))
        super().__init__(
            f"every deployment failed: {'; '.join(told)}",
            code="LR302",
            where=where,
            hint="`liverouter check --live` calls each deployment once and says what it answers.",
        )


def translate(exc: Exception, call: Call) -> Exception:
    """Return the error to raise for *call*, which ended in *exc*; with all that it came from it is free of secrets.

    Where a provider's answer had come, an error of no library's own is what that answer led to.
    """
    secrets = [secret.reveal() for secret in sent_secrets(call.generation.snapshot)]
    # else the caller's own code failed, and no deployment did
    after_content = call.answering or not (is_of_a_library(exc) or isinstance(exc, CallError))
    error = _typed(exc) if after_content else _outcome(exc, call, secrets)
    if (call.answered or call.answering) and not isinstance(error, core.ModelError | LiveRouterError):
        error = core.ModelAPIError(f"the provider's answer cannot be read: {describe(exc)}")
        error.__cause__ = exc
    for failed in (error, exc, *(failed for _, failed in call.failures)):
        bare(failed, secrets)
    return error


def _outcome(exc: Exception, call: Call, secrets: Iterable[str]) -> Exception:
    """Return the error for a call that nobody began to answer: one over all where every deployment of several failed.

    Where each of them refused what the caller asked for, it is the first deployment's error, and else *exc*, typed.
    """
    failed, generation = dict(call.failures), call.generation
    deployments = generation.deployments
    if len(deployments) == 1 or any(d.id not in failed for d in deployments):
        return _typed(exc)
    kinds = [_kind(failed[d.id]) for d in deployments]
    if all(kind is not None and issubclass(kind, _CALLERS_OWN) for kind in kinds):
        return _typed(failed[deployments[0].id])  # the caller's own mistake: as the first provider told it
    causes = {d.id: _clip(clean(_words(failed[d.id]), secrets)) for d in deployments}
    labels = zip(deployments, _labels(deployments), strict=True)
    told = [_named_once(d, label, failed[d.id], causes[d.id]) for d, label in labels]
    where = f"llm:{generation.told_name}, " if generation.told_name else ""
    where += f"revision {generation.snapshot.revision}"
    error = _combined(EveryDeploymentFailedError, _best(kinds))(causes, told=told, where=where)
    error.__cause__ = exc
    return error


def _labels(deployments: Iterable[Deployment]) -> list[str]:
    """Return the label of each deployment, its id where another one has that label."""
    labels = [d.label for d in deployments]
    return [d.id if labels.count(d.label) > 1 else d.label for d in deployments]


def _words(failure: Exception) -> str:
    """Return what *failure* says: an error of ours without its class, code and hint, a library's on one line."""
    return failure.message if isinstance(failure, CallError) else describe(failure)


def _named_once(deployment: Deployment, label: str, failure: Exception, cause: str) -> str:
    """Return the *cause* of *failure* as that of *deployment*, under its *label*; our own errors name it already."""
    if isinstance(failure, CallError) and deployment.label in cause:
        return cause.replace(deployment.label, label, 1)
    return f"{label}: {cause}"


def _clip(text: str) -> str:
    return text if len(text) <= _MAX_CAUSE else text[: _MAX_CAUSE - 1] + "…"


def _best(kinds: list[type[core.ModelError] | None]) -> type[core.ModelError]:
    """Return the type that fits several causes: what the caller can mend, else what may pass, else the primary's."""
    if core.ContextOverflowError in kinds:
        return core.ContextOverflowError
    return next((k for k in kinds if k is not None and k.is_retryable), kinds[0] or core.ModelAPIError)


def _kind(exc: BaseException) -> type[core.ModelError] | None:
    """Return LangChain's type for *exc*, None for what is no failure of a model call."""
    verdict = verdict_of(exc)
    if isinstance(exc, core.ModelError) and (verdict is None or verdict.kind is None):
        return next(base for base in type(exc).__mro__ if base.__module__ == core.__name__)
    kind = kind_of(exc) if is_of_a_library(exc) else None
    return None if kind is None else _TYPES[kind]


def _typed(exc: Exception) -> Exception:
    """Return *exc*, now also an instance of LangChain's type for it."""
    if type(exc) is TimeoutError:  # Google's library lets Python's own through, which takes no other class
        error = core.ModelTimeoutError("the provider did not answer in time")
        error.__cause__ = exc
        return error
    if isinstance(exc, UnicodeDecodeError):  # Google's library lets it through, too: a stream that is no UTF-8
        unreadable = core.ModelAPIError("the provider's answer cannot be read: it is no UTF-8")
        unreadable.__cause__ = exc
        return unreadable
    if isinstance(exc, LiveRouterError) or (kind := _kind(exc)) is None or isinstance(exc, kind):
        return exc
    library = next(base for base in type(exc).__mro__ if not issubclass(base, core.ModelError))
    exc.__class__ = _combined(library, kind)  # type: ignore[arg-type]  # an error's classes are errors'
    return exc


def _combined(base: type[E], kind: type[core.ModelError]) -> type[E]:
    """Return the class that is both, under *base*'s name; one per pair."""
    if (base, kind) not in _classes:
        # litellm's and openai's classes set no is_retryable, so LangChain's is found in either order
        members = {"__module__": base.__module__, "__reduce__": _reduce, "_liverouter_parts": (base, kind)}
        _classes[base, kind] = type(base.__name__, (base, kind), members)
    return _classes[base, kind]  # type: ignore[return-value]  # made of it


def _reduce(exc: Exception) -> tuple[Any, ...]:
    """Pickle a combined class by its two parts, and of its state what is plain: neither request nor response."""
    base, kind = exc._liverouter_parts  # type: ignore[attr-defined]  # noqa: SLF001 - of the class made here
    state = {name: value for name, value in vars(exc).items() if isinstance(value, str | int | float | bool | None)}
    return _revive, (base, kind, exc.args, state)


def _revive(
    base: type[Exception], kind: type[core.ModelError], args: tuple[Any, ...], state: dict[str, Any]
) -> Exception:
    """Return the error that `_reduce` took apart, of the combined class that this process has."""
    exc = Exception.__new__(_combined(base, kind))
    exc.args = args
    vars(exc).update(state)
    return exc
