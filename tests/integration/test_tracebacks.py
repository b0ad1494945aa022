"""What leaves liverouter can be shown with all its locals: no frame, cause or attribute of an error holds a key."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import traceback
import types
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core import exceptions as core
from rich.console import Console
from rich.traceback import Traceback
from structlog.tracebacks import ExceptionDictTransformer

from liverouter import LiveRouter, LiveRouterError
from liverouter.errors import ConfigError
from liverouter.postgres import migrate
from liverouter.postgres.repository import SettingsRepository
from liverouter.secrecy.sealing import Keyring, Secret, generate_key, open as unseal, seal
from liverouter.testing import Failure, StandIn
from tests.kit.dialects import DIALECTS
from tests.kit.hostile import ENGINES
from tests.kit.standins import live as client_of
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import METHODS, PROMPT, World, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [*LITELLM_WARNINGS]

FAILURES: Final[tuple[tuple[Failure, dict[str, Any]], ...]] = (
    (Failure.UNAUTHORIZED, {}),
    (Failure.NOT_FOUND, {}),
    (Failure.RATE_LIMIT_RETRY_AFTER, {}),
    (Failure.SERVER_ERROR, {}),
    (Failure.MALFORMED, {}),
    (Failure.RESET, {}),
    (Failure.EMPTY, {}),
    (Failure.HANG, {}),
    (Failure.ERROR_EVENT, {"after_chunks": 1}),
    (Failure.RESET, {"after_chunks": 1}),
    (Failure.EOF, {"after_chunks": 1}),
    (Failure.REFUSED, {}),
)
# Of dialects that a library of the others speaks: one failure by a status, one by a body, one by an end.
FEW: Final[tuple[tuple[Failure, dict[str, Any]], ...]] = (
    (Failure.UNAUTHORIZED, {}),
    (Failure.MALFORMED, {}),
    (Failure.RESET, {"after_chunks": 1}),
)
WHOLE: Final = ("anthropic", "openai", "vertex-ai")  # dialects that meet every failure
ANY_END: Final = (Failure.EOF, Failure.ERROR_EVENT, Failure.EMPTY, Failure.MALFORMED)  # of a stream, with litellm off
_DEPTH: Final = 6
_LIBRARIES: Final = ("httpx", "httpx2", "aiohttp", "requests")
_PLAIN: Final = (str, bytes, int, float, bool, type(None), type, types.ModuleType, types.FunctionType)


class Hidden(str):
    """A secret that the tests' own frames do not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Hidden()"


def secrets_of(live: Any) -> set[str]:
    """Return what no error may show: each key, what is in it and what Google gave for it."""
    revealed = {s.reveal() for d in live.generation().snapshot.deployments for s in d.secrets.values()}
    return {line for text in revealed for line in text.replace("\\n", "\n").splitlines() if len(line) > 4} | {"ya29."}


def shown(error: BaseException, *, rendered: bool) -> str:
    """Return all that a curious tool can show of *error*: frames, their locals, attributes, causes, to some depth.

    *rendered*: also as a log and a console show it, which takes several times as long.
    """
    found = Curious()
    found.look(error, _DEPTH)
    if not rendered:
        return "\n".join(found.texts)
    frames = ExceptionDictTransformer(show_locals=True, locals_max_length=10_000, locals_max_string=10_000)
    found.texts.append(repr(frames((type(error), error, error.__traceback__))))
    text = io.StringIO()
    trace = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_length=1000, locals_max_string=10_000
    )
    Console(file=text, width=400).print(trace)
    return "\n".join(found.texts) + text.getvalue()


class Curious:
    """Looks into everything that is to be reached."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._seen: dict[int, Any] = {}  # kept alive: an id must not come again

    def look(self, value: Any, depth: int) -> None:
        """Note what *value* shows, and go on into it."""
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        with contextlib.suppress(Exception):  # somebody's repr
            self.texts.append(repr(value))
        if depth > 0 and not isinstance(value, _PLAIN):
            for item in _inside(value):
                self.look(item, depth - 1)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, BaseException):
        return [value.__cause__, value.__context__, value.args, vars(value), *_locals(value)]
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if type(value).__module__.partition(".")[0] in _LIBRARIES:
        return [getattr(value, "__dict__", {}), dict(getattr(value, "headers", None) or {})]
    return []


def _locals(error: BaseException) -> list[Any]:
    """Return the locals of every frame but the tests' own."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    ours = [frame for frame in frames if "/tests/" not in frame.f_code.co_filename]
    return [value for frame in ours for value in frame.f_locals.values()]


def searched(error: BaseException, secrets: set[str], *, rendered: bool = False) -> BaseException:
    """Return *error*, in which none of *secrets* is to be found."""
    text = shown(error, rendered=rendered)
    found = {f"…{text[max(0, text.find(s) - 200) : text.find(s)]}<SECRET>" for s in secrets if s in text}
    assert not found
    return error


def attempt(call: Callable[[], Any]) -> BaseException | None:
    """Return what *call* raises."""
    try:
        call()
    except Exception as exc:  # noqa: BLE001 - which one is another test's question
        return exc
    return None


def failures_of(dialect: str) -> tuple[tuple[Failure, dict[str, Any]], ...]:
    """Return what the provider of *dialect* fails by."""
    return FAILURES if dialect in WHOLE else FEW


@pytest.fixture(scope="module", params=[f"{engine} {dialect}" for engine in ENGINES for dialect in DIALECTS])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each provider alone, by each engine."""
    engine, _, dialect = request.param.partition(" ")
    rows = {"litellm_enable": ENGINES[engine], "litellm_num_retries": 1, "litellm_timeout": 0.5}
    with World(dialect, fallback="", **rows) as made:
        yield made


class TestFailedCalls:
    def test_error_shows_no_key(self, world: World) -> None:
        """Whatever failed, whenever: frames, requests, causes and attributes are free of it.

        A whole call and a stream, from a loop and from a thread in turn; what fails later, by the streams.
        """
        secrets, turn = secrets_of(world.live), list(DIALECTS).index(world.dialect.name)
        for number, (failure, how) in enumerate(failures_of(world.dialect.name), turn):
            method = METHODS[2 + number % 2 if how else number % 4]
            world.primary.fail(failure, **how)
            error = attempt(lambda method=method: ask(world.model, method))  # type: ignore[misc]
            world.primary.heal()
            if error is None:
                assert failure in ANY_END, failure  # some libraries take any end for one
                continue
            searched(error, secrets)
            assert isinstance(error, core.ModelError | LiveRouterError) or how, failure

    def test_batch_and_callbacks_see_the_same(self, world: World) -> None:
        """What a tracer is handed is what the caller gets."""
        from langchain_core.callbacks import BaseCallbackHandler

        heard: list[BaseException] = []

        class Tracer(BaseCallbackHandler):
            def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
                heard.append(error)
                heard.extend(value for value in kwargs.values() if isinstance(value, BaseException))

        world.primary.fail(Failure.UNAUTHORIZED)
        errors = world.model.batch([PROMPT, PROMPT], config={"callbacks": [Tracer()]}, return_exceptions=True)
        world.primary.heal()
        assert len(errors) == len(heard) == 2
        for error in (*errors, *heard):
            assert isinstance(error, BaseException)
            searched(error, secrets_of(world.live))

    @pytest.mark.parametrize("engine", ENGINES)
    def test_causes_keep_class_and_text(self, engine: str) -> None:
        """A developer still reads what the library said, and in which class."""
        with World("openai", fallback="", litellm_enable=ENGINES[engine], litellm_num_retries=1) as world:
            world.primary.fail(Failure.REFUSED)
            error = attempt(lambda: ask(world.model))
            assert error is not None
            searched(error, secrets_of(world.live), rendered=True)
            causes = []
            while error is not None:
                causes.append(f"{type(error).__name__}: {error}")
                error = error.__cause__ or error.__context__
        assert len(causes) > 1
        assert any("Connect" in cause for cause in causes)

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_router_s_own_callers(self, dialect: str) -> None:
        """`live.router()` is litellm's Router: what it raises, whole and streamed, shows as little."""
        with World(dialect, fallback="", litellm_num_retries=1, litellm_timeout=0.5) as world:
            router: Any = world.live.generation().router

            async def complete(*, stream: bool) -> None:
                messages = [{"role": "user", "content": "hi"}]
                answer = await router.acompletion("ekaiX-model", messages, stream=stream)
                if stream:
                    async for _ in answer:
                        pass

            for number, (failure, how) in enumerate(failures_of(dialect), list(DIALECTS).index(dialect)):
                stream = bool(how or number % 2)
                world.clock.tick(3600)  # whatever cools is over
                world.primary.fail(failure, **how)
                error = attempt(lambda stream=stream: world.live.io.call(lambda: complete(stream=stream)))  # type: ignore[misc]
                world.primary.heal()
                if error is None:
                    assert failure in ANY_END, failure
                    continue
                searched(error, secrets_of(world.live))
                libraries = {base.__module__.partition(".")[0] for base in type(error).__mro__}
                assert libraries & {"litellm", "httpx", "openai", "google", "aiohttp"}, libraries
                assert "No deployments available" not in str(error), failure  # it was asked

    def test_blocking_call_of_the_router_is_refused(self) -> None:
        """What litellm makes of it follows redirects: nothing is sent, and the error says what to call."""
        with World("anthropic", fallback="") as world:
            router: Any = world.live.generation().router
            for stream in (False, True):
                error = attempt(
                    lambda stream=stream: router.completion("ekaiX-model", [{"role": "user"}], stream=stream)  # type: ignore[misc]
                )
                assert isinstance(error, LiveRouterError)
                assert (error.code, "acompletion" in error.hint) == ("LR406", True)
            assert world.primary.hits == 0

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_key_that_a_provider_echoes_in_a_figure(self, engine: str, method: str) -> None:
        """A library that cannot read the figure quotes it: the quote leaves without the key."""
        from tests.integration.test_hostile_providers import STREAMED, WHOLE
        from tests.kit.hostile import EVENTS, OK, answers, attacked

        for dialect in ("openai", "anthropic"):
            with attacked(dialect, engine) as (server, live):
                (key, *_) = [s.reveal() for d in live.generation().snapshot.deployments for s in d.secrets.values()]
                usage: dict[str, Any] = dict.fromkeys(WHOLE[dialect]["usage"], key)
                usage |= {"prompt_tokens_details": {"audio_tokens": key}, "cache_read_input_tokens": key}
                if method == "invoke":
                    server.does(answers(OK, json.dumps(WHOLE[dialect] | {"usage": usage}).encode()))
                else:
                    last = json.loads(STREAMED["openai"][0][0]) | {"choices": [], "usage": usage}
                    if dialect == "anthropic":
                        last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
                    events = [*(json.loads(event) for event in STREAMED[dialect][0]), last]
                    body = b"".join(
                        b"event: %s\ndata: %s\n\n" % (str(event.get("type")).encode(), json.dumps(event).encode())
                        for event in events
                    )
                    server.does(answers(EVENTS, body))
                error = attempt(lambda live=live: ask(live.chat_model(), method))  # type: ignore[misc]
                if error is not None:
                    searched(error, secrets_of(live))

    @pytest.mark.parametrize("engine", ENGINES)
    def test_key_that_is_echoed_in_the_form_in_which_it_was_sent(self, engine: str) -> None:
        """Snowflake's goes out without litellm's mark, Google's as an access token."""
        from tests.kit.hostile import answers, attacked

        for dialect, secret, sent in (
            ("snowflake", {"snowflake_token": "pat/zz9-value-of-a-token"}, "zz9-value-of-a-token"),
            ("vertex-ai", {}, "ya29.a0AfH6SMBx-token_of.google"),
        ):
            with attacked(dialect, engine) as (server, live):
                live.set(secrets=secret)
                told = json.dumps({"error": {"message": f"bad credential {sent} given", "code": 401}}).encode()
                server.does(answers(b"HTTP/1.1 401 No\r\nContent-Type: application/json\r\n", told))
                error = attempt(lambda live=live: ask(live.chat_model()))  # type: ignore[misc]
                assert isinstance(error, core.ModelError)
                searched(error, {sent})

    def test_every_deployment_failed(self) -> None:
        """The one error over several, and each in it."""
        with World("anthropic", litellm_num_retries=1) as world:
            world.primary.fail(Failure.UNAUTHORIZED)
            world.fallback.fail(Failure.SERVER_ERROR)
            for method in METHODS:
                error = attempt(lambda method=method: ask(world.model, method))  # type: ignore[misc]
                assert isinstance(error, LiveRouterError)
                searched(error, secrets_of(world.live))

    @pytest.mark.parametrize("engine", ENGINES)
    def test_cancelled_call(self, engine: str) -> None:
        """A caller who gives up gets its own timeout, without the frames of what it waited for."""
        with StandIn("openai") as standin, client_of(standin, litellm_enable=ENGINES[engine]) as live:

            async def impatient() -> None:
                async with asyncio.timeout(0.2):
                    await live.chat_model().ainvoke("hi")

            standin.fail(Failure.HANG)
            error = attempt(lambda: asyncio.run(impatient()))
            assert isinstance(error, TimeoutError)
            searched(error, secrets_of(live))


class TestRefusedConfigurations:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_build_error_shows_no_key(self, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A library that refuses what it is given takes the key with it: not into the error."""
        import langchain_openai
        import litellm

        def refuse(*_: Any, **arguments: Any) -> None:
            raise ValueError(f"refused {sorted(arguments)}")

        monkeypatch.setattr(langchain_openai, "ChatOpenAI", refuse)
        with World("openai", fallback="", litellm_enable=True) as world:
            monkeypatch.setattr(litellm.Router, "__init__", refuse)
            error = attempt(lambda: world.live.set(litellm_enable=ENGINES[engine], litellm_timeout=7))
            assert isinstance(error, ConfigError)
            assert error.problem.code == "LR301"
            searched(error, secrets_of(world.live))


class TestDatabaseAndKeyring:
    def test_dsn_that_fails(self, dsn: str) -> None:
        """Neither the password of a login that is refused nor a host's that is not there."""
        password = Hidden("pa55word-that-nobody-sees")
        user, _, rest = dsn.partition("://")[2].rpartition("@")
        urls = [f"postgresql://{user.partition(':')[0]}x:{password}@{rest}", f"postgresql://u:{password}@127.0.0.1:1/x"]
        for url in [Hidden(url) for url in urls]:
            for call in (migrate.current, migrate.check, migrate.upgrade, _read, _wait_applied):
                error = attempt(lambda call=call, url=url: call(url))  # type: ignore[misc]
                assert isinstance(error, LiveRouterError)
                searched(error, {password}, rendered=call is migrate.current)

    def test_keyring(self) -> None:
        """No key of the ring, whether it cannot be read or does not open what it should."""
        ring = Hidden(generate_key())
        half = Hidden(ring[:-4])
        dsn = Hidden(f"nonsense://u:{half}@h/d")
        sealed = seal("name", Secret("se-cret"), Keyring.from_text(ring))
        calls: list[Callable[[], Any]] = [
            lambda: Keyring.from_text(half),
            lambda: LiveRouter(database_url="postgresql://u@h/d", secret_keys=half),
            lambda: LiveRouter(database_url=dsn, secret_keys=ring),
            lambda: unseal("other", sealed, Keyring.from_text(ring)),
        ]
        for call in calls:
            error = attempt(call)
            assert isinstance(error, LiveRouterError)
            searched(error, {half, ring})


def _read(url: str) -> None:
    async def read() -> None:
        repository = SettingsRepository(url=url)
        try:
            await repository.read()
        finally:
            await repository.close()

    asyncio.run(read())


def _wait_applied(url: str) -> None:
    with LiveRouter(database_url=url, ready_timeout_s=0.1) as live:
        _ = live.wait_applied(1, timeout_s=0.1)


class TestLeftBehind:
    def test_asyncio_s_complaint_shows_no_key(self, caplog: pytest.LogCaptureFixture) -> None:
        """A task that a library forgot is logged by asyncio: with its text, without its frames."""
        import gc

        with StandIn("openai") as standin, client_of(standin) as live:

            async def forgotten() -> None:
                key = "sk-in-a-local"
                raise ValueError(f"broken {len(key)}")

            async def forget() -> None:
                task = asyncio.ensure_future(forgotten())
                await asyncio.wait([task])
                del task
                gc.collect()

            gc.collect()  # what earlier tests left behind is no part of this
            with caplog.at_level(logging.ERROR, "asyncio"):
                live.io.call(forget)
            told = [r for r in caplog.records if r.name == "asyncio" and "never retrieved" in r.getMessage()]
            (error,) = [r.exc_info[1] for r in told if r.exc_info and isinstance(r.exc_info[1], ValueError)]
            assert error is not None
            searched(error, {"sk-in-a-local"})
