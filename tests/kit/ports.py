"""A port that refuses: it is taken, so that nobody else can listen there, and nobody listens."""

from __future__ import annotations

import socket


class ClosedPort:
    """A port of 127.0.0.1, from construction until `close`.

    Args:
        lent: a server that the test starts, and that binds with SO_REUSEADDR, may listen there.

    Attributes:
        number: of the port.
    """

    def __init__(self, *, lent: bool = False) -> None:
        self._socket = socket.socket()
        if lent:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()
