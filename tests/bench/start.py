"""What a process pays once: imports, the first answer, the warm `get_chat_model()`."""

from __future__ import annotations

import subprocess
import sys
import timeit
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Figure, median

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.world import World

_IMPORT = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
_SAY = """
import resource, time
print(time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""  # CPU seconds of the process, MB of memory (Linux counts kB)
_ROUTER = """
import os
os.environ["LITELLM_MODE"], os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "PRODUCTION", "True"
import litellm
params = {{"model": "openai/gpt-4o", "api_key": "sk-bench", "api_base": "{openai}"}}
router = litellm.Router(model_list=[{{"model_name": "m", "litellm_params": params}}])
router.completion(model="m", messages=[{{"role": "user", "content": "hi"}}])
"""
_CHAT_OPENAI = """
from langchain_openai import ChatOpenAI
ChatOpenAI(model="gpt-4o", base_url="{openai}", api_key="sk-bench").invoke("hi")
"""
_WITH_FALLBACKS = """
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
spare = ChatAnthropic(model="claude-sonnet-4-6", base_url="{anthropic}", api_key="sk-bench")
ChatOpenAI(model="gpt-4o", base_url="{openai}", api_key="sk-bench").with_fallbacks([spare]).invoke("hi")
"""
_OURS = """
from liverouter import get_chat_model
get_chat_model().invoke("hi")
"""
_WARM = "def baseline(): return value\nvalue = object()"


def measure(world: World) -> Iterator[Figure]:
    """Yield the cost of imports, of a process's first answer with each engine, and of the warm call."""
    count = world.samples(9)
    lines = {"ours": "from liverouter import get_chat_model", "langchain_core": "import langchain_core"}
    imports: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(count):
        for name, line in lines.items():
            imports[name] += _run(_IMPORT.format(line), world)
    yield Figure(
        what="CPU of `from liverouter import get_chat_model`",
        ours=median(imports["ours"]),
        baseline=median(imports["langchain_core"]),
        against="`import langchain_core`",
        unit="s",
        limit=0.15,
        samples=count,
    )
    alone: dict[str, Any] = {"llm_fallback_config": None}
    for rows, ours, baseline, code, goal in (
        (alone | {"litellm_enable": False}, "native engine", "ChatOpenAI", _CHAT_OPENAI, 1.25),
        ({"litellm_enable": False}, "native engine, a fallback", "ChatOpenAI.with_fallbacks", _WITH_FALLBACKS, None),
        (alone, "litellm engine", "a bare Router", _ROUTER, 1.15),
    ):
        world.write(**world.rows(litellm_enable=True) | rows)
        yield from _first_answer(
            world, ours, baseline, code.format(openai=world.openai, anthropic=world.anthropic), goal
        )
    yield from _warm(world)


def _first_answer(world: World, ours: str, baseline: str, code: str, goal: float | None) -> Iterator[Figure]:
    """Yield CPU and memory from a process's start to its first answer, against what *code* takes for one."""
    taken: dict[str, list[list[float]]] = {"ours": [], "baseline": []}
    for _ in range(world.samples(25, 1)):
        taken["ours"].append(_run(_OURS + _SAY, world))
        taken["baseline"].append(_run(code + _SAY, world))
    for index, (what, unit) in enumerate((("CPU", "s"), ("memory", "MB"))):
        series = {name: [values[index] for values in runs] for name, runs in taken.items()}
        yield Figure(
            what=f"process start → first answer: {what}, {ours}",
            ours=median(series["ours"]),
            baseline=median(series["baseline"]),
            against=baseline,
            unit=unit,
            goal=goal,
            samples=len(taken["ours"]),
            series=series,
        )


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


def _run(code: str, world: World) -> list[float]:
    """Return the numbers that *code* prints last, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=world.environ())
    return [float(number) for number in done.stdout.splitlines()[-1].split()]
