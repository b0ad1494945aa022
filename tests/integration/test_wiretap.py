"""The watch over everything the suite sends to stand-ins sees what must not be sent."""

from __future__ import annotations

from typing import Final

import httpx

from liverouter.testing import MemoryRouter, StandIn
from tests.kit.standins import fallback, primary
from tests.kit.traffic import WIRETAP

# Of this test alone: a key that any test of the suite gave two providers is no longer the secret of one.
KEYS: Final = {"openai_api_key": "sk-openai-of-the-wiretap", "anthropic_api_key": "sk-ant-of-the-wiretap"}


class TestWiretap:
    def test_strange_parameters_and_foreign_secrets_are_found(self) -> None:
        """An unknown parameter, header or query and another deployment's key are told, each once; the key is not."""
        with StandIn("openai") as openai, StandIn("anthropic") as anthropic:
            rows = primary(openai) | {"llm_fallback_config": fallback(anthropic)}
            with MemoryRouter(rows, secrets=KEYS) as live:
                live.chat_model().invoke("hi")
            assert WIRETAP.take() == []
            seen = WIRETAP.requests
            said = {"model": "gpt-4o", "messages": [{"role": "user", "content": KEYS["anthropic_api_key"]}], "order": 1}
            headers = {"authorization": f"Bearer {KEYS['openai_api_key']}", "x-deployment": "1"}
            httpx.post(f"{openai.api_base}/chat/completions", params={"tag": "a"}, headers=headers, json=said)
        assert WIRETAP.requests == seen + 1
        assert WIRETAP.take() == [
            "openai POST /v1/chat/completions: header x-deployment",
            "openai POST /v1/chat/completions: query tag",
            "openai POST /v1/chat/completions: a secret of anthropic",
            "refused with 400: Unknown parameter: 'order'.",
        ]
