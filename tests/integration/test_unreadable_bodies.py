"""What providers and Google's token desk answer in no form that their libraries know is told by its status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from langchain_core import exceptions as core

from tests.kit.hostile import Hostile, answers, attacked
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.testing import MemoryRouter

pytestmark = [*LITELLM_WARNINGS]

# Each way that an answer takes, and which of the bodies: of two that one library serves, each reads one half.
WAYS: Final = {
    "litellm openai": slice(0, None, 2),
    "litellm azure-openai": slice(1, None, 2),
    "litellm anthropic": slice(0, None, 2),
    "litellm vertex-ai": slice(1, None, 2),
    "native openai": slice(1, None, 2),
    "native anthropic": slice(0, None, 2),
    "native vertex-ai": slice(None),
    "native vertex-ai claude": slice(1, None, 2),
}
DESKS: Final = ["litellm vertex-ai", "native vertex-ai", "native vertex-ai claude"]  # litellm asks as for Gemini
BODIES: Final = {
    "nothing": b"",
    "list": b'["no"]',
    "text": b'"no"',
    "null": b"null",
    "number": b"17",
    "null in it": b'{"error": null}',
    "list in it": b'{"error": ["no"]}',
    "page": b"<html><body>no</body></html>",
    "cut": b'{"error": {"message": "n',
    "Latin-1": b'{"error": {"message": "d\xe9sol\xe9"}}',
    "UTF-16, broken": b"n\x00o",
    "depth": b"[" * 5_000,
    "digits": b'{"error": ' + b"9" * 5_000 + b"}",
}
STATUSES: Final = {
    401: core.ModelAuthenticationError,
    429: core.ModelRateLimitError,
    500: core.ModelAPIError,
}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[Hostile, MemoryRouter]]:
    """Each way that an answer takes."""
    engine, _, dialect = request.param.partition(" ")
    with attacked(dialect, engine) as both:
        yield both


@pytest.fixture(scope="module", params=DESKS)
def asking(request: pytest.FixtureRequest) -> Iterator[tuple[Hostile, MemoryRouter]]:
    """Google's token desk, and a client."""
    engine, _, dialect = request.param.partition(" ")
    with attacked(dialect, engine) as (_, live), Hostile() as server:
        yield server, live


@pytest.fixture
def desk(asking: tuple[Hostile, MemoryRouter]) -> tuple[Hostile, MemoryRouter]:
    """Google's token desk, and a client that asks it first: it has a key that nobody had before."""
    server, live = asking
    live.set(secrets=server.google_secrets())
    return server, live


def answer(server: Hostile, status: int, body: bytes) -> None:
    """Have *server* answer *status* with *body*, which it calls JSON."""
    server.does(answers(b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\n" % status, body))


class TestErrors:
    def test_status_says_what_it_is(self, way: tuple[Hostile, MemoryRouter], request: pytest.FixtureRequest) -> None:
        """Whatever the body is; each way has another status with it, by a whole call and by a stream in turn."""
        server, live = way
        name_of_way = request.node.callspec.params["way"]
        for number, (name, body) in enumerate(list(BODIES.items())[WAYS[name_of_way]], list(WAYS).index(name_of_way)):
            status, kind = list(STATUSES.items())[number % len(STATUSES)]
            answer(server, status, body)
            with pytest.raises(core.ModelError) as caught:
                ask(live.chat_model(), ("invoke", "stream")[number % 2])
            assert isinstance(caught.value, kind), f"{status}, {name}"


class TestAnswers:
    def test_one_that_cannot_be_read_is_the_provider_s_fault(self, way: tuple[Hostile, MemoryRouter]) -> None:
        """The caller has nothing to change about it, and may ask again."""
        server, live = way
        for name in ("page", "cut", "depth", "digits"):
            answer(server, 200, BODIES[name])
            with pytest.raises(core.ModelAPIError) as caught:
                ask(live.chat_model(), "invoke")
            assert caught.value.is_retryable, name


class TestTokenDesk:
    def test_refusal_is_one_of_the_credentials(self, desk: tuple[Hostile, MemoryRouter]) -> None:
        """Whatever its body is, one half with each status: only another key helps."""
        server, live = desk
        for number, body in enumerate((b'{"error": "invalid_grant"}', *BODIES.values())):
            answer(server, 400 + number % 2, body)
            with pytest.raises(core.ModelAuthenticationError):
                ask(live.chat_model(), "invoke")

    def test_what_is_no_token_is_a_failure_that_may_pass(self, desk: tuple[Hostile, MemoryRouter]) -> None:
        """A proxy's page in the place of a token says nothing about the key."""
        server, live = desk
        for name in ("list", "text", "null", "page", "Latin-1", "depth"):
            answer(server, 200, BODIES[name])
            with pytest.raises(core.ModelError) as caught:
                ask(live.chat_model(), "invoke")
            assert caught.value.is_retryable, name
