"""A provider's own LangChain class, for `litellm_enable = false`: what it is made with, and what it takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.providers.parameters import Api
    from liverouter.providers.spec import History
    from liverouter.revision import Deployment

C = TypeVar("C")


class Http(Protocol):
    """What a native model sends through. It is handed in: a provider knows nothing of counting, guarding and closing.

    Attributes:
        timeout_s: seconds for one attempt.
    """

    timeout_s: float

    @property
    def token_request(self) -> Callable[..., Any]:
        """Return a transport of the kind that google-auth takes, which ends within the timeout."""

    def client(self, kind: Callable[..., C]) -> C:
        """Return a client of *kind*, `httpx.AsyncClient` or a class of its, that stays open while the model is used."""


@dataclass(frozen=True, slots=True)
class NativeModel:
    """The provider's own LangChain class, for `litellm_enable = false`.

    Attributes:
        build: makes the chat model, and imports its package only then. Raises ImportError where a package is missing,
            ValueError where the class refuses the configuration.
        package: import name of its package, for the Problem where that is missing; "" where there is no such class.
        extra: the extra of liverouter that installs it.
        takes_openai_format: it takes OpenAI's `response_format`; else its `with_structured_output` makes what it takes.
        remembers: whose answers it takes back whole in a history, reasoning and its own tools' blocks included, as a
            message's `model_provider` says.
        remembers_own: it takes back what its own account said alone, which it knows by ids.
        remembers_in: (the chat model, a request) -> whether it does so in that request.
        takes_anthropic_blocks: images, documents and tool results may stand in a history as Anthropic writes them.
        promises: tells of a chat model whether its answers can be bound to a schema, tools beside it.
        history: what the API of its class takes of a conversation, where litellm asks another one.
        parameters: which parameters of a call the API of its class takes, where litellm asks another one.
        parameters_in: (the chat model, a request) -> those of the API by which that is asked, where it is another.
    """

    build: Callable[[Deployment, Http], BaseChatModel]
    package: str
    extra: str
    takes_openai_format: bool = False
    remembers: frozenset[str] = frozenset()
    remembers_own: bool = False
    remembers_in: Callable[[Any, Mapping[str, Any]], bool] = lambda *_: True
    takes_anthropic_blocks: bool = False
    promises: Callable[[BaseChatModel], bool] = lambda _: True
    history: History | None = None
    parameters: Api | None = None
    parameters_in: Callable[[Any, Mapping[str, Any]], Api | None] = lambda *_: None


def _build_nothing(deployment: Deployment, http: Http) -> BaseChatModel:
    """Refuse to build what no class serves.

    Raises:
        NotImplementedError: always.
    """
    del http
    raise NotImplementedError(f"litellm alone serves {deployment.label}")


NO_NATIVE_MODEL: Final = NativeModel(build=_build_nothing, package="", extra="")
