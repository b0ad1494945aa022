"""OpenAI's client made quicker: it sends what the library's own sends, and reads answers as that does."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from openai.resources.chat.completions import AsyncCompletions
from pydantic import BaseModel, SecretStr

from liverouter.providers.openai_client import quick
from liverouter.routing.transport import by_aiohttp
from liverouter.testing import StandIn
from tests.kit.hostile import EVENTS, OK, Hostile, answers
from tests.kit.standins import bodies, live
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]


class Answer(BaseModel):
    """What a call is asked for."""

    total: int


TOOL: Final = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}
PICTURE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TALK: Final[list[BaseMessage]] = [
    SystemMessage("Be short, in JSON."),
    HumanMessage([{"type": "text", "text": "What is it?"}, PICTURE]),
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "call_1"}]),
    ToolMessage("1", tool_call_id="call_1"),
    HumanMessage("And now? \N{SNOWMAN}"),
]
CALLS: Final[dict[str, dict[str, Any]]] = {
    "nothing more": {},
    "parameters": {"temperature": 0.5, "stop": ["END"], "seed": 1, "logit_bias": {"1": 2}, "user": "me", "top_p": 1},
    "tools": {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
    "JSON": {"response_format": {"type": "json_object"}},
    "a class": {"response_format": Answer},
    "headers, members": {
        "extra_headers": {"x-stainless-lang": "fr"},
        "extra_body": {"temperature": 0.1, "store": True},
        "temperature": 0.9,
    },
    "a time": {"timeout": 7.5},
}


def chat(base: str, *, mended: bool, azure: bool = False) -> Any:
    """Return a chat model of *base*; *mended*: over our client, which is what is tested."""
    client = openai.DefaultAsyncHttpxClient(timeout=30)
    given: dict[str, Any] = {
        "max_retries": 0,
        "stream_usage": True,
        "http_async_client": by_aiohttp(client) if mended else client,
    }
    if azure:
        where: dict[str, Any] = {"azure_endpoint": base, "azure_deployment": "gpt-4o", "api_version": "2024-10-21"}
        model: Any = AzureChatOpenAI(model="gpt-4o", api_key=SecretStr("sk-1"), **where, **given)
    else:
        model = ChatOpenAI(model="gpt-4o", base_url=base, api_key=SecretStr("sk-1"), **given)
    if mended:
        quick(model.root_async_client)
    return model


async def _ask(model: Any, messages: Any, *, stream: bool, **params: Any) -> Any:
    """Return the answer, or what the call raises, as a text that says everything of it."""
    try:
        if stream:
            return [_told(chunk) async for chunk in model.astream(messages, **params)]
        return _told(await model.ainvoke(messages, **params))
    except Exception as exc:  # noqa: BLE001 - it is compared
        return type(exc).__name__, str(exc)
    finally:
        await model.root_async_client.close()


def _told(message: Any) -> dict[str, Any]:
    """Return *message* but for its run's id."""
    return {name: value for name, value in message.model_dump().items() if name != "id"}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of LangChain, for what is no OpenAI's answer
class TestSame:
    @pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
    def test_requests(self, *, azure: bool) -> None:
        """Path, query, headers and body: of whole calls and streams, with whatever they are given."""
        for name, params in CALLS.items():
            for stream in (False, True):
                sent = []
                with StandIn("azure-openai" if azure else "openai") as standin:
                    for mended in (False, True):
                        model = chat(standin.base_url if azure else standin.api_base, mended=mended, azure=azure)
                        asyncio.run(_ask(model, TALK, stream=stream, **params))
                        (request,) = standin.requests
                        headers = {n: v for n, v in request.headers.items() if n not in _OF_CONNECTION}
                        sent.append((request.path, request.query, headers, request.body))
                        standin.forget()
                assert sent[1] == sent[0], (name, stream)

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_answers(self, *, stream: bool) -> None:
        """Those of OpenAI, and those of servers that speak its API with other types, members and gaps."""
        with Hostile() as server:
            for name, change in ODD.items():
                body = _CHUNK if stream else _WHOLE
                data = json.dumps(changed(body, change)).encode()
                content = b"data: " + data + b"\n\ndata: [DONE]\n\n" if stream else data
                server.does(answers(EVENTS if stream else OK, content))
                got = [
                    asyncio.run(_ask(chat(f"{server.origin}/v1", mended=mended), "hi", stream=stream))
                    for mended in (False, True)
                ]
                assert got[1] == got[0], name


class Proxy:
    """A stand-in for a function, which it is called like, as those of the package wrapt are."""

    def __init__(self, function: Any, note: Callable[[dict[str, Any]], None]) -> None:
        self._function, self._note = function, note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **params: Any) -> Any:
        """Call the function, and note the parameters."""
        self._note(params)
        return self._function(*args, **params)


def _function_around(function: Any, note: Callable[[dict[str, Any]], None]) -> Any:
    """Return a function in the place of *function*, as Sentry's is."""

    @functools.wraps(function)
    async def around(*args: Any, **params: Any) -> Any:
        note(params)
        return await function(*args, **params)

    return around


@pytest.mark.parametrize("around", [_function_around, Proxy])
@pytest.mark.parametrize(
    ("provider", "engine"),
    [
        ("openai", "native"),
        ("azure-openai", "native"),
        ("openai-compatible", "native"),
        ("snowflake-cortex", "native"),
        ("azure-openai", "litellm"),  # which asks OpenAI by another method
    ],
)
def test_who_wraps_the_library_s_method_sees_the_call(
    provider: str, engine: str, around: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentry and other watchers of a process read its parameters by their names, from whenever they came."""
    seen: list[dict[str, Any]] = []
    with StandIn(provider) as standin, live(standin, litellm_enable=engine == "litellm") as client:
        model = client.chat_model()
        model.invoke("hi")
        monkeypatch.setattr(AsyncCompletions, "create", around(AsyncCompletions.create, seen.append))
        model.invoke("hi", top_p=0.5)
        list(model.stream("hi", top_p=0.5))
        sent = bodies(standin)[1:]
    assert len(seen) == len(sent) == 2
    for params, body in zip(seen, sent, strict=True):
        assert {name: params[name] for name in ("messages", "model", "top_p")} == {
            name: body[name] for name in ("messages", "model", "top_p")
        }
        assert bool(params.get("stream")) == bool(body.get("stream"))


_OF_CONNECTION: Final = ("host", "accept-encoding", "connection", "content-length", "x-stainless-read-timeout")
_WHOLE: Final[dict[str, Any]] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {"index": 0, "finish_reason": "stop", "logprobs": None, "message": {"role": "assistant", "content": "ok"}}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
_CHUNK: Final[dict[str, Any]] = {
    **_WHOLE,
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": "ok"}}],
}
# What is changed of an answer: a path of names and places -> the value, `...` for one that is missing.
_CALL: Final = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
ODD: Final[dict[str, dict[tuple[Any, ...], Any]]] = {
    "nothing odd": {},
    "a call of a tool": {("choices", 0, "part", "tool_calls"): [_CALL]},
    "a call of another kind": {("choices", 0, "part", "tool_calls"): [_CALL | {"type": "other"}]},
    "no kind of a call": {("choices", 0, "part", "tool_calls"): [{n: v for n, v in _CALL.items() if n != "type"}]},
    "no id": {("id",): ...},
    "id null": {("id",): None},
    "created in parts of a second": {("created",): 1.5},
    "another object": {("object",): "text_completion"},
    "no place": {("choices", 0, "index"): ...},
    "another end": {("choices", 0, "finish_reason"): "eos"},
    "no end": {("choices", 0, "finish_reason"): None},
    "reasoning": {("choices", 0, "part", "reasoning_content"): "because"},
    "another role": {("choices", 0, "part", "role"): "model"},
    "parts": {("choices", 0, "part", "content"): [{"type": "text", "text": "ok"}]},
    "half of a character": {("choices", 0, "part", "content"): "\ud83d"},
    "a refusal": {("choices", 0, "part", "refusal"): "no"},
    "no usage": {("usage",): ...},
    "usage null": {("usage",): None},
    "details": {("usage", "prompt_tokens_details"): {"cached_tokens": 1, "more": {"a": [1]}}},
    "usage of parts": {("usage", "total_tokens"): 2.5},
    "a tier": {("service_tier",): "fastest"},
    "more": {("citations",): ["a", {"b": None}], ("choices", 0, "more"): {"c": 1}},
    "choices null": {("choices",): None},
    "no choices": {("choices",): []},
    "a choice that is none": {("choices", 0): "ok"},
}


def changed(body: dict[str, Any], change: dict[tuple[Any, ...], Any]) -> dict[str, Any]:
    """Return *body* with *change*; "part" is the message of a whole answer and the delta of a piece."""
    body = json.loads(json.dumps(body))
    for path, value in change.items():
        place: Any = body
        *way, last = path
        for step in way:
            place = place["message" if "message" in place else "delta"] if step == "part" else place[step]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return body


REQUESTS: Final[dict[str, Callable[[Any], Any]]] = {
    "ready": lambda client: client.build_request(
        "POST", "http://x/v1?a=b%20c", headers=[("A", "1")], content=b"1", timeout=3.0
    ),
    "ready, twice": lambda client: client.build_request(
        "POST", "http://x/v1", headers={"a": "1"}, json={"b": 2}, timeout=3
    ),
    "times": lambda client: client.build_request("GET", "http://x", timeout=type(client.timeout)(1, read=2)),
    "no time": lambda client: client.build_request("GET", "http://x", timeout=None),
    "the client's time": lambda client: client.build_request("GET", "http://x"),
    "agent": lambda client: client.build_request("GET", "http://x", headers={"User-Agent": "me"}, timeout=1.0),
    "query": lambda client: client.build_request("GET", "http://x/?a=1", params={"b": "2"}, timeout=1.0),
    "form": lambda client: client.build_request("POST", "http://x", data={"b": "2"}, timeout=1.0),
    "relative": lambda client: client.build_request("GET", "/y", timeout=1.0),
    "headers twice": lambda client: client.build_request(
        "POST", "http://x", headers=[("A", "1"), ("a", "2"), ("X-Own", "3"), ("Host", "y")], content=b"", timeout=1.0
    ),
    "cookie": lambda client: client.build_request("GET", "http://x", cookies={"a": "1"}, timeout=1.0),
}


@pytest.mark.parametrize("library", [name for name in ("httpx", "httpx2") if find_spec(name)])
@pytest.mark.parametrize("name", REQUESTS)
def test_ready_requests_are_those_of_httpx(name: str, library: str) -> None:
    """What a client of ours makes of the arguments of `build_request` is what httpx's own does, or httpx2's."""
    client_of = importlib.import_module(library).AsyncClient
    given: dict[str, Any] = {"base_url": "http://base/v1", "headers": {"x-own": "1"}, "timeout": 9}
    made = []
    for client in (client_of(**given), by_aiohttp(client_of(**given))):
        request = REQUESTS[name](client)
        headers = {n: v for n, v in request.headers.items() if n not in _OF_CONNECTION[1:3]}
        made.append((request.method, str(request.url), headers, request.content, request.extensions))
    assert made[1] == made[0]
