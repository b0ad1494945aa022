"""The HTTP clients by which both engines call the providers: one set for each address, on the I/O loop.

An address that the next generation calls as well keeps its clients, and so its open connections: a swap costs nobody a
handshake, and a new key none either. Clients are closed on the loop that they belong to, when the last chat model that
uses them is garbage, or when the loop stops; a call in flight keeps its own.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from liverouter.errors import ClosedError
from liverouter.routing.guard import guarded
from liverouter.routing.transport import by_aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.loops.thread import LoopThread
    from liverouter.revision import Deployment

C = TypeVar("C")

_lending: Final = threading.RLock()  # a finalizer may run in the middle of a loan
_lent: Final[weakref.WeakKeyDictionary[LoopThread, dict[Any, _Lent]]] = weakref.WeakKeyDictionary()


class DeploymentHttp:
    """The `providers.Http` of one deployment's chat model.

    Attributes:
        timeout_s: seconds for one attempt.
    """

    def __init__(self, deployment: Deployment, timeout_s: float, io: LoopThread) -> None:
        """Lend nothing yet; the clients belong to the loop of *io*."""
        self.timeout_s = timeout_s
        self._endpoint, self._io = deployment.endpoint, io
        self._loans: list[_Lent] = []

    @property
    def token_request(self) -> Callable[..., Any]:
        """Return a transport of the kind that google-auth takes, which ends within the timeout."""
        from liverouter.routing.google_tokens import TokenRequest  # loads httpx, which few need

        return TokenRequest(self.timeout_s)

    def client(self, kind: Callable[..., C]) -> C:
        """Return a client of *kind* that admits answers as `guard` does: the one of this address, or a new one."""
        key = (self._endpoint, self.timeout_s, kind)
        with _lending:
            clients = _lent.setdefault(self._io, {})
            if (loan := clients.get(key)) is None:
                client = guarded(by_aiohttp(kind(timeout=self.timeout_s)))
                loan = clients[key] = _Lent(client, self._io, lambda: clients.pop(key, None))
            loan.users += 1
        self._loans.append(loan)
        return loan.client  # type: ignore[no-any-return]  # of the class that was asked for

    def belongs_to(self, model: object) -> None:
        """Give back what was lent once *model* is garbage."""
        for loan in self._loans:
            weakref.finalize(model, loan.give_back).atexit = False
        self._loans = []

    def give_back(self) -> None:
        """Give back what was lent: no model came of it."""
        for loan in self._loans:
            loan.give_back()
        self._loans = []


class _Lent:
    """One client, and how many chat models use it."""

    def __init__(self, client: Any, io: LoopThread, forget: Callable[[], object]) -> None:
        self.client, self.users = client, 0
        self._io, self._forget = io, forget
        self._stay_open = io.at_stop(client.aclose)

    def give_back(self) -> None:
        """Have one user less; close the client after the last. Called on any thread, by a finalizer too."""
        with _lending:
            self.users -= 1
            if self.users:
                return
            self._forget()
        self._stay_open()
        with contextlib.suppress(ClosedError):
            self._io.submit(self.client.aclose)
