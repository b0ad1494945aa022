"""LangChain's own standard tests, which every integration has to pass, over stand-ins of two dialects and plain.

They fetch an image, a PDF and a sound from the internet; here these come from memory, so nothing is skipped for it.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from liverouter.chat.model import LiveChatModel
from liverouter.testing import Reply, StandIn, ToolCall
from liverouter.testing.dialects import wire_anthropic
from liverouter.testing.standin.answers import default_reply
from tests.kit.standins import fallback, live

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.testing import Ask, MemoryRouter

pytestmark = [
    pytest.mark.filterwarnings("ignore:OpenAI may require a filename"),  # the tests' PDFs have none
    pytest.mark.filterwarnings("ignore:LANGCHAIN_TESTS_USER_AGENT"),  # nothing is fetched
    pytest.mark.filterwarnings("ignore:Unrecognized structured output method 'json_mode'"),  # of ChatAnthropic
]


def _png() -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0\0")) + part(b"IEND", b"")


_MEDIA: Final = {
    "png": _png(),
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    "wav": b"RIFF" + struct.pack("<I", 38) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    + b"data" + struct.pack("<I", 2) + b"\x80\x80",
}  # fmt: skip


def _answer(ask: Ask) -> Reply:
    """Answer as a model would to the few prompts of the standard tests that need understanding."""
    if "'setup' and 'punchline'" in ask.user_text:
        return Reply(text=json.dumps({"setup": "Why do cats purr?", "punchline": "They cannot whistle."}))
    if not ask.tool_results and "weather in San Francisco" in ask.user_text and ask.tools:
        return Reply(tool_calls=(ToolCall("get_weather", {"location": "San Francisco, CA"}),))
    if ask.tools and (named := re.search("customer named '(.+?)'", ask.user_text)):
        return Reply(
            tool_calls=(ToolCall("unicode_customer", {"customer_name": named[1], "description": "a company"}),)
        )
    return default_reply(ask)


class _Over:
    """What the standard tests want to know of the handle; each subclass says over what it stands."""

    provider: str
    model_override_value: str  # the fallback's: a call may name any configured deployment
    supports_model_override = True
    litellm_enable = True
    client: MemoryRouter

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _serve(cls) -> Iterator[None]:
        with (
            pytest.MonkeyPatch.context() as patch,
            StandIn(cls.provider, answer=_answer) as standin,
            StandIn(cls.provider, answer=_answer) as other,
            live(
                standin,
                litellm_enable=cls.litellm_enable,
                llm_fallback_config=fallback(other, cls.model_override_value),
            ) as cls.client,
        ):
            patch.setattr(
                wire_anthropic, "SIGNATURE", ""
            )  # the tests bring a real one, which Anthropic alone can check
            patch.setattr(httpx, "get", lambda url, **_: httpx.Response(200, content=_MEDIA[url.rpartition(".")[2]]))
            yield
            assert standin.violations == ()

    @property
    def chat_model_class(self) -> type[LiveChatModel]:
        return LiveChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"source": self.client}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"LC_OUTPUT_VERSION": "v1"}, self.chat_model_params, {"output_version": "v1"}

    supports_image_inputs = True
    supports_image_urls = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_pdf_tool_message = True
    supports_anthropic_inputs = True
    supports_json_mode = True
    enable_vcr_tests = False  # they measure recorded answers of a real provider


class _OverOpenAI(_Over):
    provider = "openai"
    model_override_value = "gpt-4.1"
    supports_audio_inputs = True
    supports_image_tool_message = False  # its chat API takes text in tool messages only
    supports_pdf_tool_message = False


class _OverAnthropic(_Over):
    provider = "anthropic"
    model_override_value = "claude-haiku-4-5"
    supports_audio_inputs = False  # Claude takes none


class TestUnitOverOpenAI(_OverOpenAI, ChatModelUnitTests):
    """Construction, binding, profile, over OpenAI's dialect."""


class TestUnitPlainAnthropic(_OverAnthropic, ChatModelUnitTests):
    """The same over Anthropic's, with litellm off."""

    litellm_enable = False


class TestOverOpenAI(_OverOpenAI, ChatModelIntegrationTests):
    """Calls, streams, tools, structured output, media, over OpenAI's dialect."""


class TestOverAnthropic(_OverAnthropic, ChatModelIntegrationTests):
    """The same over Anthropic's."""


class TestPlainAnthropic(_OverAnthropic, ChatModelIntegrationTests):
    """The same with litellm off: of a class of LangChain's, which passes them by itself."""

    litellm_enable = False
