"""What a process pays once: imports, the first answer, the warm `get_chat_model()`."""

from __future__ import annotations

import subprocess
import sys
import timeit
from typing import TYPE_CHECKING

from tests.bench.figures import Figure, median

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.world import World

_CPU = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
_WALL = "import time; began = time.perf_counter()\n{}\nprint(time.perf_counter() - began)"
_BARE = """
import os
os.environ["LITELLM_MODE"], os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "PRODUCTION", "True"
import litellm
params = {{"model": "openai/gpt-4o", "api_key": "sk-bench", "api_base": "{base}"}}
router = litellm.Router(model_list=[{{"model_name": "m", "litellm_params": params}}])
router.completion(model="m", messages=[{{"role": "user", "content": "hi"}}])
"""
_OURS = """
from liverouter import get_chat_model
get_chat_model().invoke("hi")
"""
_WARM = "def baseline(): return value\nvalue = object()"


def measure(world: World) -> Iterator[Figure]:
    """Yield the cost of imports, of a process's first answer, and of the warm call."""
    count = world.samples(9)
    imports = {name: [] for name in ("liverouter", "langchain_core")}  # type: dict[str, list[float]]
    for _ in range(count):
        for name, times in imports.items():
            times.append(_run(_CPU.format(f"import {name}"), world))
    yield Figure(
        what="CPU of `import liverouter`",
        ours=median(imports["liverouter"]),
        baseline=median(imports["langchain_core"]),
        against="`import langchain_core`",
        unit="s",
        limit=0.15,
        samples=count,
    )
    world.write(**world.rows())
    first: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(max(3, count // 2)):
        first["ours"].append(_run(_WALL.format(_OURS), world))
        first["bare"].append(_run(_WALL.format(_BARE.format(base=world.openai)), world))
    yield Figure(
        what="process start → first answer",
        ours=median(first["ours"]),
        baseline=median(first["bare"]),
        against="`import litellm` + bare Router + call",
        unit="s",
        goal=1.1,
        samples=len(first["ours"]),
        series=first,
    )
    yield from _warm(world)


def _warm(world: World) -> Iterator[Figure]:
    from liverouter import get_chat_model

    names: dict[str, object] = {}
    exec(_WARM, names)  # noqa: S102 - a function that returns a module global, in a module of its own
    with world.memory():
        number = 1_000_000
        ours = min(timeit.repeat(get_chat_model, number=number, repeat=5)) / number * 1e6
        baseline = min(timeit.repeat(names["baseline"], number=number, repeat=5)) / number * 1e6  # type: ignore[arg-type]
    yield Figure(
        what="`get_chat_model()`, warm",
        ours=ours,
        baseline=baseline,
        against="a function that returns a module global",
        unit="µs",
        goal=3.0,
        limit=0.5,
        samples=5,
    )


def _run(code: str, world: World) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=world.environ())
    return float(done.stdout.split()[-1])
