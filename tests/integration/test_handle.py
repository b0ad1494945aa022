"""The handle is a Runnable, a type and a value as any chat model is: wrapped, copied, pickled, read for its hints."""

from __future__ import annotations

import copy
import inspect
import pickle
import typing
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField

import liverouter
from liverouter.chat.model import LiveChatModel
from liverouter.testing import Reply, StandIn, ToolCall
from tests.kit.standins import bodies, live, served
from tests.kit.wires import WEATHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from liverouter.testing import MemoryRouter


@pytest.fixture
def client(openai: StandIn) -> Iterator[MemoryRouter]:
    """Return a client on OpenAI in the native engine: what is looked at here is the same in both."""
    with live(openai, litellm_enable=False, litellm_num_retries=1) as entered:
        yield entered


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(),
    "model_copy deep": lambda model: model.model_copy(deep=True),
    "model_copy of itself": lambda model: model.model_copy(update={"stop": ["never"]}, deep=True),
    "in a list": lambda model: copy.deepcopy([model])[0],
}


class TestCopies:
    @pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
    def test_copy_has_parameters_of_its_own_on_the_same_client(
        self, client: MemoryRouter, openai: StandIn, make: Callable[[LiveChatModel], LiveChatModel]
    ) -> None:
        """What is set on a copy changes no other handle; both follow the rows."""
        model = LiveChatModel(source=client, temperature=0.5, stop=["END"])
        made = make(model)
        assert made is not model
        assert made.source is client
        made.temperature, made.max_tokens, made.profile = 0.125, 7, {"max_input_tokens": 3}
        assert (model.temperature, model.max_tokens) == (0.5, None)
        assert model.profile != made.profile
        client.set(llm_model="gpt-4.1")
        for handle, temperature in ((made, 0.125), (model, 0.5)):
            assert served(handle.invoke("hi"))["model"] == "gpt-4.1"
            assert bodies(openai)[-1]["temperature"] == temperature

    def test_deep_copy_shares_no_list(self, client: MemoryRouter) -> None:
        """Also what is changed in place stays where it is."""
        model = LiveChatModel(source=client, stop=["END"], tags=["one"])
        made = copy.deepcopy(model)
        made.stop.append("STOP")  # type: ignore[union-attr]  # given above
        made.tags.append("two")  # type: ignore[union-attr]  # the same
        assert (model.stop, model.tags) == (["END"], ["one"])

    def test_deep_copy_shares_what_is_no_parameter(self, client: MemoryRouter) -> None:
        """A cache and a rate limiter hold locks, and are there to be shared."""
        model = LiveChatModel(
            source=client, cache=InMemoryCache(), rate_limiter=InMemoryRateLimiter(requests_per_second=1000)
        )
        made = copy.deepcopy(model)
        assert made.cache is model.cache
        assert made.rate_limiter is model.rate_limiter

    def test_default_handle_is_not_changed_by_a_copy(self, client: MemoryRouter) -> None:
        """The process-wide handle is everybody's."""
        model = liverouter.get_chat_model()
        copy.deepcopy(model).temperature = 0.25
        assert liverouter.get_chat_model().temperature is None
        assert client.chat_model() == model

    def test_what_was_set_on_a_copy_is_pickled(self, client: MemoryRouter) -> None:
        """Also what is live by default: the limit and the profile."""
        made = copy.deepcopy(LiveChatModel(source=client, restore=liverouter.get_chat_model))
        made.temperature, made.max_tokens = 0.25, 9
        restored = pickle.loads(pickle.dumps(made))  # noqa: S301 - our own
        assert (restored.source, restored.temperature, restored.max_tokens) == (client, 0.25, 9)


class TestRunnable:
    def test_with_fallbacks_binds_tools(self, client: MemoryRouter, openai: StandIn) -> None:
        """LangChain reads the method's annotations to see that it makes a Runnable."""
        with StandIn("anthropic") as other, live(other, litellm_enable=False) as spare:
            model = client.chat_model().with_fallbacks([spare.chat_model()])
            bound = model.bind_tools([WEATHER])
            openai.fail("401")
            other.respond(Reply(tool_calls=(ToolCall("get_weather", {"city": "Paris"}),)))
            assert bound.invoke("hi").tool_calls[0]["name"] == "get_weather"

    def test_with_retry_asks_again(self, client: MemoryRouter, openai: StandIn) -> None:
        """What may pass is tried again."""
        openai.fail("503", times=1)
        model = client.chat_model().with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
        assert model.invoke("hi").content == "gpt-4o says: hi"

    def test_fields_and_alternatives_are_configurable(self, client: MemoryRouter, openai: StandIn) -> None:
        """A config chooses parameters and models per call, and changes neither handle."""
        model = client.chat_model()
        chosen = model.configurable_fields(
            temperature=ConfigurableField(id="heat"), max_tokens=ConfigurableField(id="limit")
        ).configurable_alternatives(ConfigurableField(id="who"), cold=model.bind(temperature=0.0))
        chosen.with_config(configurable={"heat": 0.125, "limit": 50}).invoke("hi")
        chosen.invoke("hi", {"configurable": {"who": "cold"}})
        model.with_config({"tags": ["x"]}).invoke("hi")
        heats = [body.get("temperature") for body in bodies(openai)]
        assert heats == [0.125, 0.0, None]


def _callables() -> Iterator[tuple[str, Any]]:
    """Yield all that is public, with its name, and each method of what is a class."""
    for name in dir(liverouter):
        public = getattr(liverouter, name)
        yield name, public
        for member, value in vars(public).items() if inspect.isclass(public) else ():
            bare = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if inspect.isfunction(bare) and bare.__module__.startswith("liverouter"):
                yield f"{name}.{member}", bare


@pytest.mark.parametrize(("name", "public"), [pytest.param(*pair, id=pair[0]) for pair in _callables()])
def test_type_hints_of_what_is_public_can_be_read(name: str, public: Any) -> None:
    """Frameworks that read annotations find each name in them: nothing is imported for type checkers alone."""
    assert isinstance(typing.get_type_hints(public), dict), name
