"""What a provider library's exception means to a caller."""

from __future__ import annotations

import httpx
import pytest
from langchain_core import exceptions as core

from liverouter.routing.causes import describe, is_of_a_library, kind_of, status_of


class GoogleError(Exception):
    """An error that calls its status a code."""

    def __init__(self, code: object) -> None:
        super().__init__("said the provider")
        self.code = code


class HTTPStatusError(Exception):
    """What stands behind an error that a provider did send."""


class RefreshError(Exception):
    """Google's error for credentials that it gives no token for."""

    def __init__(self, *, retryable: bool = False) -> None:
        super().__init__("no token")
        self.retryable = retryable


def litellms(name: str, status: int | None = None, text: str = "no") -> Exception:
    """Return an error as litellm raises it, without importing that."""
    error: Exception = type(name, (Exception,), {"__module__": "litellm.exceptions", "status_code": status})(text)
    return error


def behind(error: Exception, cause: Exception) -> Exception:
    """Return *error*, raised from *cause*."""
    error.__cause__ = cause
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
            (behind(litellms("BadRequestError", 422), HTTPStatusError()), "invalid_request"),
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
