"""Which of our patches the installed litellm still needs, told as JSON: run as a script, by the test beside it.

Each is asked of litellm as it comes, in a process that has patched nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

warnings.simplefilter("ignore")  # pydantic's on litellm's types
os.environ.update(LITELLM_MODE="PRODUCTION", LITELLM_LOCAL_MODEL_COST_MAP="True")
gc.disable()  # a third of litellm's import, and this process ends soon

import litellm  # noqa: E402 - the switches first
import openai  # noqa: E402
from google.auth.transport import requests  # noqa: E402
from litellm.litellm_core_utils.secret_redaction import redact_string  # noqa: E402
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler  # noqa: E402
from litellm.llms.snowflake.chat.transformation import SnowflakeConfig  # noqa: E402
from litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini import ModelResponseIterator  # noqa: E402
from litellm.llms.vertex_ai.vertex_llm_base import VertexBase  # noqa: E402
from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices  # noqa: E402

from liverouter.testing import Failure, Reply, StandIn  # noqa: E402
from tests.kit.linear import assert_linear, texts  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

HI: Final[list[Any]] = [{"role": "user", "content": "hi"}]


def equal_chunks() -> bool:
    """Tell whether a stream of equal chunks is taken for a model that repeats itself."""

    async def count(provider: StandIn) -> int:
        stream = await litellm.acompletion(
            "openai/gpt-4o", HI, api_key="k", api_base=provider.api_base, stream=True, num_retries=0
        )
        return len([chunk async for chunk in stream])

    with StandIn("openai") as provider:
        provider.respond(Reply(text="---- " * 200))
        try:
            return asyncio.run(count(provider)) < 200
        except openai.APIError:
            return True


def gemini_ends() -> bool:
    """Tell whether a chunk says that the answer has ended where Gemini did not say so."""
    chunk = {"candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "index": 0}]}
    logging: Any = litellm.Logging(
        "m", HI, stream=True, call_type="completion", start_time=0, litellm_call_id="", function_id=""
    )
    logging.optional_params = {}
    parsed = ModelResponseIterator(iter(()), sync_stream=True, logging_obj=logging).chunk_parser(chunk)
    return parsed is not None and any(choice.finish_reason for choice in parsed.choices)


def costs() -> bool:
    """Tell whether a stream has a cost before it has begun, for which tokens are counted."""
    logging: Any = litellm.Logging(
        "gpt-4o", HI, stream=True, call_type="acompletion", start_time=0, litellm_call_id="", function_id=""
    )
    logging.update_environment_variables(model="gpt-4o", optional_params={}, litellm_params={})
    stream: Any = litellm.CustomStreamWrapper(None, "gpt-4o", logging, custom_llm_provider="openai")
    return logging.response_cost_calculator(result=stream, litellm_model_name="gpt-4o") is not None


def google_tokens() -> bool:
    """Tell whether a token is asked for by google-auth's own transport, which takes two minutes."""
    asked: list[object] = []

    class Credentials:
        token = "t"

        def refresh(self, request: object) -> None:
            asked.append(request)

    VertexBase().refresh_auth(Credentials())
    return isinstance(asked[0], requests.Request)


def guard_clients() -> bool:
    """Tell whether a client that litellm makes follows redirects."""
    return bool(AsyncHTTPHandler().client.follow_redirects)


def honest_ends() -> bool:
    """Tell whether a stream that was cut off ends with a reason that the provider did not give, or an error."""

    async def reasons(provider: StandIn) -> list[str]:
        stream = await litellm.acompletion(
            "anthropic/claude-sonnet-4-6", HI, api_key="k", api_base=provider.base_url, stream=True, num_retries=0
        )
        found = [choice.finish_reason async for chunk in stream for choice in chunk.choices]
        return [reason for reason in found if reason]

    with StandIn("anthropic") as provider:
        provider.fail(Failure.EOF)
        try:
            return asyncio.run(reasons(provider)) != []
        except openai.APIError:
            return True


def needless_imports() -> bool:
    """Tell whether a call that fails loads FastAPI, or what litellm logs to OpenTelemetry by, where nobody has."""

    async def call(provider: StandIn) -> None:
        with contextlib.suppress(openai.APIError):
            await litellm.acompletion("openai/gpt-4o", HI, api_key="k", api_base=provider.api_base, num_retries=0)

    before = set(sys.modules)
    with StandIn("openai") as provider:
        provider.fail("401")
        asyncio.run(call(provider))
    return not {"fastapi.exceptions", "litellm.integrations.otel.logger"}.isdisjoint(sys.modules.keys() - before)


def needless_tokenizer() -> bool:
    """Tell whether a call of Claude loads the tokenizer, though its answer tells what it took."""
    main: Any = importlib.import_module("litellm.main")
    main._encoding_cache = None  # noqa: SLF001 - as in a new process
    with StandIn("anthropic") as provider:
        asyncio.run(litellm.acompletion("anthropic/claude-sonnet-4-6", HI, api_key="k", api_base=provider.base_url))
    return main._encoding_cache is not None  # noqa: SLF001


def one_pass() -> bool:
    """Tell whether a stream asks the provider's for an iterator more than once."""
    asked: list[object] = []

    class Stream:
        def __aiter__(self) -> Stream:
            asked.append(self)
            return self

        async def __anext__(self) -> ModelResponseStream:
            return ModelResponseStream(choices=[StreamingChoices(delta=Delta(content="a"))])

    async def read() -> None:
        logging: Any = litellm.Logging(
            "gpt-4o", HI, stream=True, call_type="acompletion", start_time=0, litellm_call_id="", function_id=""
        )
        stream: Any = litellm.CustomStreamWrapper(Stream(), "gpt-4o", logging, custom_llm_provider="openai")
        for _ in range(3):
            await anext(stream)

    asyncio.run(read())
    return len(asked) > 1


def shorten_masking() -> bool:
    """Tell whether masking takes the square of a text's length."""
    try:
        assert_linear(redact_string, texts("-eyJaaaaaaaaaa"), floor_s=0.004)
    except AssertionError:
        return True
    return False


def snowflake_stops() -> bool:
    """Tell whether Claude at Snowflake is sent `stop`, which it does not know."""
    body = SnowflakeConfig().transform_request("snowflake/claude-sonnet-4-6", HI, {"stop": ["x"]}, {}, {})
    return "stop" in body


ASKED: Final[tuple[Callable[[], bool], ...]] = (
    needless_imports,  # first: the others load more
    needless_tokenizer,
    equal_chunks,
    gemini_ends,
    google_tokens,
    guard_clients,
    honest_ends,
    one_pass,
    shorten_masking,
    snowflake_stops,
    costs,
)

if __name__ == "__main__":
    json.dump({needs.__name__: needs() for needs in ASKED}, sys.stdout)
