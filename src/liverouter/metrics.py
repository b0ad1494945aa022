"""What a process tells Prometheus of itself, through prometheus-client: one call, in whichever registry it has.

>>> from liverouter import metrics
>>> metrics.register()                # doctest: +SKIP

`liverouter serve` has these of its own process, and beside them those of the whole fleet, by other names: whoever
scrapes both counts no call twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from liverouter.default import default_client
from liverouter.events import ConfigApplied, ConfigRejected, Event, ListenerLost, ReadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from liverouter.client import LiveRouter

DEPLOYMENT: Final = ("name", "provider", "model", "deployment_id", "role")  # labels of whatever counts calls
_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30)
_MODES: Final = ("listen", "poll_only", "none")  # of Status.mode


def register(registry: CollectorRegistry = REGISTRY, *, client: LiveRouter | None = None) -> ProcessMetrics:
    """Have *registry* tell of *client*, by default the default client, which is started; return what it tells by.

    To be called once for a registry and client.

    Raises:
        ValueError: the registry has these metrics.
        OptionsError: of the default client's options.
    """
    return ProcessMetrics(client if client is not None else default_client(), registry)


class ProcessMetrics:
    """The metrics of one client, in one registry: what it serves, how it hears of changes, which calls it made.

    `observe` may be called from any thread; a scrape reads what is in memory.
    """

    def __init__(
        self,
        client: LiveRouter,
        registry: CollectorRegistry,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Count the events of *client* from now on; *clock* gives an aware time."""
        self._client, self._clock = client, clock
        self._reloads = Counter("liverouter_reload", "Revisions by outcome", ["result"], registry=registry)
        self._lost = Counter("liverouter_listener_lost", "Times that LISTEN ended", registry=registry)
        self._latency = Histogram(
            "liverouter_apply_seconds", "From commit to live", buckets=_BUCKETS_S, registry=registry
        )
        for result in ("applied", "rejected", "read_failed"):
            self._reloads.labels(result)
        registry.register(self)
        client.subscribe(self.observe)

    def observe(self, event: Event) -> None:
        """Count *event*."""
        match event:
            case ConfigApplied():
                self._reloads.labels("applied").inc()
                if event.commit_to_live_ms is not None:
                    self._latency.observe(event.commit_to_live_ms / 1000)
            case ConfigRejected():
                self._reloads.labels("rejected").inc()
            case ReadFailed():
                self._reloads.labels("read_failed").inc()
            case ListenerLost():
                self._lost.inc()
            case _:
                pass

    def collect(self) -> Iterable[Metric]:
        """Yield what is read at a scrape; prometheus-client calls it."""
        yield from self._config()
        yield from self._calls()
        yield self._cooling()

    def _config(self) -> Iterable[Metric]:
        """Yield which config is in force, and how news of it come."""
        status, generation = self._client.status(), self._client.store.current
        for name, words, value in (
            ("liverouter_revision", "Revision that this process serves", status.revision),
            ("liverouter_desired_revision", "Newest revision that it has read", status.desired_revision),
            ("liverouter_generation", "Activations in this process", status.generation),
            ("liverouter_database_up", "Whether the last read of the settings succeeded", int(status.reading)),
        ):
            yield GaugeMetricFamily(name, words, value=-1 if value is None else value)
        state = GaugeMetricFamily("liverouter_state", "1 for the state it is in", labels=["state"])
        state.add_metric([str(status.state)], 1)
        yield state
        listener = GaugeMetricFamily("liverouter_listener", "1 for how it hears of changes", labels=["mode"])
        for mode in _MODES:
            listener.add_metric([mode], mode == status.mode)
        yield listener
        if generation is not None:  # a config that is not live has no age
            age_s = (self._clock() - generation.snapshot.committed_at).total_seconds()
            words = "Since the served revision was committed"
            yield GaugeMetricFamily("liverouter_config_age_seconds", words, value=age_s)

    def _cooling(self) -> Metric:
        """Return what is left of each cooldown in this process."""
        words = "What is left of a deployment's cooldown, 0 for none"
        family = GaugeMetricFamily("liverouter_process_cooling_seconds", words, labels=DEPLOYMENT)
        if (generation := self._client.store.current) is not None:
            for view in map(generation.named, generation.models):
                left_s = view.cooling_s
                for d in view.deployments:
                    family.add_metric([d.name, d.provider, d.model, d.id, d.role], left_s.get(d.id, 0.0))
        return family

    def _calls(self) -> Iterable[Metric]:
        """Yield the calls of this process since it started."""
        families = {
            name: CounterMetricFamily(f"liverouter_process_{name}", words, labels=DEPLOYMENT)
            for name, words in (
                ("calls", "Calls answered"),
                ("failures", "Attempts failed"),
                ("failovers", "Calls it answered for another"),
                ("prompt_tokens", "Tokens asked with"),
                ("completion_tokens", "Tokens answered"),
                ("cost_usd", "Cost, by litellm's price list"),
                ("call_seconds", "Time that answered calls took, all together"),
            )
        }
        for total in self._client.usage.totals():
            labels = [total.name, total.provider, total.model, total.deployment_id, total.role]
            for name, family in families.items():
                family.add_metric(labels, getattr(total, name))
        yield from families.values()
