"""One worker of the demo: a process like any of a user's, which keeps asking two models, one of them by a name.

It is run by ``python -m liverouter.demo.worker``. What it got goes to standard output, one JSON object a line:
``error``, or ``text``, ``duration_ms`` and what the answer's ``response_metadata["liverouter"]`` holds, beside
``asked``, the name. The end of its standard input, which comes when the demo ends or is killed, ends it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any, Final

_NAMES: Final = ("default", "summary")
_PAUSE_S: Final = 0.25  # from an answer to the next question
_END_S: Final = 3.0  # for a call in flight and the goodbye to the database


def main() -> int:
    """Ask until standard input ends; return 0, or 1 where no config became live."""
    serving, ended = threading.Event(), threading.Event()
    threading.Thread(target=_await_end, args=(serving, ended), daemon=True).start()

    # Here, because it takes a second in which the end may come.
    from liverouter import LiveRouterError, get_chat_model
    from liverouter.secrecy.redaction import brief

    try:
        models = {name: get_chat_model(name) for name in _NAMES}
    except LiveRouterError as exc:
        _tell(error=str(exc))
        return 1
    serving.set()
    number = 0
    while not ended.is_set():
        number += 1
        for name, model in models.items():
            started = time.monotonic()
            try:
                answer = model.invoke(f"question {number}")
            except Exception as exc:  # noqa: BLE001 - the demo counts failed calls of every kind
                _tell(asked=name, error=brief(exc))
            else:
                duration_ms = (time.monotonic() - started) * 1000
                served = answer.response_metadata["liverouter"]
                _tell(asked=name, text=answer.text, duration_ms=duration_ms, **served)
        ended.wait(_PAUSE_S)
    return 0


def _tell(**facts: Any) -> None:
    """Write one line for the demo."""
    print(json.dumps(facts), flush=True)  # noqa: T201 - the pipe to the demo


def _await_end(serving: threading.Event, ended: threading.Event) -> None:
    """In a thread: set *ended* when standard input ends, then end the process.

    Once *serving* is set, a call in flight has `_END_S` seconds to end before.
    """
    sys.stdin.read()
    ended.set()
    if serving.is_set():
        threading.Event().wait(_END_S)
    os._exit(0)  # without a clean end of what hangs or is importing: no worker may outlive the demo


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        os._exit(0)  # the demo is gone
