"""No call pays for what a process has to load once: it is loaded before a config goes live."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.kit.dialects import DIALECTS

SCRIPT: Final = """
import sys
import warnings

warnings.simplefilter("error", RuntimeWarning)
from liverouter.testing import StandIn
from tests.kit.dialects import DIALECTS
from tests.kit.standins import live

SCHEMA = {"type": "object", "properties": {}}
TOOL = {"type": "function", "function": {"name": "add", "description": "", "parameters": SCHEMA}}
PAID_BEFORE = {"litellm", "mcp", "fastapi", "starlette", "openai", "anthropic", "google", "tiktoken"}

def late(names):
    return sorted(name for name in names if name.partition(".")[0] in PAID_BEFORE)

for dialect in DIALECTS.values():
    with StandIn(dialect.provider) as standin, live(standin, model=dialect.model) as client:
        assert standin.requests == (), "building a generation sent something"
        handle, before = client.chat_model(), set(sys.modules)
        handle.invoke("hi")
        list(handle.stream("hi"))
        handle.bind_tools([TOOL]).invoke("add")
        standin.fail("401")
        try:
            handle.invoke("hi")
        except Exception:
            pass
        assert not hasattr(sys.modules["litellm.utils"], "json_data"), "8 MB that nobody reads"
        print(dialect.name.replace(" ", "-"), *late(set(sys.modules) - before))
    if dialect.name == "openai":  # and Claude went before it
        assert "litellm.litellm_core_utils.default_encoding" not in sys.modules, "40 MB that count nothing"

# After a swap of the native engine to a provider that it has never called.
from pydantic._internal._generate_schema import GenerateSchema

built, generate = [], GenerateSchema.generate_schema

def counted(self, schema):
    built.append(schema)
    return generate(self, schema)

GenerateSchema.generate_schema = counted
with StandIn("openai") as openai, StandIn("anthropic") as claude, live(openai, litellm_enable=False) as client:
    handle = client.chat_model()
    client.set(**claude.rows("claude-sonnet-4-6"), secrets=claude.secrets())
    assert built, "nothing was gone through"
    assert claude.requests == (), "a swap sent something"
    built.clear()
    before = set(sys.modules)
    handle.invoke("hi")
    list(handle.stream("hi"))
    handle.bind_tools([TOOL]).invoke("add")
    assert not built, built
    print("swapped", *late(set(sys.modules) - before))
"""


def test_first_calls_import_nothing() -> None:
    """After a config is live, the first answer, stream, tool call and error of each provider load no module.

    Nor does the first call after a swap of the native engine, which builds no schema of the provider's library either.
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*(name.replace(" ", "-") for name in DIALECTS), "swapped"]
    assert [line for line in lines if len(line.split()) > 1] == []
