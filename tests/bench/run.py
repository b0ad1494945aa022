"""`python3 run.py bench`: measure everything in one run, print ratios against named baselines, write JSON and plots."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["LITELLM_MODE"], os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "PRODUCTION", "True"
os.environ.setdefault("LIVEROUTER_LOG_LEVEL", "error")
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.figures import document, table  # noqa: E402 - the path is made above
from tests.bench.world import World  # noqa: E402

if TYPE_CHECKING:
    from tests.bench.figures import Figure

MEASUREMENTS = ("start", "calls", "reloads", "names", "failover", "swaps", "fleet", "processes", "age")
PAGE_SCALE = 0.2  # a run of ten minutes on two cores that do nothing else


def main(arguments: list[str] | None = None) -> int:
    """Run the measurements; exit 0 whether goals are met or not: the table says it."""
    parser = argparse.ArgumentParser(prog="run.py bench", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="MEASUREMENT", help=f"of {', '.join(MEASUREMENTS)}; default: all")
    parser.add_argument("--scale", type=float, help="of the number of samples; 0.1 for a quick look, 1 by default")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures go")
    parser.add_argument("--plots", type=Path, help="folder for the plots; none by default")
    parser.add_argument(
        "--page",
        action="store_true",
        help=f"write figures and plots into docs/, from all measurements at scale {PAGE_SCALE:g} where none is given",
    )
    parser.add_argument("--proxy", type=Path, help="the command `litellm` with its proxy; without it that is left out")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(MEASUREMENTS):
        parser.error(f"unknown measurement: {', '.join(sorted(unknown))}")
    if options.page and options.only:
        parser.error("--page is of one run of all measurements")
    scale = options.scale or (PAGE_SCALE if options.page else 1.0)
    logging.disable(logging.CRITICAL)
    measured: dict[str, list[Figure]] = {}
    with World(scale=scale, litellm_proxy=options.proxy) as world:
        for name in options.only or MEASUREMENTS:
            began = time.monotonic()
            print(f"{name} …", end=" ", flush=True, file=sys.stderr)
            measured[name] = list(importlib.import_module(f"tests.bench.{name}").measure(world))
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    figures = [figure for found in measured.values() for figure in found]
    print(table(figures))
    run = document(measured, scale)
    options.json.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    if options.plots:
        from tests.bench.plots import draw

        draw(figures, options.plots)
    if options.page:
        from tests.bench.page import write

        write(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
