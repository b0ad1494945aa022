"""A failed call is one error: LangChain's type, litellm's class, every deployment named, no secret in it."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from typing import TYPE_CHECKING, Final

import litellm
import pytest
from langchain.agents.middleware._retry import default_retry_on
from langchain_core import exceptions as core

from liverouter.errors import CallError
from liverouter.testing import Failure, StandIn
from tests.kit.dialects import MODELS
from tests.kit.standins import KEY, collect, live

if TYPE_CHECKING:
    from liverouter.chat.model import LiveChatModel

# failure of the provider -> LangChain's type, litellm's class, worth a retry
KINDS: Final = {
    "400": (core.ModelInvalidRequestError, litellm.BadRequestError, False),
    "400-context-window": (core.ContextOverflowError, litellm.BadRequestError, False),
    "400-content-policy": (core.ModelInvalidRequestError, litellm.BadRequestError, False),
    "401": (core.ModelAuthenticationError, litellm.AuthenticationError, False),
    "403": (core.ModelPermissionDeniedError, Exception, False),
    "404": (core.ModelNotFoundError, litellm.NotFoundError, False),
    "413": (core.ModelInvalidRequestError, Exception, False),
    "422": (core.ModelInvalidRequestError, Exception, False),
    "429": (core.ModelRateLimitError, litellm.RateLimitError, True),
    "500": (core.ModelAPIError, Exception, True),
    "503": (core.ModelAPIError, Exception, True),
}


def error_of(model: LiveChatModel, *, stream: bool = False) -> Exception:
    """Return what a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the question
        asyncio.run(collect(model)) if stream else model.invoke("hi")
    return caught.value


class TestType:
    @pytest.mark.parametrize("provider", MODELS)
    def test_error_has_both_types_and_retries_only_what_may_succeed(self, provider: str) -> None:
        """Each failure of each provider is LangChain's type for it, still litellm's class, and rightly retryable.

        Of whole answers and of streams in turn; litellm leaves errors of Gemini's streams as that provider's own class.
        """
        with StandIn(provider) as standin, live(standin, litellm_num_retries=1) as client:
            model = client.chat_model()
            for number, (kind, (langchains, litellms, retryable)) in enumerate(
                KINDS.items(), list(MODELS).index(provider)
            ):
                stream = number % 2 == 1
                standin.fail(kind)
                error = error_of(model, stream=stream)
                assert isinstance(error, langchains), (kind, error)
                if not (stream and provider == "vertex-ai"):
                    assert isinstance(error, litellms), (kind, type(error).__mro__)
                assert default_retry_on(error) is retryable, kind

    @pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # google-genai's
    @pytest.mark.parametrize("provider", ["anthropic", "azure-openai", "openai", "vertex-ai"])
    def test_plain_error_has_langchains_type(self, provider: str) -> None:
        """With litellm off the provider's own errors are typed the same way."""
        with StandIn(provider) as standin, live(standin, litellm_enable=False, litellm_num_retries=0) as client:
            model = client.chat_model()
            for kind, (langchains, _, retryable) in KINDS.items():
                if kind.startswith("400-"):
                    continue
                standin.fail(kind)
                error = error_of(model)
                assert isinstance(error, langchains), (kind, type(error).__mro__)
                assert default_retry_on(error) is retryable, kind

    def test_unreachable_provider_is_a_connection_error(self, openai: StandIn) -> None:
        """Nobody there is worth a retry."""
        with live(openai, litellm_num_retries=1) as client:
            openai.fail(Failure.REFUSED)
            error = error_of(client.chat_model())
        assert isinstance(error, core.ModelConnectionError)
        assert default_retry_on(error)

    def test_slow_provider_is_a_timeout(self, openai: StandIn) -> None:
        """No answer within `litellm_timeout` is a timeout."""
        with live(openai, litellm_timeout=0.3, litellm_num_retries=1) as client:
            openai.fail("hang")
            error = error_of(client.chat_model())
        assert isinstance(error, core.ModelTimeoutError)
        assert "within 0.3 s" in str(error)

    def test_error_survives_a_process_boundary(self, openai: StandIn) -> None:
        """Task queues pickle errors: type, text and status come through."""
        with live(openai) as client:
            openai.fail("429")
            error = error_of(client.chat_model())
        revived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert isinstance(revived, core.ModelRateLimitError)
        assert isinstance(revived, litellm.RateLimitError)
        assert str(revived) == str(error)
        assert revived.status_code == 429


class TestNoFallback:
    def test_providers_own_error_surfaces_every_time(self, openai: StandIn) -> None:
        """Without a fallback the true error comes with every call, and none is masked by a cooldown."""
        with live(openai, litellm_num_retries=1) as client:
            model = client.chat_model()
            for kind in ("401", "429", "503"):
                openai.fail(kind)
                errors = [error_of(model) for _ in range(5)]
                assert {error.status_code for error in errors} == {int(kind)}  # type: ignore[attr-defined]
                assert not any("No deployments available" in str(error) for error in errors)


class TestEveryDeploymentFailed:
    @pytest.mark.parametrize("stream", [False, True])
    def test_one_error_names_both_deployments_and_causes(
        self, anthropic: StandIn, openai: StandIn, *, stream: bool
    ) -> None:
        """Both down: LR302 says what each answered, call after call."""
        anthropic.fail("401")
        openai.fail("503")
        with live(anthropic, openai, litellm_num_retries=1) as client:
            model = client.chat_model()
            for _ in range(4):
                error = error_of(model, stream=stream)
                assert isinstance(error, CallError)
                assert error.code == "LR302"
                assert "anthropic/claude-sonnet-4-6: AuthenticationError 401" in str(error)
                assert "openai/gpt-4o: " in str(error)
                assert "503" in str(error)
                assert isinstance(error, core.ModelAPIError)  # the fallback may come back
                assert default_retry_on(error)
                assert set(error.causes) == {d.id for d in client.generation().snapshot.deployments}  # type: ignore[attr-defined]

    def test_nothing_that_may_pass_is_worth_no_retry(self, anthropic: StandIn, openai: StandIn) -> None:
        """Two wrong keys stay wrong."""
        anthropic.fail("401")
        openai.fail("403")
        with live(anthropic, openai) as client:
            error = error_of(client.chat_model())
        assert isinstance(error, core.ModelAuthenticationError)
        assert not default_retry_on(error)

    def test_full_context_anywhere_is_an_overflow(self, anthropic: StandIn, openai: StandIn) -> None:
        """What the caller can mend wins: agents then shorten the history."""
        anthropic.fail("503")
        openai.fail("400-context-window")
        with live(anthropic, openai) as client:
            error = error_of(client.chat_model())
        assert isinstance(error, core.ContextOverflowError)

    def test_callers_own_mistake_surfaces_as_such(self, anthropic: StandIn, openai: StandIn) -> None:
        """A request that both refuse is the caller's: the primary's own words, no LR302."""
        anthropic.fail("400")
        openai.fail("422")
        with live(anthropic, openai) as client:
            error = error_of(client.chat_model())
        assert not isinstance(error, CallError)
        assert isinstance(error, core.ModelInvalidRequestError)
        assert isinstance(error, litellm.BadRequestError)

    def test_error_survives_a_process_boundary(self, anthropic: StandIn, openai: StandIn) -> None:
        """This one as well."""
        anthropic.fail("500")
        openai.fail("500")
        with live(anthropic, openai) as client:
            error = error_of(client.chat_model())
        revived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert isinstance(revived, CallError)
        assert isinstance(revived, core.ModelAPIError)
        assert revived.code == "LR302"
        assert str(revived) == str(error)


class TestSecrets:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_key_that_a_provider_repeats_is_blanked(self, *, enabled: bool) -> None:
        """Neither the error nor anything in its chain shows the key, even where the provider repeats it."""
        with StandIn("openai", accept_keys=["another"]) as standin, live(standin, litellm_enable=enabled) as client:
            client.set(secrets={"openai_api_key": KEY})
            error = error_of(client.chat_model())
            shown = "".join(traceback.format_exception(error))
        assert "Incorrect API key provided" in shown
        assert KEY not in shown
        assert KEY not in repr(error)

    def test_error_text_is_no_traceback(self) -> None:
        """Where litellm writes a traceback into a message, the caller gets the sentence alone."""
        with StandIn("azure-openai") as standin, live(standin) as client:
            standin.fail("malformed")
            error = error_of(client.chat_model(), stream=True)
        assert "Traceback" not in str(error)
