"""The generation in force. Only `engine/activation.py` puts one in, only the end of a client takes it out.

Reads never lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel
    from litellm import Router

    from liverouter.errors import Problem
    from liverouter.revision import Deployment, Snapshot
    from liverouter.routing.cooldowns import Cooldown, Cooldowns


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """One activation in one process: a snapshot and everything built from it. Never changes once activated.

    Attributes:
        number: 1, 2, … in this process.
        chats: the chat model of each deployment by its id, the primary's first.
        router: litellm's, over all deployments; None in the native engine.
        profiles: the ModelProfile of each deployment by its id.
        profile: minimum of limits and AND of abilities, over all deployments.
        cooldowns: which deployments are to be left alone; of the client, for all its generations.
        warnings: in which it is not what its rows ask for: the engine, or a fallback that is left out.
    """

    number: int
    snapshot: Snapshot
    chats: Mapping[str, BaseChatModel]
    router: Router | None
    profiles: Mapping[str, Mapping[str, Any]]
    profile: Mapping[str, Any]
    cooldowns: Cooldowns
    warnings: tuple[Problem, ...] = ()

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Return those that a call may ask, the primary first: all that the engine has a chat model for."""
        return tuple(deployment for deployment in self.snapshot.deployments if deployment.id in self.chats)

    @property
    def chat(self) -> BaseChatModel:
        """Return the primary's chat model."""
        return self.chats[self.snapshot.primary.id]

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
        return f"<Generation {self.number} of revision {self.snapshot.revision}>"


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
