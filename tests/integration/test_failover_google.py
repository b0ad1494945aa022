"""Google's token desk may hang or be away: it gets the time of an attempt, and a call is told what became of it."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import pytest
from langchain_core import exceptions as core

from liverouter.testing import MemoryRouter, StandIn, service_account_json
from tests.kit.dialects import DIALECTS
from tests.kit.ports import ClosedPort
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import METHODS, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [*LITELLM_WARNINGS]

TIMEOUT_S = 1.5
LONG_S = 60.0  # however busy the machine is: what nothing ends takes two minutes
WAYS = [*zip(("vertex-ai", "vertex-ai", "vertex-ai claude", "vertex-ai claude"), METHODS, strict=True)]


@pytest.fixture
def silent_desk() -> Iterator[str]:
    """The address of a server that takes every request and answers none."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        # with a path: litellm keeps tokens by the key file's text, and a stand-in may have had the port before
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/silent"


@pytest.fixture
def parting_desk() -> Iterator[str]:
    """The host and port of a server that ends each connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def part() -> None:
            with suppress(OSError):  # the listener's end
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=part)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("dialect", ["vertex-ai", "vertex-ai claude"])
def test_desk_that_is_not_reached_is_a_lost_connection(
    dialect: str, parting_desk: str, monkeypatch: pytest.MonkeyPatch, *, enabled: bool
) -> None:
    """Refused, ended, without TLS, behind a proxy without a name: it may pass, and nobody's key is wrong."""
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    with StandIn("vertex-ai") as vertex, closing(ClosedPort()) as closed:
        rows = DIALECTS[dialect].rows(vertex) | {"litellm_enable": enabled, "litellm_num_retries": 0}
        rows |= {"litellm_cooldown_time": 0, "litellm_timeout": LONG_S}
        with MemoryRouter(rows, secrets={"vertex_ai_credentials": service_account_json(vertex.base_url)}) as live:
            for address, told in (
                (f"http://127.0.0.1:{closed.number}", "connection refused by"),
                (f"http://{parting_desk}", "connection"),
                (f"https://{parting_desk}", "127.0.0.1"),
                ("https://oauth2.googleapis.com", "cannot be resolved"),
            ):
                if address.endswith(".com"):
                    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:9")
                live.set(secrets={"vertex_ai_credentials": service_account_json(address)})
                with pytest.raises(core.ModelConnectionError, match=told):
                    live.chat_model().invoke("hi")
        assert vertex.requests == ()


@pytest.mark.parametrize(("dialect", "method"), WAYS)
class TestSilentDesk:
    def test_call_fails_over_in_time_and_a_mended_key_serves_at_once(
        self, dialect: str, method: str, silent_desk: str
    ) -> None:
        """No token is a timeout like any other; nothing of it stands in the way of the next key's token."""
        with ExitStack() as stack:
            vertex, openai = (stack.enter_context(StandIn(name)) for name in ("vertex-ai", "openai"))
            rows = DIALECTS[dialect].rows(vertex) | {
                "llm_fallback_config": DIALECTS["openai"].entry(openai) | {"timeout": 2 * LONG_S},
                "llm_timeout": TIMEOUT_S,
            }
            secrets = {"vertex_ai_credentials": service_account_json(silent_desk), "spare": "sk-key"}
            live = stack.enter_context(MemoryRouter(rows, secrets=secrets))
            started = time.monotonic()
            told = ask(live.chat_model(), method).response_metadata["liverouter"]
            assert (told["role"], told["attempts"], vertex.requests) == ("fallback", 2, ())
            assert 0.9 * TIMEOUT_S < time.monotonic() - started < LONG_S

            live.set(llm_timeout=2 * LONG_S, secrets={"vertex_ai_credentials": service_account_json(vertex.base_url)})
            assert ask(live.chat_model(), method).response_metadata["liverouter"]["role"] == "primary"

    def test_plain_call_times_out(self, dialect: str, method: str, silent_desk: str) -> None:
        """With litellm off it is the same timeout."""
        with StandIn("vertex-ai") as vertex:
            rows = DIALECTS[dialect].rows(vertex) | {
                "litellm_enable": False,
                "litellm_timeout": TIMEOUT_S,
                "litellm_num_retries": 1,
            }
            secrets = {"vertex_ai_credentials": service_account_json(silent_desk)}
            with MemoryRouter(rows, secrets=secrets) as live:
                started = time.monotonic()
                with pytest.raises(core.ModelTimeoutError):
                    ask(live.chat_model(), method)
                assert time.monotonic() - started < LONG_S
