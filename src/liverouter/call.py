"""The record of one call: the generation that serves it, what was tried, what its answer said. Plain data.

A record is made and used on the I/O loop, by one call, so nothing in it is locked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata

    from liverouter.generation import Generation
    from liverouter.revision import Deployment


@dataclass(slots=True, eq=False)
class Call:
    """One call of a handle, from its first attempt to the end of its answer.

    Attributes:
        generation: what was in force when the call began; it serves the call to its end.
        began_at: when the newest attempt began, monotonic seconds.
        attempts: how many were begun, the successful one included.
        answering: the deployment that answers; None while none does.
        answered: some provider has answered an attempt with anything but an error.
        failures: the id of a deployment and its error, in the order in which the attempts failed.
        tokens: what the answer said it took; None while it has said nothing.
        cost_usd: what the call cost, as the answer said or litellm's price list; None where neither knows.
        cache_ttls: how long what the request marks is to stay in the prompt's cache, as far as answers do not tell.
        is_cached: litellm's own cache answered, and nobody was asked.
        begun: a deployment has begun to answer, and the failed attempts before it are counted.
        settled: the end of the call is counted.
        calls_tools: the answer has called a tool.
        tool_ids: the id of the newest call of a tool that has a name, by its place in a stream; None where it is ours.
        nameless: the id of a call of a tool whose name is yet to come, by its place in a stream.
        has_ended: a piece of the answer, a stream, has said why it ends.
        is_structured: there is more in the answer's content than text and tool calls.
    """

    generation: Generation
    began_at: float = field(default_factory=time.monotonic)
    attempts: int = 0
    answering: Deployment | None = None
    answered: bool = False
    failures: list[tuple[str, Exception]] = field(default_factory=list)
    tokens: UsageMetadata | None = None
    cost_usd: float | None = None
    cache_ttls: frozenset[str] = frozenset()
    is_cached: bool = False
    begun: bool = False
    settled: bool = False
    calls_tools: bool = False
    tool_ids: dict[Any, str | None] = field(default_factory=dict)
    nameless: dict[Any, str] = field(default_factory=dict)
    has_ended: bool = False
    is_structured: bool = False

    def answered_by(self, deployment: Deployment) -> None:
        """Note that *deployment* answers."""
        self.attempts += 1
        self.answering = deployment

    def failed_at(self, identifier: str, error: Exception, *, answered: bool = False) -> None:
        """Note that an attempt at the deployment *identifier* ended in *error*; *answered*: an answer had come."""
        self.attempts += 1
        self.answered = self.answered or answered
        self.failures.append((identifier, error))

    @property
    def served(self) -> Deployment:
        """Return the deployment that answers; the primary while none does."""
        return self.answering or self.generation.primary

    @property
    def failed_over(self) -> bool:
        """Tell whether a deployment of a higher order than the primary's serves, or another one failed before."""
        served = self.served
        if served.order > self.generation.primary.order:
            return True
        return any(identifier != served.id for identifier, _ in self.failures)
