"""Where gevent or eventlet has replaced threads: there is one thread, and Python lets it run one event loop."""

from __future__ import annotations

import sys
from typing import Final

from liverouter.errors import LiveRouterError

_TELLS: Final = {  # module -> its function that tells whether it has replaced a module, and that module
    "gevent.monkey": ("is_module_patched", "threading"),
    "eventlet.patcher": ("is_monkey_patched", "thread"),
}


def refuse_green_threads() -> None:
    """Raise where threads are greenlets: a second loop would never run, and the first call would wait for ever.

    Raises:
        LiveRouterError: it is so (LR409).
    """
    for name, (tells, module) in _TELLS.items():
        is_patched = getattr(sys.modules.get(name), tells, None)
        if is_patched is not None and is_patched(module):
            library = name.partition(".")[0]
            raise LiveRouterError(
                f"{library} has replaced threads in this process, and liverouter needs two of its own",
                code="LR409",
                where="process",
                hint=f"Run it by threads or asyncio (gunicorn --worker-class gthread, celery --pool threads), "
                f"or call liverouter in a process that {library} has not patched.",
            )
