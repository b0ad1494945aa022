"""Snapshot to Generation: Router, inner model and profile are made together.

A generation needs no release: nothing global holds its Router, calls in flight keep it as long as they last, and
provider connections belong to the I/O loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.cooldowns import Cooldowns
from liverouter.inner import build_inner, preload
from liverouter.loop_fork import unforkable
from liverouter.profile import combine
from liverouter.router import build_router
from liverouter.store import Generation
from liverouter.usage import UsageCounter, register, unregister

if TYPE_CHECKING:
    from liverouter.loop_thread import LoopThread
    from liverouter.snapshot import Snapshot


class Builder:
    """Makes the generations of one client. Its methods block for milliseconds and are called one at a time."""

    def __init__(
        self, *, client_id: str, usage: UsageCounter, io: LoopThread, cooldowns: Cooldowns | None = None
    ) -> None:
        """Build for calls that run on *io*, are counted by *usage* under *client_id* and share *cooldowns*."""
        self._client_id, self._usage, self._io = client_id, usage, io
        self._cooldowns = cooldowns or Cooldowns()  # of all generations, so that a swap forgets none

    @unforkable()
    def build(self, snapshot: Snapshot, number: int) -> Generation:
        """Return a new generation, which knows what cools; sends nothing to any provider.

        Raises:
            ConfigError: litellm or the provider's package refuses the configuration, or the package is missing.
        """
        self._usage.know(snapshot.deployments)
        register(self._client_id, self._usage)
        router = build_router(snapshot, self._cooldowns) if snapshot.litellm_enable else None
        chat = build_inner(snapshot, router, self._io)
        return Generation(
            number=number,
            snapshot=snapshot,
            chat=chat,
            router=router,
            profile=combine(snapshot, chat.profile),
            deployments={d.id: d for d in snapshot.deployments},
        )

    @unforkable()
    def warm(self, generation: Generation) -> None:
        """Load what the first call of *generation* needs, so that no caller pays; blocks for seconds the first time."""
        preload(generation.snapshot)
        if generation.router is not None:
            from liverouter.rehearsal import rehearse  # imports litellm, so not without a Router

            rehearse(generation.snapshot.deployments)

    def close(self) -> None:
        """Stop counting."""
        unregister(self._client_id)
