"""With litellm off, `litellm_num_retries` means the same as with it: tries on the deployment when it answers 5xx."""

from __future__ import annotations

import gc

import pytest

from liverouter.testing import MemoryRouter, StandIn
from tests.kit.dialects import DIALECTS


# google-genai leaves a coroutine of its own unawaited when it raises
@pytest.mark.filterwarnings("ignore:.*ClientResponse.json:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*ClientResponse.json:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")  # google-genai's own, at its import
class TestTries:
    @pytest.mark.parametrize("tries", [0, 1, 2])
    @pytest.mark.parametrize(
        "name", ["anthropic", "openai", "azure-openai", "vertex-ai", "vertex-ai claude", "snowflake"]
    )
    def test_server_error_is_tried_as_often_as_configured(self, name: str, tries: int) -> None:
        """Each package counts in its own way; the setting counts tries, and there is always one."""
        dialect = DIALECTS[name]
        with StandIn(dialect.provider) as standin:
            rows = dialect.rows(standin) | {"litellm_enable": False, "litellm_num_retries": tries}
            rows["llm_model"] = rows["llm_model"].replace("claude-sonnet-4-5", "claude-sonnet-4-6")  # 4.5 is deprecated
            secrets = {dialect.key: dialect.secret_for(standin, "primary")}
            with MemoryRouter(rows, secrets=secrets) as live:
                standin.fail("500")
                with pytest.raises(Exception, match=r"(?i)500|server"):
                    live.chat_model().invoke("hi")
            calls = [r for r in standin.requests if not r.path.endswith("/token")]
        assert len(calls) == max(tries, 1)
        gc.collect()  # what the package left behind is told in this test and in no other
