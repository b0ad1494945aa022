"""A provider whose answers are as long as they are asked to be: ``python provider.py openai``, a process of its own.

A prompt that ends in "in 224 words" is answered by 224 words, of which a stream has one in each chunk.
"""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

from liverouter.testing import Reply, StandIn

if TYPE_CHECKING:
    from liverouter.testing import Ask


def answer(ask: Ask) -> Reply:
    """Return as many words as the prompt wants, 8 where it does not say."""
    wanted = re.search(r"in (\d+) words\Z", ask.user_text)
    return Reply(text=" ".join(f"word{n}" for n in range(int(wanted[1]) if wanted else 8)))


if __name__ == "__main__":
    with StandIn(sys.argv[1], keep=0, answer=answer) as provider:
        print(provider.api_base, flush=True)  # noqa: T201 - the parent reads it
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
