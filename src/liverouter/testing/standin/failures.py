"""Every way a stand-in can fail, by name, and the one fault a script applies to one request."""

from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """What goes wrong. The value is the name `StandIn.fail` takes."""

    # the connection
    REFUSED = "refused"  # nobody listens; the port stays reserved
    BLACKHOLE = "blackhole"  # connecting never completes
    HANG = "hang"  # the request is read, nothing is ever answered
    RESET = "reset"  # RST instead of an answer
    # an HTTP error, in the provider's own words
    BAD_REQUEST = "400"
    CONTEXT_WINDOW = "400-context-window"
    CONTENT_POLICY = "400-content-policy"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    TIMEOUT = "408"
    TOO_LARGE = "413"
    UNPROCESSABLE = "422"
    RATE_LIMIT = "429"
    RATE_LIMIT_RETRY_AFTER = "429-retry-after"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    OVERLOADED = "529"
    # an HTTP error that only an operator can mend, in the provider's own words and by the status that it gives them
    OUT_OF_MONEY = "out-of-money"
    DISABLED = "disabled"  # the account, or its access from here
    UNKNOWN_MODEL = "unknown-model"
    # a 200 that is none
    MALFORMED = "malformed"  # JSON that ends too early
    EMPTY = "empty"  # no byte of body
    HTML = "html"  # a proxy's page
    REFUSAL = "refusal"  # the provider's own refusal or content-filter finish
    # a stream that breaks; without streaming the body is cut at the same place
    ERROR_EVENT = "error-event"  # 200, then an error in the provider's stream format
    EOF = "eof"  # a clean end without the finish marker
    EOF_IN_TOOL = "eof-in-tool"  # a clean end inside a tool call's arguments
    STALL = "stall"  # headers, then nothing more
    PREAMBLE = "preamble"  # the opening events, then a clean end
    SLOW = "slow"  # every chunk late, complete in the end

    @property
    def is_http_error(self) -> bool:
        """Whether the provider answers with an HTTP error status."""
        return self.value[:3].isdigit() or self in _FOR_AN_OPERATOR

    @property
    def status(self) -> int:
        """The HTTP status of an `is_http_error` failure, the usual one of several; 500 for an error event."""
        if self in _FOR_AN_OPERATOR:
            return 400
        return int(self.value[:3]) if self.is_http_error else 500

    @property
    def is_unreachable(self) -> bool:
        """Whether no request gets through at all, so that none can be counted."""
        return self in {Failure.REFUSED, Failure.BLACKHOLE}


_FOR_AN_OPERATOR = frozenset({Failure.OUT_OF_MONEY, Failure.DISABLED, Failure.UNKNOWN_MODEL})

STREAM_FAILURES: tuple[Failure, ...] = (
    Failure.ERROR_EVENT,
    Failure.EOF,
    Failure.EOF_IN_TOOL,
    Failure.STALL,
    Failure.PREAMBLE,
    Failure.SLOW,
)
"""Failures that only a stream can have."""

FAILURES: tuple[Failure, ...] = tuple(kind for kind in Failure if kind not in STREAM_FAILURES)
"""Failures that any call can meet, streamed or not."""

_MID_STREAM = frozenset(
    {
        Failure.HANG,
        Failure.RESET,
        Failure.MALFORMED,
        Failure.REFUSAL,
        Failure.ERROR_EVENT,
        Failure.EOF,
        Failure.EOF_IN_TOOL,
        Failure.STALL,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure as scripted.

    Attributes:
        kind: what goes wrong.
        after_chunks: content chunks of a stream that still arrive; an HTTP error then comes as an error event.
        retry_after_s: seconds, for the Retry-After header.
        chunk_delay_s: seconds before every chunk; SLOW only.
    """

    kind: Failure
    after_chunks: int = 0
    retry_after_s: float | None = None
    chunk_delay_s: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot happen.

        Raises:
            ValueError: `after_chunks` is negative or means nothing for this kind.
        """
        if self.after_chunks < 0:
            raise ValueError(f"after_chunks must be 0 or more, not {self.after_chunks}")
        if self.after_chunks and not (self.kind in _MID_STREAM or self.kind.is_http_error):
            raise ValueError(
                f"failure {self.kind.value!r} cannot happen in the middle of a stream: leave after_chunks out"
            )
