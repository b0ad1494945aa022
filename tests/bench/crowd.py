"""A provider that answers after two seconds, and tells when a crowd has come: ``python crowd.py 200``, its own process.

Prints its address, and a line whenever so many more calls have arrived.
"""

from __future__ import annotations

import itertools
import sys

from liverouter.testing import StandIn

_DAY_S = 86_400.0  # it is ended from outside


def main(crowd: int) -> None:
    """Serve until ended."""
    with StandIn("openai", keep=0) as provider:
        provider.delay(2.0)
        print(provider.api_base, flush=True)  # noqa: T201 - the parent reads it
        for number in itertools.count(1):
            provider.wait_hits(number * crowd, _DAY_S)
            print(number, flush=True)  # noqa: T201 - the parent waits for it


if __name__ == "__main__":
    main(int(sys.argv[1]))
