"""The generation in force. Only `engine/activation.py` puts one in, only the end of a client takes it out.

Reads never lock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from liverouter.revision import DEFAULT_NAME, ModelConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.errors import Problem
    from liverouter.revision import Deployment, Snapshot
    from liverouter.routing.cooldowns import Cooldown, Cooldowns


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """What serves one name.

    Attributes:
        config: the name and its deployments.
        chats: the chat model of each deployment by its id, the primary's first.
        profiles: the ModelProfile of each deployment by its id.
        profile: minimum of limits and AND of abilities, over all deployments.
    """

    config: ModelConfig
    chats: Mapping[str, BaseChatModel]
    profiles: Mapping[str, Mapping[str, Any]]
    profile: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """One activation in one process: a snapshot and everything built from it, as the calls of one name see it.

    Never changes once activated. The store holds it as "default" sees it; `named` is how another name does.

    Attributes:
        number: 1, 2, … in this process.
        models: what serves each name of the snapshot.
        make_router: makes litellm's Router of all deployments, once; None in the native engine.
        cooldowns: which deployments are to be left alone; of the client, for all its generations and names.
        warnings: in which it is not what its rows ask for: the engine, or a fallback that is left out.
        name: whose calls it serves here; a key of `models`.
        is_alone: it has one deployment of the name's, for a probe or a check, and is asked by no caller.
    """

    number: int
    snapshot: Snapshot
    models: Mapping[str, ServedModel]
    make_router: Callable[[], Any] | None
    cooldowns: Cooldowns
    warnings: tuple[Problem, ...] = ()
    name: str = DEFAULT_NAME
    is_alone: bool = False

    def named(self, name: str) -> Generation:
        """Return the same generation as the calls of *name* see it; those of a name that is not there see "default"."""
        name = name if name in self.models else DEFAULT_NAME
        return self if name == self.name else replace(self, name=name)

    def alone(self, deployment: Deployment) -> Generation:
        """Return the same generation with *deployment*, one of the name's, for all calls, and without a second try."""
        served = replace(
            self.models[self.name],
            config=ModelConfig(self.name, (deployment,)),
            chats={deployment.id: self.chats[deployment.id]},
        )
        return replace(self, snapshot=replace(self.snapshot, num_retries=1), models={self.name: served}, is_alone=True)

    @property
    def is_native(self) -> bool:
        """Tell whether the providers' own classes make the calls, and not litellm."""
        return self.make_router is None

    @property
    def router(self) -> Any:
        """Return litellm's Router of all deployments, None in the native engine.

        No call needs it: it is made when it is first asked for, in milliseconds for each deployment.
        """
        return None if self.make_router is None else self.make_router()

    @property
    def identity(self) -> str:
        """Return what answers depend on, as `ModelConfig.identity`."""
        return self.models[self.name].config.identity

    @property
    def primary(self) -> Deployment:
        """Return the name's deployment of the lowest order."""
        return self.models[self.name].config.primary

    @property
    def logical_name(self) -> str:
        """Return what the Router, traces and metrics call the model: another name than "default" is its own."""
        return self.snapshot.model_name if self.name == DEFAULT_NAME else self.name

    @property
    def told_name(self) -> str:
        """Return the name as events tell it: "" for "default"."""
        return "" if self.name == DEFAULT_NAME else self.name

    @property
    def chats(self) -> Mapping[str, BaseChatModel]:
        """Return the chat model of each of the name's deployments by its id, the primary's first."""
        return self.models[self.name].chats

    @property
    def profiles(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the ModelProfile of each of the name's deployments by its id."""
        return self.models[self.name].profiles

    @property
    def profile(self) -> Mapping[str, Any]:
        """Return what all of the name's deployments can do."""
        return self.models[self.name].profile

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Return those that a call may ask, the primary first: all that the engine has a chat model for."""
        model = self.models[self.name]
        return tuple(deployment for deployment in model.config.deployments if deployment.id in model.chats)

    @property
    def chat(self) -> BaseChatModel:
        """Return the primary's chat model."""
        return self.chats[self.primary.id]

    @property
    def cooling(self) -> Mapping[str, Cooldown]:
        """Return what is to be left alone now; nothing where there is no other deployment to ask."""
        return self.cooldowns.active() if len(self.chats) > 1 else {}

    @property
    def cooling_s(self) -> Mapping[str, float]:
        """Return the remaining seconds of every active cooldown of its deployments, by id."""
        return self.cooldowns.remaining_s(self.chats) if len(self.chats) > 1 else {}

    def __repr__(self) -> str:
        """Name the generation without its content."""
        return f"<Generation {self.number} of revision {self.snapshot.revision} for {self.name}>"


class Store:
    """Holds the one reference that consumers read.

    `current` is a plain attribute, so reading it is one atomic load; only `activate` and `clear` write it.
    """

    __slots__ = ("current",)

    current: Generation | None

    def __init__(self) -> None:
        """Start without a generation."""
        self.current = None

    def activate(self, generation: Generation) -> None:
        """Swap *generation* in."""
        self.current = generation

    def clear(self) -> None:
        """Take the generation out."""
        self.current = None
