"""Who is to blame for a failed call: an operator, whatever the status, the provider, or the request.

With both engines, over real HTTP, by whole answers and by streams.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core import exceptions as core
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from liverouter.routing.answer_errors import RefusedError, UnsentError
from liverouter.testing import Failure, StandIn, service_account_json
from tests.kit.dialects import DIALECTS
from tests.kit.hostile import ENGINES, EVENTS, OK, Hostile, answers, attacked
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import Clock, World, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.testing import MemoryRouter

pytestmark = [
    *LITELLM_WARNINGS,
    # google-genai's own: how it makes its HTTP client, and a coroutine that it leaves unawaited when it raises
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
    pytest.mark.filterwarnings("ignore:.*ClientResponse.json:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*ClientResponse.json:RuntimeWarning"),
]

WAYS: Final = [f"{engine} {dialect}" for engine in ENGINES for dialect in DIALECTS]
FOR_AN_OPERATOR: Final = {
    Failure.OUT_OF_MONEY: core.ModelPermissionDeniedError,
    Failure.DISABLED: core.ModelPermissionDeniedError,
    Failure.UNKNOWN_MODEL: core.ModelNotFoundError,
}
MONEY: Final = "Your credit balance is too low to access the Anthropic API."
GOOGLE_MONEY: Final = "This API method requires billing to be enabled."
LOCATION: Final = "User location is not supported for the API use."
SAID: Final[dict[str, tuple[Any, type[Exception]]]] = {  # an error that only an operator can mend, in a 200
    "anthropic": (
        {"type": "error", "error": {"type": "invalid_request_error", "message": MONEY}},
        core.ModelPermissionDeniedError,
    ),
    "openai": (
        {"error": {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"}},
        core.ModelPermissionDeniedError,
    ),
    "azure-openai": (
        {"error": {"code": "BadRequest", "message": "API version not supported"}},
        core.ModelNotFoundError,
    ),
    "vertex-ai": (
        {"error": {"code": 400, "message": LOCATION, "status": "FAILED_PRECONDITION"}},
        core.ModelPermissionDeniedError,
    ),
    "vertex-ai claude": (
        {
            "error": {
                "code": 403,
                "message": GOOGLE_MONEY,
                "status": "PERMISSION_DENIED",
                "details": [{"reason": "BILLING_DISABLED"}],
            }
        },
        core.ModelPermissionDeniedError,
    ),
    "snowflake": (
        {"code": "1", "error_code": "1", "message": 'unknown model "llama9"', "request_id": "r"},
        core.ModelNotFoundError,
    ),
    "snowflake claude": (
        {"code": "1", "error_code": "1", "message": 'unknown model "claude-9"', "request_id": "r"},
        core.ModelNotFoundError,
    ),
}
PICTURE: Final[Any] = [
    HumanMessage([{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "no address"}}])
]
FILM: Final[Any] = [HumanMessage([{"type": "video", "base64": "AAAA", "mime_type": "video/mp4"}])]
SOUND: Final[Any] = [HumanMessage([{"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}])]
NO_PICTURE: Final[Any] = [HumanMessage([{"type": "image_url"}])]
UNWRITABLE: Final[list[tuple[str, str, Any]]] = [  # what a library fails to write for a provider
    ("litellm", "vertex-ai", PICTURE),
    ("litellm", "snowflake claude", PICTURE),
    ("litellm", "openai", FILM),
    ("native", "vertex-ai", PICTURE),
    ("native", "vertex-ai", NO_PICTURE),
    ("native", "openai", FILM),
    ("native", "anthropic", FILM),
    ("native", "anthropic", SOUND),
]
ECHOES: Final = (MONEY, LOCATION, "This organization has been disabled.", "unknown model", "API key not valid")


@pytest.fixture(scope="module", params=WAYS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A primary of each dialect with a fallback, by each engine."""
    engine, _, dialect = request.param.partition(" ")
    with World(
        dialect,
        litellm_enable=ENGINES[engine],
        litellm_num_retries=2,
        litellm_allowed_fails=3,
        litellm_cooldown_time=30,
        litellm_timeout=120,
    ) as made:
        yield made


class Attack:
    """A primary that answers any bytes, a fallback behind it, and the clock of its cooldowns."""

    def __init__(self, dialect: str, server: Hostile, live: MemoryRouter, clock: Clock) -> None:
        self.dialect, self.server, self.live, self.clock = dialect, server, live, clock

    def says(self, document: Any, *, status: int = 200, stream: bool = False) -> None:
        """Have the primary answer *document*, as an event where it is to *stream*; nothing cools any more."""
        content = json.dumps(document).encode()
        head = OK if status == 200 else b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\n" % status
        if stream and status == 200:
            kind = b"event: error\r\n" if "claude" in self.dialect or self.dialect == "anthropic" else b""
            head, content = EVENTS, kind + b"data: " + content + b"\r\n\r\n"
        self.server.does(answers(head, content))
        self.clock.tick(1_000)

    def cooling(self) -> bool:
        """Tell whether the primary cools."""
        return bool(self.live.cooldowns.remaining_s([self.live.generation().snapshot.primary.id]))

    def call(self, method: str, text: str = "hi", **options: Any) -> str:
        """Return who answers: the fallback's role, as a rule."""
        role = ask(self.live.chat_model(), method, text, **options).response_metadata["liverouter"]["role"]
        return str(role)

    def error(self, method: str) -> Exception:
        """Return what the primary's failure is, to a caller who asks for nobody else; nothing cools any more."""
        self.clock.tick(1_000)
        with pytest.raises(core.ModelError) as caught:
            ask(self.live.chat_model(), method, disable_fallbacks=True)
        return caught.value


@pytest.fixture(scope="module", params=WAYS)
def attack(request: pytest.FixtureRequest) -> Iterator[Attack]:
    """The same with a primary that answers what a test says."""
    engine, _, dialect = request.param.partition(" ")
    other = DIALECTS["openai" if "claude" in dialect or dialect == "anthropic" else "anthropic"]
    clock = Clock()
    with StandIn(other.provider) as fallback:
        rows = {
            "llm_fallback_config": other.entry(fallback),
            "litellm_num_retries": 2,
            "litellm_allowed_fails": 3,
            "litellm_timeout": 120,
        }
        secrets = {"spare": other.secret_for(fallback, "fallback")}
        with attacked(dialect, engine, secrets=secrets, clock=clock, **rows) as (server, live):
            yield Attack(dialect, server, live, clock)


class TestOperator:
    @pytest.mark.parametrize(("failure", "kind"), FOR_AN_OPERATOR.items())
    def test_what_only_an_operator_can_mend_cools_at_once(
        self, world: World, failure: Failure, kind: type[core.ModelError]
    ) -> None:
        """Asked once; whatever status the provider gives it, whole, before and after content in turn.

        The error reads not as the caller's mistake, and stays one of the provider's library.
        """
        turn = list(FOR_AN_OPERATOR).index(failure) + list(DIALECTS).index(world.dialect.name)
        if (failure, world.dialect.name) == (Failure.OUT_OF_MONEY, "azure-openai"):
            kind = core.ModelRateLimitError  # 429 insufficient_quota
        world.primary.fail(failure)
        world.clock.tick(1_000)
        first = world.call(("invoke", "stream")[turn % 2])
        assert (first.role, first.primary_hits) == ("fallback", 1)
        assert world.cooling_s() == 30
        method, after_chunks = (("invoke", 0), ("stream", 0), ("stream", 1))[turn % 3]
        world.primary.fail(failure, after_chunks=after_chunks)
        world.clock.tick(1_000)
        before = world.primary.hits
        with pytest.raises(kind) as caught:
            # a reader who has had a part of it is given no other answer
            world.call(method, disable_fallbacks=not after_chunks)
        assert not isinstance(caught.value, core.ModelInvalidRequestError | UnsentError)
        assert (world.primary.hits - before, world.cooling_s()) == (1, 30)
        world.primary.heal()

    def test_pause_that_the_provider_asks_for_is_kept(self, world: World) -> None:
        """By every library alike, up to the configured time."""
        for asked_s, length_s in ((7, 7), (90, 30), (0, 0)):
            world.primary.fail(Failure.RATE_LIMIT_RETRY_AFTER, retry_after_s=asked_s)
            for method in ("invoke", "stream"):
                world.clock.tick(1_000)
                assert world.call(method).role == "fallback"
                assert world.cooling_s() == pytest.approx(length_s)
        world.primary.heal()

    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_error_called_a_success_is_read_by_its_words(self, attack: Attack, method: str) -> None:
        """In a 200, as the body or as the first event of a stream: asked once, cools at once, typed."""
        document, kind = SAID[attack.dialect]
        attack.says(document, stream=method == "stream")
        assert attack.call(method) == "fallback"
        assert len(attack.server.heads) == 1
        assert attack.cooling()
        assert isinstance(attack.error(method), kind)


class TestCaller:
    def test_echo_of_the_caller_s_text_cools_nobody(self, attack: Attack) -> None:
        """A provider repeats in its refusal what it was sent, which may be any provider's words."""
        for words, method in zip(ECHOES, itertools.cycle(("invoke", "stream"))):
            message = f"Invalid value: '{words}'. Supported values are: 'auto', 'none'."
            error = {"message": message, "type": "invalid_request_error", "code": 400, "status": "INVALID_ARGUMENT"}
            attack.says({"error": error, "message": message}, status=400)
            assert attack.call(method, words) == "fallback"
            assert len(attack.server.heads) == 1
            assert not attack.cooling()
        assert isinstance(attack.error(method), core.ModelInvalidRequestError)

    def test_status_is_the_response_s_and_not_the_body_s(self, attack: Attack) -> None:
        """A 400 whose body says 429 asks nobody to wait."""
        method = ("invoke", "stream")[list(DIALECTS).index(attack.dialect) % 2]
        attack.says({"error": {"message": "no", "code": 429}, "message": "no"}, status=400)
        assert attack.call(method) == "fallback"
        assert not attack.cooling()
        assert isinstance(attack.error(method), core.ModelInvalidRequestError)

    @pytest.mark.parametrize(("engine", "dialect", "messages"), UNWRITABLE)
    def test_request_that_a_library_cannot_write_is_its_own_fault(
        self, engine: str, dialect: str, messages: Any
    ) -> None:
        """One typed error that says so, from the first call on; nobody is asked, and nobody cools.

        So it is with an error of the library's own, and with the bare one of Python's that LangChain's classes raise.
        """
        with World(
            dialect,
            litellm_enable=ENGINES[engine],
            litellm_num_retries=2,
            litellm_allowed_fails=1,
            litellm_cooldown_time=30,
        ) as world:
            for method in ("invoke", "stream"):
                with pytest.raises(UnsentError, match=r"nothing was sent: .* \[LR308 at ") as caught:
                    ask(world.model, method, messages, disable_fallbacks=True)
                assert isinstance(caught.value, core.ModelInvalidRequestError)
                assert caught.value.__cause__ is not None
                assert (world.primary.hits, world.cooling_s()) == (0, 0)

    @pytest.mark.parametrize("dialect", ["openai", "anthropic"])
    def test_text_that_is_no_utf8_is_the_request_s_fault(self, dialect: str) -> None:
        """Without litellm as well: messages are mended, and what else a caller gives is told."""
        tool = {
            "type": "function",
            "function": {"name": "f", "description": "\ud83d", "parameters": {"type": "object"}},
        }
        with World(dialect, litellm_enable=False, litellm_allowed_fails=1, litellm_cooldown_time=30) as world:
            for method in ("invoke", "stream"):
                ask(world.model, method, "half of an emoji \ud83d")
                with pytest.raises(UnsentError, match="LR308"):
                    ask(world.model, method, "hi", tools=[tool], disable_fallbacks=True)
            assert (world.primary.hits, world.cooling_s()) == (2, 0)

    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_fallback_may_take_what_cannot_be_written_for_the_primary(self, method: str) -> None:
        """The primary is passed over at once, without a second try."""
        with World("vertex-ai", litellm_num_retries=2, litellm_allowed_fails=1, litellm_cooldown_time=30) as world:
            for _ in range(2):
                told = ask(world.model, method, PICTURE).response_metadata["liverouter"]
                assert (told["role"], told["attempts"]) == ("fallback", 2)
            assert (world.primary.hits, world.cooling_s()) == (0, 0)

    def test_picture_that_native_gemini_cannot_fetch_is_the_request_s_fault(self) -> None:
        """Google's class fetches it itself, and a connection that is refused there is not the provider's."""
        url = "http://127.0.0.1:1/none.png"  # where nobody listens
        picture: Any = [HumanMessage([{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}])]
        with World("vertex-ai", litellm_enable=False, litellm_allowed_fails=1, litellm_cooldown_time=30) as world:
            for method in ("invoke", "stream"):
                with pytest.raises(UnsentError, match="LR308"):
                    ask(world.model, method, picture, disable_fallbacks=True)
            assert (world.primary.hits, world.cooling_s()) == (0, 0)

    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_caller_s_own_error_stays_as_it_is(self, method: str) -> None:
        """What no library raised keeps its class, and cools nobody."""

        class Arguments(BaseModel):
            @classmethod
            def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
                raise ValueError("of the caller")

        with World("openai", litellm_enable=False, litellm_allowed_fails=1, litellm_cooldown_time=30) as world:
            with pytest.raises(ValueError, match="of the caller") as caught:
                ask(world.model, method, tools=[Arguments], disable_fallbacks=True)
            assert type(caught.value) is ValueError
            assert (world.primary.hits, world.cooling_s()) == (0, 0)

    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_prompt_that_gemini_blocks_is_a_refusal(self, method: str) -> None:
        """An answer without candidates that says why is not the provider's failure; one that does not say is.

        So is one that says it of its only candidate, and one that tells no tokens, which litellm stumbles over.
        """
        for engine in ENGINES:
            with attacked("vertex-ai", engine) as (server, live):
                usage = {"promptTokenCount": 3, "totalTokenCount": 3}
                for document, kind in (
                    ({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage}, RefusedError),
                    ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, RefusedError),
                    ({"candidates": [{"index": 0, "finishReason": "RECITATION"}]}, RefusedError),
                    ({"candidates": [], "usageMetadata": usage}, core.ModelAPIError),
                ):
                    content = json.dumps(document).encode()
                    event = b"data: " + content + b"\r\n\r\n"
                    server.does(answers(EVENTS, event) if method == "stream" else answers(OK, content))
                    with pytest.raises(kind):
                        ask(live.chat_model(), method)


class TestProvider:
    def test_failure_on_the_way_goes_on_counting_as_the_provider_s(self, world: World) -> None:
        """A connection that is refused was asked for, though nothing came through."""
        turn = list(DIALECTS).index(world.dialect.name)
        failure = (Failure.REFUSED, Failure.RESET, Failure.SERVER_ERROR)[turn % 3]
        method = ("invoke", "stream")[turn % 2]
        world.primary.fail(failure)
        world.clock.tick(1_000)
        for _ in range(2):  # two tries each, of which the third failure begins a cooldown
            assert world.call(method).role == "fallback"
        assert world.cooling_s() == 30
        world.primary.heal()

    @pytest.mark.parametrize("host", ["nowhere.invalid", "localhost"])
    def test_host_without_name_or_certificate_counts_too(self, host: str) -> None:
        """DNS and TLS fail before a byte of the request is sent, and are the provider's all the same."""
        for engine in ENGINES.values():
            with World("openai", litellm_enable=engine, litellm_allowed_fails=1, litellm_cooldown_time=30) as world:
                port = world.primary.base_url.rpartition(":")[2]
                # the stand-in speaks no TLS
                world.live.set(openai_api_base=f"https://{host}:{port}/v1", secrets={"openai_api_key": "sk-key"})
                for method in ("invoke", "stream"):
                    world.clock.tick(1_000)
                    assert world.call(method).role == "fallback"
                    assert world.cooling_s() == 30

    @pytest.mark.parametrize(
        ("dialect", "engine"), [("vertex-ai", "litellm"), ("vertex-ai", "native"), ("vertex-ai claude", "native")]
    )
    def test_token_that_cannot_be_read_is_the_desk_s_failure(self, dialect: str, engine: str) -> None:
        """Whatever is wrong with it, it may pass, and the caller's code is not to blame."""
        bodies = (
            {"access_token": "t", "expires_in": "soon"},
            {"access_token": "t", "expires_in": [1]},
            {"access_token": "t", "expires_in": 1e300},
            {"access_token": None, "expires_in": 3600},
            {"access_token": {"a": 1}, "expires_in": 3600},
        )
        with attacked(dialect, engine) as (_, live), Hostile() as desk:
            for number, document in enumerate(bodies[::2] if engine == "native" else bodies):
                desk.does(answers(OK, json.dumps(document).encode()))
                live.set(secrets={"vertex_ai_credentials": service_account_json(f"{desk.origin}/{number}")})
                with pytest.raises(core.ModelAPIError) as caught:
                    ask(live.chat_model(), "stream" if number else "invoke")
                assert caught.value.is_retryable
