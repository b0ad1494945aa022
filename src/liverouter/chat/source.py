"""Where a handle gets its generation, its I/O loop and its counter from: a client, or one generation of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from liverouter.chat.usage import UsageCounter
    from liverouter.generation import Generation
    from liverouter.loops.thread import LoopThread


class Source(Protocol):
    """What a handle asks of its client."""

    @property
    def io(self) -> LoopThread:
        """Return the loop on which provider calls run in this process."""

    @property
    def usage(self) -> UsageCounter:
        """Return what counts the calls of this process."""

    @property
    def current(self) -> Generation | None:
        """Return the generation in force, None while there is none; never waits."""

    def generation(self) -> Generation:
        """Return the generation in force; waits for the first one.

        Raises:
            LiveRouterError: there is none (NotReadyError), or the client is closed (ClosedError).
        """

    async def async_generation(self) -> Generation:
        """Return the generation in force as `generation` does, without blocking the caller's loop."""


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A source that serves one name; while no row configures that, as the default is served.

    Attributes:
        source: the client.
        name: of the model.
    """

    source: Source
    name: str

    @property
    def io(self) -> LoopThread:
        """Return the loop of the source."""
        return self.source.io

    @property
    def usage(self) -> UsageCounter:
        """Return the counter of the source."""
        return self.source.usage

    @property
    def current(self) -> Generation | None:
        """Return the generation in force as the name sees it, None while there is none; never waits."""
        generation = self.source.current
        return None if generation is None else generation.named(self.name)

    def generation(self) -> Generation:
        """Return the generation in force as the name sees it; waits for the first one, raises as the source does."""
        return self.source.generation().named(self.name)

    async def async_generation(self) -> Generation:
        """Return the generation in force as `generation` does, without blocking the caller's loop."""
        return (await self.source.async_generation()).named(self.name)


class PinnedSource:
    """A source that serves one generation for ever: that of an agent run."""

    def __init__(self, source: Source, generation: Generation) -> None:
        """Serve *generation* on the loop of *source*, counted as its calls are."""
        self._source, self._generation = source, generation

    @property
    def io(self) -> LoopThread:
        """Return the loop of the source."""
        return self._source.io

    @property
    def usage(self) -> UsageCounter:
        """Return the counter of the source."""
        return self._source.usage

    @property
    def current(self) -> Generation:
        """Return the one generation."""
        return self._generation

    def generation(self) -> Generation:
        """Return the one generation."""
        return self._generation

    async def async_generation(self) -> Generation:
        """Return the one generation."""
        return self._generation


class OneGeneration:
    """A source of one generation, which no store holds."""

    def __init__(self, io: LoopThread, usage: UsageCounter, current: Generation) -> None:
        """Serve *current* on the loop *io*, counted by *usage*."""
        self.io, self.usage, self.current = io, usage, current

    def generation(self) -> Generation:
        """Return the one generation."""
        return self.current

    async def async_generation(self) -> Generation:
        """Return the one generation."""
        return self.current
