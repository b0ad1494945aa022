"""validate → build → warm → activate: the one way from rows to a generation, for engine, `MemoryRouter` and `check`.

A generation needs no release: nothing global holds its Router, calls in flight keep it as long as they last, and
provider connections belong to the I/O loop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from liverouter.chat.profile import combine, profile_of
from liverouter.config.validate import Validation, validate
from liverouter.engine.starting import Step
from liverouter.errors import ConfigError, LiveRouterError, Problem
from liverouter.events import ConfigApplied, ConfigRejected, GenerationRetired, StartAdvanced
from liverouter.generation import Generation, ServedModel, Store
from liverouter.loops.fork import unforkable
from liverouter.revision import DEFAULT_NAME
from liverouter.routing.cooldowns import Cooldowns
from liverouter.routing.engines import native
from liverouter.routing.litellm_setup import collecting_later, freeze, load, loaded
from liverouter.routing.warmup import warm_up
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from liverouter.bus import Bus
    from liverouter.chat.usage import UsageCounter
    from liverouter.config.environment import Environment
    from liverouter.loops.thread import LoopThread
    from liverouter.revision import Deployment, ModelConfig, Rows, Snapshot
    from liverouter.secrecy.sealing import Keyring

    Promises = Callable[[Deployment, BaseChatModel], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Where rows come from, and when they were read.

    Attributes:
        source: "database", or "snapshot_file" for a start without the database.
        read_ms: what reading took, milliseconds.
        read_at: when it ended, monotonic seconds.
    """

    source: Literal["database", "snapshot_file"]
    read_ms: float
    read_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A generation that is ready to serve its first call, what its rows said, and what making it took.

    Attributes:
        validation: the snapshot that it was built of, and warnings.
        validate_ms: milliseconds, as are build_ms and warm_ms; 0.0 where nothing had to be built.
    """

    generation: Generation
    validation: Validation
    validate_ms: float
    build_ms: float = 0.0
    warm_ms: float = 0.0

    def with_warning(self, problem: Problem) -> Prepared:
        """Return it with one more warning about its rows."""
        return replace(self, validation=replace(self.validation, problems=(*self.validation.problems, problem)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Why rows make no generation.

    Attributes:
        validation: what the rows said; with a snapshot where it was building that failed.
        problems: what stands against them, errors first.
        retryable: the fault is not in the rows. Files, threads, memory or a package may be there at the next try.
    """

    validation: Validation
    problems: tuple[Problem, ...]
    retryable: bool = False

    @property
    def stage(self) -> Literal["validate", "build"]:
        """Return the step at which they failed."""
        return "validate" if self.validation.snapshot is None else "build"


class Activation:
    """Makes generations of rows and activates them, for one client. Its methods are called one at a time.

    Args:
        keyring: opens sealed secrets; None where no key is configured.
        usage: counts the calls of what is built; learns the deployments by their ids.
        io: the loop that every call of what is built runs on.
        store: where the generation in force is read and written.
        bus: hears of what is applied, rejected and retired.
        cooldowns: those of all generations, so that a swap forgets none; None for new ones.
        gc_freeze: exempt what is loaded from garbage collection after the first generation is warm.

    Attributes:
        step: what was told last of the first generation's way.
    """

    def __init__(
        self,
        *,
        keyring: Keyring | None,
        usage: UsageCounter,
        io: LoopThread,
        store: Store,
        bus: Bus,
        cooldowns: Cooldowns | None = None,
        gc_freeze: bool = False,
    ) -> None:
        self._keyring, self._usage, self._io, self._store, self._bus = keyring, usage, io, store, bus
        self._cooldowns = cooldowns or Cooldowns()
        self._cooldowns.on_begin(usage.cooling)
        self._gc_freeze = gc_freeze
        self._started = time.monotonic()
        self.step: Step | None = Step.READING

    def tell(self, step: Step | None) -> None:
        """Tell what the first generation waits for; once there is one, this does nothing."""
        if self._store.current is None:
            self.step = step
            self._bus.emit(StartAdvanced(step))

    def prepare(self, rows: Rows, environment: Environment) -> Prepared | Rejected:
        """Return a generation of *rows* that is ready to serve, or why there is none; activates and tells nothing.

        Blocks for milliseconds, for seconds where litellm is not loaded yet.
        """
        started = time.monotonic()
        validation = self.validate(rows, environment)
        validate_ms = (time.monotonic() - started) * 1000
        if validation.snapshot is None:
            return Rejected(validation=validation, problems=validation.problems)
        try:
            generation, build_ms, warm_ms = self._next(validation.snapshot)
        except ConfigError as exc:
            return Rejected(validation=validation, problems=exc.problems, retryable=_is_retryable(exc))
        except LiveRouterError as exc:
            return Rejected(validation=validation, problems=(exc.problem,))
        except Exception as exc:  # noqa: BLE001 - a third party's constructor; the revision is rejected, the process serves on
            retryable = _is_retryable(exc)
            hint = "It is tried again at every poll" if retryable else "Check provider and model"
            problem = Problem("LR301", brief(exc), "settings", hint)
            return Rejected(validation=validation, problems=(problem,), retryable=retryable)
        return Prepared(
            generation=generation,
            validation=replace(validation, problems=(*validation.problems, *generation.warnings)),
            validate_ms=validate_ms,
            build_ms=build_ms,
            warm_ms=warm_ms,
        )

    def _next(self, snapshot: Snapshot) -> tuple[Generation, float, float]:
        """Return the next generation, and the milliseconds that building and warming it took.

        A snapshot that serves like the generation in force gets that one's parts under a new number.
        """
        former = self._store.current
        number = former.number + 1 if former is not None else 1
        if former is not None and snapshot.serves_like(former.snapshot):
            return replace(former, number=number, snapshot=snapshot), 0.0, 0.0
        with unforkable(), collecting_later():
            started = time.monotonic()
            generation = self.build(snapshot, number)
            built = time.monotonic()
            self.tell(Step.WARMING)
            self.warm(generation)
            warmed = time.monotonic()
            if self._gc_freeze:
                freeze()  # in here: the first collection would look through all that was loaded meanwhile
        return generation, (built - started) * 1000, (warmed - built) * 1000

    def validate(self, rows: Rows, environment: Environment) -> Validation:
        """Return the Snapshot that *rows* describe, or every Problem in them."""
        return validate(rows, environment=environment, keyring=self._keyring)

    def build(self, snapshot: Snapshot, number: int) -> Generation:
        """Return a new generation, which knows what cools down; sends nothing to any provider.

        It is of the native engine where litellm is off, and where it cannot be used, which is a warning then.

        Raises:
            ConfigError: litellm or the provider's package refuses the configuration, or the package is missing.
        """
        self._usage.know(snapshot.deployments)
        if snapshot.litellm_enable and loaded() is None:
            self.tell(Step.IMPORTING)
        unusable = _unusable_litellm() if snapshot.litellm_enable else ()
        self.tell(Step.BUILDING)
        former, make_router, left_out = self._store.current, None, tuple[Problem, ...]()
        if snapshot.litellm_enable and not unusable:
            litellm: Any = import_module("liverouter.routing.engines.litellm")  # imports litellm
            make_router, chats, left_out = litellm.build(snapshot, self._io, self._cooldowns, former)
            promises: Promises = litellm.promises
        else:
            chats, left_out = _build_native(snapshot, self._io, former, unusable)
            promises = native.promises
        return Generation(
            number=number,
            snapshot=snapshot,
            models={name: _served(config, chats[name], promises, former) for name, config in snapshot.models.items()},
            make_router=make_router,
            cooldowns=self._cooldowns,
            warnings=(*unusable, *left_out),
        )

    def warm(self, generation: Generation) -> None:
        """Load what the first call of *generation* needs, so that no caller pays; blocks for seconds the first time."""
        first = self._store.current is None
        warm_up(generation.snapshot, by_litellm=not generation.is_native, first=first)

    def activate(self, prepared: Prepared, rows: Rows, reading: Reading) -> None:
        """Swap in what was prepared of *rows*; tell that it is live, and which generation is retired.

        The time from commit to live is told only where it was this client that took it: not where the change was in
        force before (a standby was promoted, a key was replaced), nor where it was committed before the client started.
        """
        generation, former = prepared.generation, self._store.current
        self._store.activate(generation)
        live_ms = rows.age_ms + (time.monotonic() - reading.read_at) * 1000
        was_in_force = former is not None and former.snapshot.change_id == rows.change_id
        is_older = live_ms > (time.monotonic() - self._started) * 1000
        is_timed = not (was_in_force or is_older or reading.source == "snapshot_file")
        snapshot = generation.snapshot
        self._bus.emit(
            ConfigApplied(
                epoch=rows.epoch,
                revision=rows.revision,
                generation=generation.number,
                primary=snapshot.primary.label,
                fallbacks=tuple(d.label for d in snapshot.fallbacks),
                litellm_enable=snapshot.litellm_enable,
                source=reading.source,
                read_ms=reading.read_ms,
                validate_ms=prepared.validate_ms,
                build_ms=prepared.build_ms,
                warm_ms=prepared.warm_ms,
                commit_to_live_ms=live_ms if is_timed else None,
                rebuilt=former is None or generation.models is not former.models,
                warnings=prepared.validation.warnings,
                named_models=tuple(name for name in generation.models if name != DEFAULT_NAME),
            )
        )
        if former is not None and former.models is not generation.models:
            self._bus.emit(GenerationRetired(former.number))

    def reject(self, rejected: Rejected, rows: Rows) -> None:
        """Tell that *rows* were rejected; the generation in force, if any, serves on."""
        kept = self._store.current
        self._bus.emit(
            ConfigRejected(rows.epoch, rows.revision, rejected.stage, rejected.problems, kept.number if kept else None)
        )


def _unusable_litellm() -> tuple[Problem, ...]:
    """Return why litellm cannot be used, as warnings; nothing where it can, which is loaded then."""
    try:
        load()
    except ConfigError as exc:
        return tuple(replace(problem, severity="warning") for problem in exc.problems)
    return ()


def _served(
    config: ModelConfig, chats: Mapping[str, BaseChatModel], promises: Promises, former: Generation | None
) -> ServedModel:
    """Return what serves the name of *config* by *chats*; that of *former* where it is the same."""
    known = former.models.get(config.name) if former is not None else None
    if known is not None and known.config == config and _are(known.chats, chats):
        return known
    deployments = [d for d in config.deployments if d.id in chats]
    profiles = {d.id: profile_of(d, promises=promises(d, chats[d.id])) for d in deployments}
    return ServedModel(config, chats, profiles, combine(list(profiles.values())))


def _are(some: Mapping[str, object], others: Mapping[str, object]) -> bool:
    """Tell whether both hold the same objects by the same names."""
    return some.keys() == others.keys() and all(some[name] is others[name] for name in some)


def _build_native(
    snapshot: Snapshot, io: LoopThread, former: Generation | None, unusable: Sequence[Problem]
) -> tuple[dict[str, dict[str, BaseChatModel]], tuple[Problem, ...]]:
    """Return what `native.build` does.

    Raises:
        ConfigError: what it raises; where it stands in for litellm, of that, too, why it is *unusable*.
    """
    try:
        return native.build(snapshot, io, former)
    except ConfigError as exc:
        if not unusable:
            raise
        raise ConfigError([*(replace(problem, severity="error") for problem in unusable), *exc.problems]) from exc


def _is_retryable(exc: BaseException) -> bool:
    """Tell whether the fault is not in the rows: files, threads, memory or a package may be there at the next try.

    A ConfigError is judged by the error that it was made of.
    """
    if isinstance(exc, ConfigError):
        return exc.__context__ is not None and _is_retryable(exc.__context__)
    return isinstance(exc, OSError | RuntimeError | ImportError | MemoryError)
