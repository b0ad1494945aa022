"""What a provider library's exception means: whose fault, how bad, for how long. No other module reads one.

What the provider itself said comes first, see `blame`: its words, then the status that it answered with. Libraries
tell the rest in three ways: by a status, theirs or one of a response behind it; by the class; by what they raised it
from. litellm gives 500 to what it could not reach, could not read and could not log in to.
"""

from __future__ import annotations

import contextlib
import re
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from liverouter.errors import CallError
from liverouter.providers import PROVIDERS
from liverouter.routing.meanings import Verdict, verdict_on
from liverouter.secrecy.leaving import chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from liverouter.routing.said import Said

Kind = Literal[
    "authentication",  # the key is not known, or was not had
    "permission",  # the key may not do this
    "not_found",  # the model, the deployment or the URL
    "rate_limit",  # too many calls, or no quota
    "timeout",
    "connection",  # the provider could not be reached
    "context_overflow",  # the prompt is longer than the model reads
    "refusal",  # the model or its provider declines
    "invalid_request",  # anything else that the caller has to change
    "server",  # the provider failed, or its answer cannot be read
]

_FIRST_ERROR: Final = 400
_VERDICT: Final = "_liverouter_verdict"  # the attribute of an error that holds its Verdict
_UNAUTHORIZED: Final = 401
_TIMEOUT: Final = 408
_UNREADABLE: Final = 422  # also what litellm calls an answer of Gemini's that it cannot read
_RATE_LIMIT: Final = 429
_SERVER_ERROR: Final = 500
_NO_TOKEN: Final = frozenset(  # Google gave none for these credentials
    {
        "ClientCertError",
        "DefaultCredentialsError",
        "MutualTLSChannelError",
        "OAuthError",
        "RefreshError",
        "UserAccessTokenError",
    }
)
_OF_TOKENS: Final = tuple(f"{name}." for spec in PROVIDERS.values() for name in spec.token_modules)
_TIMEOUTS: Final = frozenset({"TimeoutError", "TimeoutException"})  # Python's and httpx's, which litellm calls 500
_LOST: Final = frozenset({"ConnectionError", "NetworkError", "ProxyError", "RemoteProtocolError"})  # of HTTP libraries
_UNREACHED: Final = frozenset({"APIConnectionError", "TransportError"})  # litellm gives them status 500
_FOR_AN_OPERATOR: Final = frozenset({401, 402, 403, 404})
_LIBRARIES: Final = frozenset(
    {"json", "litellm", "httpx", "httpx2", *(name for spec in PROVIDERS.values() for name in spec.libraries)}
)
_PUZZLED: Final = (AttributeError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError)
_TOO_LONG: Final = re.compile("prompt is too long|maximum context length|exceeds the maximum number of tokens")
_BY_STATUS: Final[Mapping[int, Kind]] = {
    400: "invalid_request",
    401: "authentication",
    402: "permission",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "invalid_request",
    422: "invalid_request",
    429: "rate_limit",
}
_BY_LANGCHAIN: Final[Mapping[str, Kind]] = {  # what an error is that was typed already
    "ContextOverflowError": "context_overflow",
    "ModelAPIError": "server",
    "ModelAuthenticationError": "authentication",
    "ModelConnectionError": "connection",
    "ModelInvalidRequestError": "invalid_request",
    "ModelNotFoundError": "not_found",
    "ModelPermissionDeniedError": "permission",
    "DeclinedError": "refusal",
    "ModelRefusalError": "refusal",
    "ModelRateLimitError": "rate_limit",
    "ModelTimeoutError": "timeout",
}
_BY_NAME: Final[Mapping[str, Kind]] = {  # the nearest class in the MRO wins
    "ContentPolicyViolationError": "refusal",
    "ContextWindowExceededError": "context_overflow",
    "AuthenticationError": "authentication",
    "PermissionDeniedError": "permission",
    "NotFoundError": "not_found",
    "RateLimitError": "rate_limit",
    "Timeout": "timeout",
    "APITimeoutError": "timeout",
    "TimeoutException": "timeout",
    "TimeoutError": "timeout",
    "BadRequestError": "invalid_request",
    "UnprocessableEntityError": "invalid_request",
    "InternalServerError": "server",
    "ServiceUnavailableError": "server",
    "BadGatewayError": "server",
    "JSONDecodeError": "server",
    "UnknownApiResponseError": "server",
    "APIError": "server",
    "GoogleAuthError": "server",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an attempt failed, without any text of the provider's.

    Attributes:
        name: the exception's class.
        status: the HTTP status, or the one that fits the provider's words; 500 where it could not be reached or
            understood.
        retry_after_s: the seconds that the provider asked for, None where it asked for none.
    """

    name: str
    status: int
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.status}"

    @property
    def is_worth_a_retry(self) -> bool:
        """Tell whether the same deployment may answer if it is asked again at once."""
        return self.status >= _SERVER_ERROR

    @property
    def is_rate_limit(self) -> bool:
        """Tell whether the provider says that it has had enough for now."""
        return self.status == _RATE_LIMIT

    @property
    def is_for_an_operator(self) -> bool:
        """Tell whether only an operator can mend it, and no other try."""
        return self.status in _FOR_AN_OPERATOR

    @property
    def is_the_callers(self) -> bool:
        """Tell whether the request itself was refused, which says nothing about the deployment."""
        blames_the_deployment = self.is_for_an_operator or self.is_rate_limit or self.status == _TIMEOUT
        return not blames_the_deployment and self.status < _SERVER_ERROR


def blame(error: BaseException, said: Said | None) -> None:
    """Have `cause_of` and `kind_of` read *error* by what the provider *said* before it was raised; None: nothing."""
    if said is None:
        return
    with contextlib.suppress(AttributeError):  # of a class that takes none
        BaseException.__setattr__(error, _VERDICT, verdict_on(said))


def verdict_of(error: BaseException) -> Verdict | None:
    """Return what the provider itself said of *error*, see `blame`; None where it said nothing."""
    verdict = getattr(error, _VERDICT, None)
    return verdict if isinstance(verdict, Verdict) else None


def is_unsendable(error: BaseException) -> bool:
    """Tell whether *error*, raised before anything was sent, says that a library could not write the request.

    What a message points to and cannot be fetched counts as well, a text that is no UTF-8, and what a library's code
    could not make sense of, with whatever bare error of Python's. Not so where Google's credentials gave no token,
    where time ran out, and where the caller's own code failed.
    """
    if any(_is_of_a_token(link) for link in _line(error)):
        return False
    if isinstance(error, OSError | UnicodeEncodeError):
        return not isinstance(error, TimeoutError)
    if is_of_a_library(error):
        return cause_of(error).is_worth_a_retry
    return isinstance(error, _PUZZLED) and not isinstance(error, CallError) and _is_raised_by_a_library(error)


def root_of(error: BaseException) -> BaseException:
    """Return what *error* was raised from in the end."""
    return list(_line(error))[-1]


def cause_of(error: BaseException, *, answered: bool = True) -> Cause:
    """Return the Cause of a failed attempt: who has to cool, and whether to ask again.

    *answered*: an answer had come, so that an error of no library's own is what that answer led to; else it is the
    caller's own.
    """
    name = type(error).__name__
    if (verdict := verdict_of(error)) is not None:
        return Cause(name, verdict.status, verdict.retry_after_s)
    if not answered and not isinstance(error, CallError | OSError) and not is_of_a_library(error):
        return Cause(name, _FIRST_ERROR)
    statuses = (getattr(error, "status_code", None), getattr(error, "code", None))  # Google's library calls it a code
    status = next((s for s in statuses if isinstance(s, int) and s >= _FIRST_ERROR), _SERVER_ERROR)
    if status in (_UNREADABLE, _SERVER_ERROR):
        if (kind := _of_what_is_behind(error, status)) is not None:
            status = {"authentication": _UNAUTHORIZED, "timeout": _TIMEOUT}.get(kind, _SERVER_ERROR)
        elif status == _SERVER_ERROR and not _names_behind(error).isdisjoint(_TIMEOUTS):
            status = _TIMEOUT
    return Cause(name, status)


def kind_of(error: BaseException) -> Kind | None:
    """Return what a caller can do about *error*, as LangChain sorts it; None for what is no failure of a model call."""
    names, verdict = _names(error), verdict_of(error)
    said = None if verdict is None else verdict.kind
    if told := said or next((_BY_LANGCHAIN[name] for name in names if name in _BY_LANGCHAIN), None):
        return told
    status = status_of(error) if verdict is None else verdict.status
    unreached = verdict is None and not _UNREACHED.isdisjoint(names)
    if verdict is None and (kind := _of_what_is_behind(error, status)):
        return kind
    # by its words as well: litellm has that class for some providers only
    if "ContextWindowExceededError" in names or (status == _FIRST_ERROR and _TOO_LONG.search(str(error))):
        return "context_overflow"
    if status is not None and not unreached and (kind := _of_status(status)):
        return kind
    if unreached and any("Timeout" in type(link).__name__ for link in chain(error)):
        return "timeout"
    named = next((_BY_NAME[name] for name in names if name in _BY_NAME), None)
    return named or ("connection" if unreached else None)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that *error*, or what it came from, was made of; Google's library calls it a code."""
    for link in chain(error):
        for status in (getattr(link, "status_code", None), getattr(link, "code", None)):
            if isinstance(status, int):
                return status
    return None


def is_of_a_library(error: BaseException) -> bool:
    """Tell whether a library that speaks to providers made *error*, and not the caller's own code."""
    return any(base.__module__.partition(".")[0] in _LIBRARIES for base in type(error).__mro__)


def describe(error: BaseException) -> str:
    """Return class, status and text of *error* on one line: what an operator wants to know of a failed attempt."""
    name, text = type(error).__name__, " ".join(str(error).split())
    for prefix in (f"litellm.{name}: ", f"{name}: "):
        text = text.removeprefix(prefix)
    status = getattr(error, "status_code", None)
    return f"{name} {status}: {text}" if status else f"{name}: {text}"


def _of_status(status: int) -> Kind | None:
    """Return the kind of an HTTP *status*, None where it is no error's."""
    if kind := _BY_STATUS.get(status):
        return kind
    return "server" if status >= _SERVER_ERROR else "invalid_request" if status >= _FIRST_ERROR else None


def _of_what_is_behind(error: BaseException, status: int | None) -> Kind | None:
    """Return the kind where what *error* was raised from says more than its *status*; else None.

    litellm gives 422, which no provider sent, to an answer of Gemini's that it cannot read. A token that Google refused
    has status 500 from litellm and none from google-auth, which marks as retryable what is a failure of Google's own.
    Nor does a status say that nobody was reached who gives tokens.
    """
    if status == _UNREADABLE:
        return "server" if "BadRequestError" in _names(error) else None
    if status not in (None, _SERVER_ERROR):
        return None
    line, names = list(_line(error)), _names_behind(error)
    refusal = next((link for link in line if _gave_no_token(link)), None)
    if refusal is None and not any(_is_of_a_token(link) for link in line):
        return None
    if not names.isdisjoint(_TIMEOUTS):
        return "timeout"
    if not names.isdisjoint(_LOST):
        return "connection"
    return "server" if refusal is None or getattr(refusal, "retryable", False) else "authentication"


def _gave_no_token(link: BaseException) -> bool:
    """Tell whether *link* is google-auth's error for credentials without a token, or of a key that it cannot read."""
    if not _NO_TOKEN.isdisjoint(_names(link)):
        return True
    return type(link) is ValueError and _is_of_a_token(link)


def _is_of_a_token(link: BaseException) -> bool:
    """Tell whether *link* is an error of what fetches access tokens, or was raised within that."""
    if any(base.__module__.startswith(_OF_TOKENS) for base in type(link).__mro__):
        return True
    frames = traceback.walk_tb(link.__traceback__)
    return any(frame.f_globals.get("__name__", "").startswith(_OF_TOKENS) for frame, _ in frames)


def _is_raised_by_a_library(error: BaseException) -> bool:
    """Tell whether *error* came out of LangChain's code for a provider, or out of a library that it calls."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.startswith("langchain_") or name.partition(".")[0] in _LIBRARIES for name in modules)


def _names_behind(error: BaseException) -> set[str]:
    """Return the class names of *error* and of what it was raised from, those of their bases included."""
    return {name for link in _line(error) for name in _names(link)}


def _names(error: BaseException) -> list[str]:
    """Return the names of *error*'s class and of its bases, the nearest first."""
    return [base.__name__ for base in type(error).__mro__]


def _line(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and what it was raised from, one behind the other.

    Not all that `chain` yields: of an error that names its cause, its context is what an earlier attempt ended in.
    """
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
