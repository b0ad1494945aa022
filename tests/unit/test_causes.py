"""What a provider library's exception means to a caller."""

from __future__ import annotations

import httpx
import pytest
from google.auth import exceptions as google_auth
from langchain_core import exceptions as core

from liverouter.routing.causes import (
    blame,
    cause_of,
    describe,
    is_of_a_library,
    is_unsendable,
    kind_of,
    root_of,
    status_of,
)
from liverouter.routing.said import Said

LOST = (
    (ConnectionRefusedError(), "connection", 500),
    (httpx.ConnectError("no such name"), "connection", 500),
    (httpx.RemoteProtocolError("closed"), "connection", 500),
    (TimeoutError(), "timeout", 408),
    (httpx.ReadTimeout("slow"), "timeout", 408),
    (httpx.DecodingError("no token"), "server", 500),
)


class GoogleError(Exception):
    """An error that calls its status a code."""

    def __init__(self, code: object) -> None:
        super().__init__("said the provider")
        self.code = code


class RefreshError(Exception):
    """Google's error for credentials that it gives no token for."""

    def __init__(self, *, retryable: bool = False) -> None:
        super().__init__("no token")
        self.retryable = retryable


def litellms(name: str, status: int | None = None, text: str = "no") -> Exception:
    """Return an error as litellm raises it, without importing that."""
    error: Exception = type(name, (Exception,), {"__module__": "litellm.exceptions", "status_code": status})(text)
    return error


def of_google_auth(name: str) -> Exception:
    """Return an error as google-auth raises it."""
    error: Exception = getattr(google_auth, name)("no token")
    return error


def behind(error: Exception, cause: Exception) -> Exception:
    """Return *error*, raised from *cause*."""
    error.__cause__ = cause
    return error


def told(error: Exception, status: int, *codes: str, message: str = "") -> Exception:
    """Return *error* after the provider had said this."""
    blame(error, Said(status, frozenset(codes), message))
    return error


class TestKind:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (litellms("AuthenticationError", 401), "authentication"),
            (litellms("AuthenticationError"), "authentication"),
            (litellms("InternalServerError", 429), "rate_limit"),
            (litellms("Timeout", 408), "timeout"),
            (litellms("APIConnectionError", 500), "connection"),
            (behind(litellms("APIConnectionError", 500), httpx.ReadTimeout("")), "timeout"),
            (litellms("BadRequestError", 400, "the maximum context length is 8"), "context_overflow"),
            (litellms("ContextWindowExceededError", 400), "context_overflow"),
            (litellms("BadRequestError", 400), "invalid_request"),
            (litellms("BadRequestError", 422), "server"),  # litellm could not read Gemini's answer
            (told(litellms("BadRequestError", 422), 422), "invalid_request"),
            (litellms("APIError", 402), "permission"),
            (told(litellms("RateLimitError", 429), 400), "invalid_request"),  # litellm took the body's code for it
            (
                told(core.ModelInvalidRequestError("no"), 400, message="This organization has been disabled."),
                "permission",
            ),
            (behind(litellms("APIConnectionError", 500), RefreshError()), "authentication"),
            (behind(litellms("APIConnectionError", 500), RefreshError(retryable=True)), "server"),
            (RefreshError(), "authentication"),
            (behind(litellms("RateLimitError", 429), RefreshError()), "rate_limit"),
            (litellms("Odd", 418), "invalid_request"),
            (litellms("Odd", 529), "server"),
            (httpx.ConnectError("no"), "connection"),
            (behind(RuntimeError("no"), GoogleError(404)), "not_found"),
            (GoogleError("invalid"), None),
            (core.ModelPermissionDeniedError("no"), "permission"),
            (TimeoutError(), "timeout"),
            (ValueError("the caller's own"), None),
        ],
    )
    def test_kind_is_read_from_class_status_and_what_is_behind(self, error: Exception, kind: str | None) -> None:
        """However a library tells it."""
        assert kind_of(error) == kind

    def test_status_is_the_first_of_the_chain(self) -> None:
        """An error's own comes before that of what it was raised from."""
        assert status_of(behind(GoogleError(429), GoogleError(500))) == 429
        assert status_of(ValueError()) is None

    def test_the_callers_own_error_is_of_no_library(self) -> None:
        """A callback that fails is not the provider's fault."""
        assert not is_of_a_library(ValueError())
        assert is_of_a_library(httpx.ConnectError("no"))

    def test_description_names_the_class_once(self) -> None:
        """Libraries put it into the text as well."""
        error = litellms("RateLimitError", 429, "litellm.RateLimitError: slow\ndown")
        assert describe(error) == "RateLimitError 429: slow down"


ANTHROPIC_MONEY = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase "
    "credits."
)
FROM_THE_FIELD = [  # (status, codes, message) of providers' errors -> (what it counts as, kind)
    ((400, ["invalid_request_error"], ANTHROPIC_MONEY), (402, "permission")),
    (
        (400, [], "You have reached your specified API usage limits. You will regain access on 2026-12-01."),
        (402, "permission"),
    ),
    ((402, ["billing_error"], "Your account has a billing issue."), (402, "permission")),
    ((400, ["invalid_request_error"], "This organization has been disabled."), (403, "permission")),
    ((400, ["billing_hard_limit_reached"], "Billing hard limit has been reached"), (402, "permission")),
    ((400, [], "Billing hard limit has been reached"), (402, "permission")),
    ((429, ["billing_not_active"], "Your account is not active."), (402, "permission")),
    ((429, ["insufficient_quota"], "You exceeded your current quota."), (429, "rate_limit")),
    ((401, ["account_deactivated"], "The OpenAI account has been deactivated."), (403, "permission")),
    ((400, ["model_not_found"], "The requested model 'gpt-9' does not exist."), (404, "not_found")),
    ((400, [], "invalid model ID"), (404, "not_found")),
    ((400, [], "The model `gpt-4-32k` has been deprecated, learn more here."), (404, "not_found")),
    ((400, ["BadRequest"], "API version not supported"), (404, "not_found")),
    (
        (400, ["BadRequest"], "Model o1 is enabled only for api versions 2024-12-01-preview and later"),
        (404, "not_found"),
    ),
    ((400, ["OperationNotSupported"], "The chatCompletion operation does not work."), (404, "not_found")),
    ((400, ["unknown_model"], "Unknown model: gpt-9"), (404, "not_found")),
    ((404, ["DeploymentNotFound"], "The API deployment for this resource does not exist."), (404, "not_found")),
    ((400, ["API_KEY_INVALID"], "API key not valid. Please pass a valid API key."), (401, "authentication")),
    ((400, ["INVALID_ARGUMENT"], "API key expired. Please renew the API key."), (401, "authentication")),
    ((400, ["FAILED_PRECONDITION"], "User location is not supported for the API use."), (403, "permission")),
    (
        (
            400,
            ["FAILED_PRECONDITION"],
            "Project `1` is not allowed to use Publisher Model `projects/p/locations/l/publishers/anthropic/models/m`",
        ),
        (403, "permission"),
    ),
    (
        (400, ["FAILED_PRECONDITION"], "The publisher model `claude` is not servable in region us-east5."),
        (404, "not_found"),
    ),
    ((403, ["PERMISSION_DENIED", "BILLING_DISABLED"], "This API method requires billing."), (402, "permission")),
    ((400, ["390142"], 'unknown model "llama9"'), (404, "not_found")),
    ((400, [], "model claude-9 is unavailable in your region"), (404, "not_found")),
    ((402, [], "budget exceeded"), (402, "permission")),
    ((403, ["PERMISSION_DENIED"], "Permission denied on resource project p."), (403, "permission")),
    ((503, ["UNAVAILABLE"], "The model is overloaded."), (503, "server")),
]
HARMLESS = [  # 400s of the caller's own doing, which repeat texts of the caller's
    "messages.0.content: Your credit balance is too low to access the Anthropic API",
    "Invalid value: 'This organization has been disabled.'. Supported values are: 'auto', 'none'.",
    'Unknown parameter: "billing_hard_limit_reached"',
    "Invalid value at 'contents[0].role': User location is not supported for the API use.",
    "The model `gpt-4o` does not support image inputs",
    "Model gpt-4o does not support this: unknown model",
    "tools.0.name: unknown model",
    "Unsupported value: 'API version not supported'",
]


class TestBlame:
    @pytest.mark.parametrize(("said", "meant"), FROM_THE_FIELD, ids=lambda value: str(value)[:60])
    def test_words_come_before_the_status(self, said: tuple[int, list[str], str], meant: tuple[int, str]) -> None:
        """What only an operator can mend counts as that, whatever status and class it came with."""
        status, codes, message = said
        for name, of_library in (("BadRequestError", 400), ("InternalServerError", 500)):
            error = told(litellms(name, of_library), status, *codes, message=message)
            assert (cause_of(error).status, kind_of(error)) == meant

    @pytest.mark.parametrize("message", HARMLESS)
    def test_text_of_the_caller_s_cools_nobody(self, message: str) -> None:
        """A provider repeats it somewhere behind words of its own."""
        error = told(litellms("BadRequestError", 400, message), 400, "invalid_request_error", message=message)
        assert cause_of(error).is_the_callers
        assert kind_of(error) == "invalid_request"

    def test_status_is_the_response_s(self) -> None:
        """Not what a library made of it, whoever's class it is."""
        assert cause_of(told(litellms("RateLimitError", 429), 400)).status == 400
        assert cause_of(told(core.ModelInvalidRequestError("no"), 400)).is_the_callers
        assert cause_of(told(ValueError("unreadable"), 503), answered=False).status == 503

    def test_nothing_said_changes_nothing(self) -> None:
        """Then it is read by class and status."""
        error = litellms("RateLimitError", 429)
        blame(error, None)
        assert cause_of(error).status == 429


class TestUnsendable:
    @pytest.mark.parametrize(
        ("error", "is_unsendable_"),
        [
            (behind(litellms("APIConnectionError", 500), KeyError("type")), True),
            (litellms("InternalServerError", 500), True),
            (ConnectionError("the picture cannot be had"), True),
            (litellms("BadRequestError", 400), False),
            (litellms("Timeout", 408), False),
            (behind(litellms("APIConnectionError", 500), httpx.ReadTimeout("")), False),
            (behind(litellms("APIConnectionError", 500), of_google_auth("RefreshError")), False),
            (behind(litellms("APIConnectionError", 500), of_google_auth("TransportError")), False),
            (of_google_auth("DefaultCredentialsError"), False),
            (TimeoutError(), False),
            (ValueError("the caller's own"), False),
        ],
    )
    def test_library_that_fails_before_anything_is_sent_could_not_write_it(
        self, error: Exception, *, is_unsendable_: bool
    ) -> None:
        """No timeout, no refused token and no error of the caller's own is one."""
        assert is_unsendable(error) is is_unsendable_

    def test_root_is_what_began_it(self) -> None:
        """It says the most."""
        root = KeyError("type")
        assert root_of(behind(litellms("APIConnectionError", 500), behind(ValueError(), root))) is root


@pytest.mark.parametrize(("cause", "kind", "status"), LOST)
@pytest.mark.parametrize("name", ["TransportError", "RefreshError"])
def test_who_gives_tokens_and_is_not_reached_is_no_wrong_key(
    cause: Exception, kind: str, status: int, name: str
) -> None:
    """In google-auth's own words, and in litellm's; a refusal of the key has nothing behind it."""
    if (name, kind) == ("RefreshError", "server"):  # for what Google answered
        kind, status = "authentication", 401
    for error in (
        behind(of_google_auth(name), cause),
        behind(litellms("APIConnectionError", 500), behind(of_google_auth(name), cause)),
        behind(litellms("InternalServerError", 500), behind(of_google_auth(name), cause)),
    ):
        assert (kind_of(error), cause_of(error).status) == (kind, status)
