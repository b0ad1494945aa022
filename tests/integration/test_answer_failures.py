"""Why a call failed stands in its error, whoever was asked; an answer that failed is none, whatever it says."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import operator
import re
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from langchain_core.exceptions import ModelAPIError, ModelConnectionError

from liverouter.errors import CallError
from liverouter.routing.unreached import Lost, lost_by
from liverouter.testing import Failure, StandIn
from tests.kit.dialects import DIALECTS
from tests.kit.hostile import EVENTS, OK, answers, attacked
from tests.kit.standins import live, served
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS, WEATHER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from liverouter.chat.model import LiveChatModel
    from tests.kit.hostile import Script

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]
ENGINES: Final = ("litellm", "native")
USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def error_of(model: Any, *, stream: bool) -> CallError:
    """Return what a call raises."""
    with pytest.raises(CallError) as caught:
        list(model.stream("one two three")) if stream else model.invoke("one two three")
    return caught.value


@pytest.fixture(scope="module")
def strange_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server on 127.0.0.1 whose certificate nobody has signed."""
    path = _certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def _certificate(folder: Path) -> Path:
    """Return a file with a key and a certificate that it signed itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(*form) + signed.public_bytes(serialization.Encoding.PEM))
    return path


LIBRARIES: Final = {"anthropic", "openai", "vertex-ai", "vertex-ai claude"}  # dialects whose HTTP clients differ


class TestUnreached:
    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("name", DIALECTS)
    def test_error_says_what_became_of_the_connection(self, name: str, engine: str, strange_tls: int) -> None:
        """One type and one sentence for each cause, with host and port, from every provider in both engines."""
        dialect = DIALECTS[name]
        rows: dict[str, Any] = {"litellm_enable": engine == "litellm", "litellm_num_retries": 1}
        with StandIn(dialect.provider) as standin, live(standin, model=dialect.model, **rows) as client:
            model = client.chat_model()
            model.invoke("hi")  # Google's token is had
            place = re.escape(urlsplit(standin.base_url).netloc)
            reset = f"cannot be reached: connection reset by {place} before an answer \\["
            broken = f"broke off: connection (reset|closed) by {place} in the middle of the answer "
            for failure, stream, after, said in (
                (Failure.REFUSED, False, 0, f"cannot be reached: connection refused by {place} \\["),
                (Failure.RESET, engine == "native", 0, reset),
                (Failure.RESET, True, 1, broken),
            ):
                standin.fail(failure, after_chunks=after)
                error = error_of(model, stream=stream)
                assert isinstance(error, ModelConnectionError)
                assert error.code == "LR310"
                assert error.is_retryable
                assert re.search(said, str(error)), str(error)
            if name not in LIBRARIES:
                return
            standin.heal()
            path = urlsplit(standin.api_base).path
            elsewhere: dict[str, Any] = {dialect.base: f"https://127.0.0.1:{strange_tls}{path}"}
            client.set(**elsewhere)
            error = error_of(client.chat_model(), stream=True)
            assert f"TLS with 127.0.0.1:{strange_tls} failed: self-signed certificate" in str(error)

    def test_connection_that_is_not_made_is_a_timeout(self) -> None:
        """Nobody refuses and nobody answers: the error says whether it was the connection that did not come."""
        assert lost_by(httpx.ConnectTimeout(""), "http://127.0.0.1:9/v1") == Lost(
            "no connection to 127.0.0.1:9", is_timeout=True
        )
        assert lost_by(httpx.ReadTimeout(""), "http://127.0.0.1:9/v1") == Lost("", is_timeout=True)

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (socket.gaierror(-2, "Name or service not known"), "the name api.example cannot be resolved: Name or"),
            (OSError(101, "Network is unreachable"), "no way to api.example:443: network is unreachable"),
            (BrokenPipeError(), "connection reset by api.example:443 before an answer"),
            (ValueError("what"), "connection to api.example:443 lost before an answer: ValueError: what"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_cause_is_found_behind_what_libraries_raise(self, error: Exception, said: str) -> None:
        """However deep it is wrapped, and also in a group: two addresses were tried."""
        wrapped = OSError("All connection attempts failed")
        wrapped.__cause__ = ExceptionGroup("two addresses", [error, error])
        assert lost_by(wrapped, "https://api.example/v1?key=x").text.startswith(said)

    def test_proxy_is_named_as_such(self) -> None:
        """Whoever reads it looks at the proxy, and not at the provider."""
        lost = lost_by(ConnectionRefusedError(111, "no"), "https://api.example/v1", by_proxy=True)
        assert lost.text == "connection refused by the proxy before api.example:443"


def openai_answer(
    finish: str, *, calls: str | None = None, tool: str = "get_weather", **beside: Any
) -> tuple[bytes, bytes]:
    """Return an answer that has begun to say something, whole and as a stream; *calls*: arguments of *tool*."""
    shared: dict[str, Any] = {"id": "x", "created": 1, "model": "m"}
    call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": calls}}
    message: dict[str, Any] = {"role": "assistant", "content": "so far"}
    deltas: list[dict[str, Any]] = [message]
    if calls is not None:
        deltas = [message, {"tool_calls": [{"index": 0, **call}]}]
        message = message | {"tool_calls": [call]}
    whole: dict[str, Any] = {
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": USAGE,
        **beside,
    }
    pieces: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "finish_reason": None, "delta": delta}]} for delta in deltas
    ]
    pieces.append({"choices": [{"index": 0, "finish_reason": finish, "delta": {}}], **beside})
    return json.dumps(shared | {"object": "chat.completion"} | whole).encode(), _events(
        *(shared | {"object": "chat.completion.chunk"} | piece for piece in pieces), end="data: [DONE]\n\n"
    )


def gemini_answer(finish: str) -> tuple[bytes, bytes]:
    """Return an answer of Gemini's that has begun to say something, whole and as a stream."""
    content = {"role": "model", "parts": [{"text": "so far"}]}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    begun = {"candidates": [{"index": 0, "content": content}]}
    ended = {"candidates": [{"index": 0, "finishReason": finish}], "usageMetadata": usage}
    whole = {"candidates": [{"index": 0, "finishReason": finish, "content": content}], "usageMetadata": usage}
    return json.dumps(whole).encode(), _events(begun, ended)


def _events(*documents: Any, end: str = "") -> bytes:
    return ("".join(f"data: {json.dumps(document)}\n\n" for document in documents) + end).encode()


FAILED: Final = {
    "finish reason error": openai_answer("error"),
    "an error beside the answer": openai_answer("stop", error={"message": "upstream is gone", "code": 502}),
    "half of the arguments": openai_answer("tool_calls", calls='{"city": "Pa'),
    "a list for arguments": openai_answer("tool_calls", calls='["Paris"]'),
    "no name of a tool": openai_answer("tool_calls", calls="{}", tool=""),
}
GEMINI: Final = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE")


def failed(model: Any, *, stream: bool) -> tuple[str, Exception | None]:
    """Return what a call says, and what it raises."""
    said: list[str] = []
    try:
        for message in model.stream("hi") if stream else [model.invoke("hi")]:
            said.append(message.text)  # noqa: PERF401 - kept although the stream may raise
    except ModelAPIError as exc:
        return "".join(said), exc
    except ModelConnectionError as exc:  # as a library has it whose stream ends in an error
        return "".join(said), exc
    return "".join(said), None


def scripts(answer: tuple[bytes, bytes]) -> tuple[tuple[bool, Script], ...]:
    """Return what a hostile provider does for *answer*, whole and as a stream."""
    return (False, answers(OK, answer[0])), (True, answers(EVENTS, answer[1]))


@pytest.mark.parametrize("engine", ENGINES)
class TestFailedAnswer:
    @pytest.mark.parametrize("dialect", ["openai", "azure-openai", "snowflake"])
    def test_answer_that_failed_is_an_error_whatever_it_said(self, dialect: str, engine: str) -> None:
        """Text does not make an answer of it: the reader of a stream gets the text, and then the error."""
        with attacked(dialect, engine) as (server, client):
            model = client.chat_model().bind_tools([WEATHER])
            for name, answer in FAILED.items():
                for stream, script in scripts(answer):
                    server.does(script)
                    said, error = failed(model, stream=stream)
                    assert error is not None, name
                    assert said == ("so far" if stream else ""), name

    def test_gemini_s_own_reasons_are_errors(self, engine: str) -> None:
        """They are read on the way in, for litellm calls them "stop"."""
        with attacked("vertex-ai", engine) as (server, client):
            for finish in GEMINI:
                for stream, script in scripts(gemini_answer(finish)):
                    server.does(script)
                    said, error = failed(client.chat_model(), stream=stream)
                    assert error is not None, finish
                    assert finish in str(error)
                    assert said == ("so far" if stream else "")

    def test_arguments_that_had_no_room_are_the_caller_s(self, engine: str) -> None:
        """An answer that ended at the token limit says so, and is an answer."""
        with attacked("openai", engine) as (server, client):
            model = client.chat_model().bind_tools([WEATHER])
            for stream, script in scripts(openai_answer("length", calls='{"city": "Pa')):
                server.does(script)
                assert failed(model, stream=stream) == ("so far", None)

    def test_failed_answer_is_answered_by_the_fallback(self, engine: str) -> None:
        """A whole answer has said nothing to anybody yet."""
        with StandIn("anthropic") as other:
            rows: dict[str, Any] = {
                "llm_fallback_config": {"provider": "anthropic", "model": "claude-sonnet-4-6", **other.rows()}
            }
            with attacked("openai", engine, secrets=other.secrets(), **rows) as (server, client):
                model: LiveChatModel = client.chat_model()
                for answer in FAILED.values():
                    server.does(answers(OK, answer[0]))
                    message = model.bind_tools([WEATHER]).invoke("hi")
                    assert served(message)["role"] == "fallback"


def told_by_pieces(dialect: str) -> bytes:
    """Return a stream of *dialect*, each piece of which says how many tokens there are so far: 10 and 9 in the end."""
    ends = ((1, None), (4, None), (9, "stop"), (9, "stop"))
    if dialect == "vertex-ai":
        content = {"role": "model", "parts": [{"text": "a"}]}
        return _events(
            *(
                {
                    "candidates": [{"index": 0, "content": content, "finishReason": end and end.upper()}],
                    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": n, "totalTokenCount": 10 + n},
                }
                for n, end in ends[:3]
            )
        )
    shared = {"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    pieces = (
        {
            "choices": [{"index": 0, "finish_reason": end, "delta": {"content": "a"}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n},
        }
        for n, end in ends
    )
    return _events(*(shared | piece for piece in pieces), end="data: [DONE]\n\n")


_NAME: Final = {"name": "get_weather"}
_ARGUMENTS: Final = ({"arguments": '{"city": '}, {"arguments": '"Paris"}'})
_WHOLE: Final = {**_NAME, "arguments": '{"city": "Paris"}'}
# The pieces in which servers write a call of a tool: id, if any, and what they say of the function.
ORDERS: Final[dict[str, tuple[tuple[str | None, dict[str, str]], ...]]] = {
    "all at once": (("call_1", _WHOLE),),
    "id and name first": (("call_1", _NAME), *((None, part) for part in _ARGUMENTS)),
    "no id": ((None, _NAME), *((None, part) for part in _ARGUMENTS)),
    "id first": (("call_1", {}), (None, _NAME), *((None, part) for part in _ARGUMENTS)),
    "id first and again": (("call_1", {}), (None, _NAME), *(("call_1", part) for part in _ARGUMENTS)),
    "name first": ((None, _NAME), *(("call_1", part) for part in _ARGUMENTS)),
    "name first, id last": ((None, _NAME), *((None, part) for part in _ARGUMENTS), ("call_1", {})),
    "id everywhere": (("call_1", _NAME), *(("call_1", part) for part in _ARGUMENTS)),
    "two without ids at one place": ((None, _WHOLE), (None, _WHOLE)),
    "two at one place": (("call_1", _WHOLE), ("call_2", _WHOLE)),
    "two at one place, id everywhere": tuple(
        (f"call_{number}", part) for number in (1, 2) for part in (_NAME, *_ARGUMENTS)
    ),
}


def called_by_pieces(*pieces: tuple[str | None, dict[str, str]]) -> bytes:
    """Return a stream that calls a tool in *pieces*, each with an id, if any, and what it says of the function."""
    shared = {"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    calls = ({"index": 0, "id": identifier, "type": "function", "function": said} for identifier, said in pieces)
    deltas = [*({"tool_calls": [call]} for call in calls), {}]
    choices = (
        {"index": 0, "finish_reason": None if delta else "tool_calls", "delta": {"role": "assistant", **delta}}
        for delta in deltas
    )
    return _events(*(shared | {"choices": [choice]} for choice in choices), end="data: [DONE]\n\n")


@pytest.mark.parametrize("engine", ENGINES)
class TestOddAnswer:
    """What servers write otherwise than the API's own maker does, and is an answer all the same."""

    def test_call_of_a_tool_without_arguments_or_id_is_a_call(self, engine: str) -> None:
        """As servers of OpenAI's API make it: the arguments are none, and the result can name it."""
        with attacked("openai", engine) as (server, client):
            model = client.chat_model().bind_tools([WEATHER])
            whole, stream = (part.replace(b'"id": "call_1", ', b"") for part in openai_answer("tool_calls", calls=""))
            server.does(answers(OK, whole))
            found = [model.invoke("hi")]
            server.does(answers(EVENTS, stream))
            chunks: Any = list(model.stream("hi"))
            found.append(functools.reduce(operator.add, chunks))
            for message in found:
                (call,) = message.tool_calls
                assert (call["name"], call["args"], message.invalid_tool_calls) == ("get_weather", {}, [])
                assert call["id"]

    @pytest.mark.parametrize("order", ORDERS)
    def test_call_of_a_tool_in_pieces_is_one_call(self, order: str, engine: str) -> None:
        """Whenever its id and its name come: no piece is taken for another call, and each call has one id."""
        with attacked("openai", engine) as (server, client):
            server.does(answers(EVENTS, called_by_pieces(*ORDERS[order])))
            chunks: Any = list(client.chat_model().bind_tools([WEATHER]).stream("hi"))
            message = functools.reduce(operator.add, chunks)
            expected = 2 if order.startswith("two") else 1
            assert [(call["name"], call["args"]) for call in message.tool_calls] == expected * [
                ("get_weather", {"city": "Paris"})
            ]
            assert len({call["id"] for call in message.tool_calls if call["id"]}) == expected
            assert message.invalid_tool_calls == []

    @pytest.mark.parametrize("dialect", ["openai", "azure-openai"])
    @pytest.mark.parametrize("delta", [{}, {"delta": None}, {"delta": {}}], ids=["missing", "null", "empty"])
    def test_end_without_a_delta_is_an_end(self, delta: dict[str, Any], dialect: str, engine: str) -> None:
        """Azure's asynchronous filter ends a stream so; what it says before the end, of what it has seen, is none."""
        shared = {"id": "", "object": "", "created": 0, "model": ""}
        seen = {"index": 0, "content_filter_results": {}, "content_filter_offsets": {"check_offset": 1}}
        events = (
            {**shared, "choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},
            {**shared, "choices": [{"index": 0, "finish_reason": None, "delta": {"content": "so far"}}]},
            {**shared, "choices": [{**seen, "finish_reason": None, **delta}]},
            {**shared, "choices": [{**seen, "finish_reason": "content_filter", **delta}], "usage": None},
        )
        with attacked(dialect, engine) as (server, client):
            server.does(answers(EVENTS, _events(*events, end="data: [DONE]\n\n")))
            chunks: Any = list(client.chat_model().stream("hi"))
            message = functools.reduce(operator.add, chunks)
            assert (message.content, message.response_metadata["finish_reason"]) == ("so far", "content_filter")

    def test_answer_that_says_nothing_of_tokens_has_no_cost(self, engine: str) -> None:
        """Not a cost of 0."""
        with attacked("openai", engine) as (server, client):
            server.does(answers(OK, openai_answer("stop", usage=None)[0]))
            message = client.chat_model().invoke("hi")
            assert message.usage_metadata is None
            assert served(message)["cost_usd"] is None

    @pytest.mark.parametrize("dialect", ["openai", "vertex-ai"])
    def test_tokens_told_with_every_piece_count_once(self, dialect: str, engine: str) -> None:
        """In the answer, its cost and what is counted; and an end that is told twice is one."""
        with attacked(dialect, engine) as (server, client):
            server.does(answers(EVENTS, told_by_pieces(dialect)))
            chunks: Any = list(client.chat_model().stream("hi"))
            message = functools.reduce(operator.add, chunks)
            assert (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) == (10, 9)
            assert message.response_metadata["finish_reason"] == "stop"
            counted = client.usage.drain()
            assert sum(row["prompt_tokens"] for row in counted) == 10
            assert sum(row["completion_tokens"] for row in counted) == 9
            assert sum(row["cost_usd"] for row in counted) == pytest.approx(served(message)["cost_usd"])
            assert served(message)["cost_usd"] > 0
