"""The words all dialects share: what a request asks for, what is answered, and what a dialect has to know.

A `Provider` knows paths, credentials and error shapes; a `Wire` knows one body format. Neither does any I/O.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from liverouter.testing.standin.failures import Failure

JsonObject: TypeAlias = dict[str, Any]
Finish: TypeAlias = Literal["stop", "stop_sequence", "length", "tool_calls", "refusal"]
ToolChoice: TypeAlias = Literal["auto", "none", "any"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the caller offers; *schema* is the JSON schema of its arguments."""

    name: str
    schema: JsonObject


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call in an answer."""

    name: str
    arguments: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a chat request asks for, in no dialect.

    Attributes:
        model: that the body or the path names.
        user_text: text of the newest user turn; empty where there is none.
        system_text: text of all system messages.
        tool_results: texts of the tool results that end the history; empty where a user turn ends it.
        input_tokens: of history, system text and tools, one for four characters.
        stream: whether the answer is wanted as a stream.
        body: the request's, as it came.
        include_usage: whether a stream ends with the usage.
        tools: that the caller offers.
        tool_choice: what is left to the model.
        tool_name: the one tool that it must call.
        schema: the JSON schema that the text must match; {} for any JSON object.
        n: how many choices are wanted.
        stop: the texts before which the answer ends.
        max_tokens: the most that the answer may have.
        thinking: whether reasoning is shown before the answer.
        searches: whether a search of the provider's own is offered.
        cache_read_tokens: part of input_tokens.
        cache_write_tokens: part of input_tokens.
    """

    model: str
    user_text: str
    system_text: str
    tool_results: tuple[str, ...]
    input_tokens: int
    stream: bool
    body: JsonObject = field(repr=False)
    include_usage: bool = True
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    tool_name: str | None = None
    schema: JsonObject | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    thinking: bool = False
    searches: bool = False
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def must_call_tool(self) -> bool:
        """Whether the caller leaves no choice but a tool call."""
        return bool(self.tools) and (self.tool_name is not None or self.tool_choice == "any")


@dataclass(frozen=True, slots=True)
class Reply:
    """A scripted answer. What is left out is filled in as a provider would.

    Attributes:
        text: of the answer.
        tool_calls: that the answer makes.
        thinking: reasoning shown before the answer.
        finish: why the answer ends; None for what its content implies.
        input_tokens: of the request; None counts them.
        output_tokens: of the answer; None counts them.
        cached_tokens: the part of input_tokens that a prompt cache served; None for what the request's marks imply.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    finish: Finish | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, ready to be written in a dialect.

    Attributes:
        serial: the number of the request, from which ids are made.
        model: that answers.
        texts: one per choice.
        tool_calls: of every choice.
        thinking: of every choice.
        finish: why it ends.
        stop_sequence: the one that ended it.
        input_tokens: those of the caches included.
        output_tokens: of all choices.
        thinking_tokens: part of output_tokens.
        cache_read_tokens: part of input_tokens.
        cache_write_tokens: part of input_tokens.
        include_usage: whether a stream ends with the usage.
        searches: the model has used the provider's own search.
    """

    serial: int
    model: str
    texts: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]
    thinking: str
    finish: Finish
    stop_sequence: str | None
    input_tokens: int
    output_tokens: int
    thinking_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    include_usage: bool
    searches: bool


@dataclass(frozen=True, slots=True)
class Frames:
    """A stream, cut where it can break.

    Attributes:
        opening: everything before content.
        chunks: content, one event or more each.
        closing: finish marker, usage, end.
    """

    opening: bytes
    chunks: tuple[bytes, ...]
    closing: bytes


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Incoming:
    """An HTTP request as it was read; header names are in lower case, the path is unquoted."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


class RejectedError(Exception):
    """The provider would not take this request."""

    def __init__(
        self,
        failure: Failure,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
    ) -> None:
        """Say what is wrong in the provider's words; *param* and *code* where its error shape has them.

        *status*: the HTTP status, None for the failure's own.
        """
        super().__init__(message)
        self.failure = failure
        self.status = failure.status if status is None else status
        self.message = message
        self.param = param
        self.code = code


class Wire(Protocol):
    """One body format: request to `Ask`, `Answer` to bytes.

    Attributes:
        splits_arguments: whether a tool call's arguments are streamed in pieces.
        stream_type: the content type of a stream.
    """

    splits_arguments: bool
    stream_type: str

    def parse(self, body: JsonObject, *, model: str | None, stream: bool | None) -> Ask:
        """Read a request; *model* and *stream* come from the path where the format keeps them there.

        Raises:
            RejectedError: the provider would answer 400.
        """

    def body(self, answer: Answer) -> JsonObject:
        """Write the whole answer."""

    def frames(self, answer: Answer) -> Frames:
        """Write the answer as a stream."""

    def error_frame(self, error: HttpReply) -> bytes:
        """Write *error* as an event inside a stream."""


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """A path that serves answers; *model* and *stream* are None where the body says them."""

    wire: Wire
    model: str | None = None
    stream: bool | None = None


@dataclass(frozen=True, slots=True)
class SideEndpoint:
    """A path that serves something else: a list of models, an access token."""

    kind: Literal["models", "token"]
    serve: Callable[[Incoming], HttpReply]
    needs_key: bool = True


Endpoint: TypeAlias = ChatEndpoint | SideEndpoint


class Provider(Protocol):
    """One provider's HTTP surface.

    Attributes:
        name: as in the setting `llm_provider`.
        api_path: what follows the origin in the base URL that clients are configured with.
    """

    name: str
    api_path: str

    def find(self, request: Incoming) -> Endpoint | None:
        """Return what the path serves, None where the provider has no such path."""

    def credential(self, request: Incoming) -> str | None:
        """Return the credential presented, None where there is none.

        Raises:
            RejectedError: a header that must come with it is missing or wrong.
        """

    def vouches_for(self, credential: str) -> bool:
        """Whether the provider itself issued *credential*; most issue none here."""
        del credential
        return False

    def error(self, rejected: RejectedError, endpoint: Endpoint | None) -> HttpReply:
        """Write an error in the provider's shape."""

    def scripted(self, failure: Failure, endpoint: ChatEndpoint, ask: Ask) -> RejectedError:
        """Return the provider's own wording of an HTTP failure."""
