"""A live client without a database, for users' own tests: rows in memory, everything behind them real."""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from liverouter import default
from liverouter.bus import Bus
from liverouter.chat.model import LiveChatModel
from liverouter.chat.source import NamedSource
from liverouter.chat.usage import UsageCounter
from liverouter.config.draft import origins_in_force, sealed_unless_same
from liverouter.config.environment import Environment
from liverouter.config.settings import is_model_name
from liverouter.engine.activation import Activation, Prepared, Reading, Rejected
from liverouter.errors import ConfigError, ModelNameError
from liverouter.events import Observer  # noqa: TC001 - for `typing.get_type_hints`
from liverouter.generation import Store
from liverouter.loops.thread import LoopThread
from liverouter.revision import DEFAULT_NAME, Rows
from liverouter.routing.cooldowns import Cooldowns
from liverouter.secrecy.sealing import Keyring, Secret, generate_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from liverouter.generation import Generation
    from liverouter.revision import SealedSecret

_STOP_S: Final = 5.0


class MemoryRouter:
    """`LiveRouter` over rows in memory: activation and handle are production's; there is no database and no waiting.

    While it is entered, `liverouter.get_chat_model()` returns its handle, so code under test needs no change:

    >>> rows = {"llm_provider": "openai", "llm_model": "gpt-5.4"}
    >>> with MemoryRouter(rows, secrets={"openai_api_key": "sk-test"}) as live:
    ...     live.set(llm_model="gpt-5.5")     # doctest: +SKIP
    ...     live.set(**{"llm:fast": {"provider": "openai", "model": "gpt-5.4-mini"}})    # doctest: +SKIP

    Args:
        rows: settings by name, as the table `liverouter.settings` would hold them.
        secrets: secrets by name, in plain text.
        environ: what serves where no row stands; empty by default, so that a test sees its own rows only.
        observers: called with every event.
        clock: unix seconds by which cooldowns end; a test that ticks its own need not wait for one.
    """

    def __init__(
        self,
        rows: Mapping[str, Any],
        *,
        secrets: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        observers: tuple[Observer, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows, self._environ = dict(rows), dict(environ or {})
        self._keyring = Keyring.from_text(generate_key())
        self._secrets = {name: self._seal(name, value) for name, value in (secrets or {}).items()}
        self._revision = 0
        bus = Bus(*observers)
        self.store = Store()
        self.usage = UsageCounter(bus=bus)
        self.io = LoopThread("liverouter-io")
        self.cooldowns = Cooldowns(clock=clock)
        self._activation = Activation(
            keyring=self._keyring, usage=self.usage, io=self.io, store=self.store, bus=bus, cooldowns=self.cooldowns
        )
        self._entered = contextlib.ExitStack()

    def set(self, *, secrets: Mapping[str, str] | None = None, **rows: Any) -> int:
        """Change *rows* and *secrets* as one revision, have it live when this returns, and return its number.

        Raises:
            ConfigError: the revision is rejected; the former one serves on, as in production.
        """
        self._rows |= rows
        self._secrets |= {name: self._seal(name, value) for name, value in (secrets or {}).items()}
        self._revision += 1
        raw = Rows(
            "memory", self._revision, str(uuid.uuid4()), datetime.now(UTC), 0.0, dict(self._rows), dict(self._secrets)
        )
        reading = Reading(source="database", read_ms=0.0, read_at=time.monotonic())
        match self._activation.prepare(raw, Environment(self._environ)):
            case Prepared() as prepared:
                self._activation.activate(prepared, raw, reading)
            case Rejected() as rejected:
                self._activation.reject(rejected, raw)
                raise ConfigError(rejected.problems)
        return self._revision

    def chat_model(self, name: str = DEFAULT_NAME) -> LiveChatModel:
        """Return a handle that always serves with the current rows, as `LiveRouter.chat_model` does.

        Raises:
            ModelNameError: no row can configure a model of that name.
        """
        if name == DEFAULT_NAME:
            return LiveChatModel(source=self)
        if not is_model_name(name):
            raise ModelNameError(name)
        return LiveChatModel(source=NamedSource(self, name))

    @property
    def current(self) -> Generation | None:
        """Return the generation in force, None while there is none; never waits."""
        return self.store.current

    def generation(self) -> Generation:
        """Return the generation in force.

        Raises:
            RuntimeError: the context was not entered.
        """
        if (generation := self.store.current) is None:
            raise RuntimeError("use it as `with MemoryRouter(…) as live:`")
        return generation

    async def async_generation(self) -> Generation:
        """Return the generation in force; raises as `generation` does."""
        return self.generation()

    def __enter__(self) -> Self:
        """Apply the rows and serve `get_chat_model()` from here.

        Raises:
            ConfigError: the rows are rejected; the thread has ended.
        """
        with contextlib.ExitStack() as entered:
            entered.callback(self.store.clear)
            entered.callback(self.io.stop, _STOP_S)
            self.set()
            entered.enter_context(default.serving(self))
            self._entered = entered.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Give `get_chat_model()` back and end the thread."""
        self._entered.close()

    def _seal(self, name: str, value: str) -> SealedSecret:
        """Return *value* sealed and, as the database does, bound to the origins that the rows now send it to."""
        return sealed_unless_same(None, name, Secret(value), self._keyring, origins=origins_in_force(self._rows, name))
