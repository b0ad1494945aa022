"""What is shown of errors and texts: attributes without credentials, and keys of every known shape blanked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from liverouter.secrecy.keys import looks_like_key
from liverouter.secrecy.leaving import bare
from liverouter.secrecy.redaction import brief, mask

KEY: Final = "made-up-and-of-no-known-shape"


class AnyResponse:
    """A response of a library that keeps its headers in its own way."""

    def __init__(self, status_code: int, headers: Any, text: str = "", request: Any = None) -> None:
        self.status_code, self.headers, self.text, self.request = status_code, headers, text, request

    def __repr__(self) -> str:
        return f"AnyResponse({self.status_code}, {self.headers!r})"


class ProviderError(Exception):
    """What a library raises, with what it sent or got."""

    def __init__(self, held: Any) -> None:
        super().__init__("refused")
        self.held = held


@dataclass(frozen=True)
class FrozenError(Exception):
    """An error that takes no new attributes."""

    held: Any

    def __str__(self) -> str:
        return "refused"


class ReadOnlyError(ProviderError):
    """An error whose attribute cannot be assigned."""

    @property
    def held(self) -> Any:
        """Return what was held."""
        return self.__dict__["held"]

    @held.setter
    def held(self, value: Any) -> None:
        if "held" in self.__dict__:
            raise AttributeError("held")
        self.__dict__["held"] = value


class Unreadable:
    """An object of a library that cannot be looked at."""

    def __init__(self) -> None:
        self.key = KEY

    @property
    def url(self) -> str:
        """Fail, as httpx does where there is no request."""
        raise RuntimeError("there is none")


HEADERS: Final[tuple[Any, ...]] = (
    {"authorization": KEY, "x-request-id": "r"},
    {b"X-Api-Key": KEY, b"x-request-id": "r"},
    [("Authorization", KEY), ("x-request-id", "r")],
    ((b"cookie", KEY), ["x-request-id", "r"]),
    httpx.Headers({"ocp-apim-subscription-key": KEY, "x-request-id": "r"}),
    {"nested": {"api_key": KEY, "access_token": KEY}, "x-request-id": "r"},
)


class TestErrors:
    @pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: type(headers).__name__)
    @pytest.mark.parametrize("kind", [ProviderError, FrozenError, ReadOnlyError])
    def test_headers_of_any_form_leave_without_credentials(self, kind: Any, headers: Any) -> None:
        """Mapping or pairs, text or bytes: what names a credential goes, and the rest stays."""
        error = bare(kind(headers))
        assert KEY not in repr(vars(error))
        assert "x-request-id" in repr(vars(error))
        assert str(error) == "refused"

    @pytest.mark.parametrize("headers", [*HEADERS, None, 7, "text"], ids=lambda headers: type(headers).__name__)
    @pytest.mark.parametrize("kind", [ProviderError, FrozenError, ReadOnlyError])
    def test_response_with_headers_of_any_form_keeps_its_status(self, kind: Any, headers: Any) -> None:
        """A response whose headers cannot be read is one without, and never the response as it was."""
        sent = AnyResponse(401, headers)
        held = vars(bare(kind(sent)))["held"]
        assert held is not sent
        assert held.status_code == 401
        assert KEY not in repr(held)

    def test_httpx_s_response_without_a_request_is_shown(self) -> None:
        """Its library raises where one asks for the request; that ends nothing."""
        error = bare(ProviderError(httpx.Response(429, headers={"set-cookie": KEY, "retry-after": "3"}, text="slow")))
        assert (error.held.status_code, error.held.text) == (429, "slow")
        assert KEY not in str(error.held.headers)
        assert error.held.headers["retry-after"] == "3"

    @pytest.mark.parametrize("kind", [ProviderError, FrozenError, ReadOnlyError])
    def test_what_cannot_be_read_is_left_out(self, kind: Any) -> None:
        """An object that raises when it is looked at does not leave, and its error does."""
        assert vars(bare(kind(Unreadable())))["held"] is None

    def test_errors_in_lists_and_arguments_leave_as_text(self) -> None:
        """An error that another one holds has frames and attributes as well."""
        inner = ProviderError({"key": Unreadable()})
        outer = ProviderError([inner])
        outer.args = ("refused", inner)
        bare(outer)
        for held in (outer.held[0], outer.args[1]):
            assert (type(held).__name__, str(held), vars(held)) == ("ProviderError", "refused", {})

    @pytest.mark.parametrize("exceptions", [7, "text", ["text"], [ProviderError({"api_key": KEY})]], ids=repr)
    def test_attribute_named_as_that_of_a_group_is_an_attribute(self, exceptions: Any) -> None:
        """An error that is no group may call anything so."""
        error: Any = ProviderError(None)
        error.exceptions = exceptions
        bare(error)
        kept = error.exceptions if isinstance(error.exceptions, list) else [error.exceptions]
        assert KEY not in repr([getattr(held, "__dict__", held) for held in kept])

    def test_errors_of_a_group_leave_without_credentials(self) -> None:
        """Each is stripped as if it had come alone, and stays in its group."""
        inner = ProviderError({"api_key": KEY, "status": 401})
        group = bare(ExceptionGroup("several", [inner]))
        assert group.exceptions == (inner,)
        assert inner.held == {"status": 401}


SHAPES: Final = (
    "sk-abcdefgh1234",
    "ghp_abcdefghijklmnop1234",
    "github_pat_abcdefghijklmnop1234",
    "hf_abcdefghijklmnopqrst",
    "pat/abcdefghijklmnop.qrst",
    "dapi" + "0a" * 16,
    "AIza" + "Sy0-_" * 7,
    "ya29.a0AfH6SMBx-token_of",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "Bearer abcdefgh.1234~",
    "Basic dXNlcjpwYXNzd29yZA==",
)


class TestTexts:
    @pytest.mark.parametrize(
        ("error", "line"), [(TimeoutError(), "TimeoutError"), (OSError("it is full"), "OSError: it is full")]
    )
    def test_error_without_words_is_its_class(self, error: Exception, line: str) -> None:
        """No colon stands before nothing."""
        assert brief(error) == line

    @pytest.mark.parametrize("key", SHAPES)
    @pytest.mark.parametrize("around", ["{}", "key {} was refused", '{{"key": "{}"}}', "a={},b={}", "({})"])
    def test_what_a_row_may_not_hold_is_not_shown_either(self, key: str, around: str) -> None:
        """Each shape that the rule on plain secrets knows is blanked in a text, whole."""
        assert looks_like_key(key)
        shown = mask(around.replace("{}", key).replace("{{", "{").replace("}}", "}"))
        assert key[-6:] not in shown
        assert not looks_like_key(shown)
        assert "***" in shown

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("redis://:pass-word@cache/0", "redis://:***@cache/0"),
            ("https://u:pass-word@h/", "https://u:***@h/"),
            ("GET https://h/v1?key=pass-word&alt=sse", "GET https://h/v1?key=***&alt=sse"),
            ("https://h/?a=b&X-Amz-Signature=pass-word", "https://h/?a=b&X-Amz-Signature=***"),
            ('{"private_key": "pass\nword", "id": 1}', '{"private_key": "***", "id": 1}'),
            (
                '{"private_key": "-----BEGIN PRIVATE KEY-----\npass\n-----END PRIVATE KEY-----"}',
                '{"private_key": "***"}',
            ),
        ],
    )
    def test_credential_by_its_place_is_not_shown(self, text: str, shown: str) -> None:
        """A password in a URL, a key in a query, a private key in JSON; the rest can be read."""
        assert mask(text) == shown

    @pytest.mark.parametrize(
        "text", ["model claude-sonnet-4-6 at https://h:8443/v1?api-version=2", "a basic error", "pattern ghp_ or AKIA"]
    )
    def test_honest_text_is_left_alone(self, text: str) -> None:
        """What is no key stays as it was written."""
        assert mask(text) == text
