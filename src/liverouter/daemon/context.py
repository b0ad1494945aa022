"""What every route of the API works with, made once by `service`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from liverouter.daemon.desired import Desired
from liverouter.daemon.fleet import Fleet, Watch
from liverouter.daemon.metrics import Metrics
from liverouter.daemon.models_fleet import LastError, OwnDeployment, OwnStatus
from liverouter.daemon.problem_details import ProblemModel
from liverouter.daemon.sse import Hub
from liverouter.events import (
    ConfigApplied,
    ConfigRejected,
    Event,
    Observer,
    OwnDatabaseEnded,
    OwnDatabaseRestarted,
    ReloadRequested,
)
from liverouter.loops.wakeup import call_soon
from liverouter.metrics import register
from liverouter.postgres.repository import SettingsRepository

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.client import LiveRouter
    from liverouter.daemon.database_keeper import DatabaseKeeper
    from liverouter.daemon.request_guard import Policy
    from liverouter.errors import Problem


_TOLD: Final = ("name", "role", "order", "provider", "model")  # of a deployment
_WAKING: Final = (ReloadRequested, ConfigApplied, ConfigRejected, OwnDatabaseEnded, OwnDatabaseRestarted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The daemon's parts; for one event loop.

    Attributes:
        live: the client; it has a loop and a repository of its own.
        repository: that of the daemon's loop.
        report: is told path and error of a request that failed in a way nobody foresaw.
        checking: bounds the checks at one time; each may call every deployment.
        trying: bounds the calls of the live model at one time.
        own_database: returns why the PostgreSQL that this daemon runs is down; None where it is up, or there is none.
    """

    live: LiveRouter
    repository: SettingsRepository
    desired: Desired
    fleet: Fleet
    watch: Watch
    hub: Hub
    metrics: Metrics
    policy: Policy
    report: Callable[[str, str], None]
    own_database: Callable[[], Problem | None]
    checking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    trying: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))

    def own_status(self) -> OwnStatus:
        """Return where this process stands."""
        status = self.live.status()
        error = status.error
        return OwnStatus(
            version=version("liverouter"),
            instance=self.live.client_id,
            database=self.live.options.database_name,
            state=str(status.state),
            revision=status.revision,
            desired_revision=status.desired_revision,
            generation=status.generation,
            mode=status.mode,
            mode_cause=status.mode_cause,
            since=status.since,
            litellm_enable=status.litellm_enable,
            last_error=LastError.model_validate(error, from_attributes=True) if error else None,
            problems=[ProblemModel(**p.as_dict()) for p in status.problems],
            deployments=self._own_deployments(),
        )

    def _own_deployments(self) -> list[OwnDeployment]:
        """Return what this process serves its models with; nothing while no config is live."""
        generation = self.live.store.current
        if generation is None:
            return []
        views = [generation.named(name) for name in generation.models]
        return [
            OwnDeployment(deployment_id=d.id, **{name: getattr(d, name) for name in _TOLD})
            for view in views
            for d in view.deployments
        ]

    def observe(self, event: Event) -> None:
        """Tell every open page of *event*; to be called in the event loop of `repository`."""
        if isinstance(event, _WAKING):
            self.watch.wake()
        if event.level != "debug":
            self.hub.publish("event", {"name": event.name, "level": event.level, **event.facts()})
            self.hub.publish("status", self.own_status().model_dump(mode="json"))


def soon(loop: asyncio.AbstractEventLoop, observer: Observer) -> Observer:
    """Return an observer for any thread: it has *observer* called in *loop*, and does nothing once *loop* is closed."""

    def tell(event: Event) -> None:
        call_soon(loop, observer, event)

    return tell


def build_context(
    live: LiveRouter,
    policy: Policy,
    report: Callable[[str, str], None],
    *,
    keeper: DatabaseKeeper | None = None,
) -> Context:
    """Return the parts around *live*; nothing is opened. The caller closes `repository` in the end.

    *keeper* is that of the PostgreSQL that this daemon runs, if it does.
    """
    own_database = (lambda: keeper.problem) if keeper is not None else (lambda: None)
    options = live.options
    repository = SettingsRepository(url=options.dsn, application_name="liverouter serve")
    fleet, hub, registry = Fleet(repository), Hub(), CollectorRegistry()
    register(registry, client=live)
    return Context(
        live=live,
        repository=repository,
        desired=Desired(repository=repository, keyring=options.keyring),
        fleet=fleet,
        watch=Watch(fleet=fleet, hub=hub, report=lambda error: report("loop watch", error), own_database=own_database),
        hub=hub,
        metrics=Metrics(repository=repository, registry=registry),
        policy=policy,
        report=report,
        own_database=own_database,
    )


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Using = Annotated[Context, Depends(_context)]  # a route's first parameter
