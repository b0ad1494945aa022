"""The floor of commit → live, as a process: raw asyncpg NOTIFY callback, one 20-row read, and a bare Router() build.

Run by `reloads` in a process of its own: ``python bare.py DSN BASE``. Prints ``ready``, then for each notification the
revision and the monotonic second at which its Router stood.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time

os.environ["LITELLM_MODE"], os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "PRODUCTION", "True"


async def main(dsn: str, base: str) -> None:
    """Listen, read, build, for ever."""
    import asyncpg
    import litellm

    gc.collect()
    gc.freeze()
    listener, reader = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    wanted = asyncio.Event()
    await listener.add_listener("liverouter", lambda *_: wanted.set())
    print("ready", flush=True)  # noqa: T201 - the parent reads it
    router = None
    while True:
        await wanted.wait()
        wanted.clear()
        rows = await reader.fetch("SELECT key, value FROM liverouter.settings LIMIT 20")
        revision = await reader.fetchval("SELECT revision FROM liverouter.head")
        former, key = router, "sk-bench"
        models = [("openai/gpt-4o", base, 1), ("anthropic/claude-sonnet-4-6", base, 2)]
        router = litellm.Router(
            model_list=[
                {"model_name": "m", "litellm_params": {"model": m, "api_base": b, "api_key": key, "order": o}}
                for m, b, o in models
            ]
        )
        if former is not None:
            former.discard()
        assert rows
        print(revision, time.monotonic(), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
