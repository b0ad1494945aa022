"""What every measurement needs: a PostgreSQL, stand-in providers in processes of their own, rows, and quick swaps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

import asyncpg
import httpx

from liverouter.embedded.server import EmbeddedPostgres
from liverouter.postgres.migrate import upgrade
from tests.kit.waiting import until

if TYPE_CHECKING:
    from types import TracebackType

    from liverouter.testing import MemoryRouter

_QUICK_LOOK: Final = 0.1  # the scale
KEYS = {"openai_api_key": "sk-bench", "anthropic_api_key": "sk-ant-bench"}


@dataclass
class World:
    """The surroundings of a run; enter it, and it is removed at the end."""

    scale: float = 1.0  # of the number of samples; 0.1 for a quick look
    litellm_proxy: Path | None = None  # the command `litellm` of an environment that has its proxy
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        """Start two providers."""
        self.openai, self.anthropic = (
            self._start(str(Path(__file__).with_name("provider.py")), name) for name in ("openai", "anthropic")
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started."""
        self._stack.close()

    @cached_property
    def server(self) -> EmbeddedPostgres:
        """The PostgreSQL, whose database `postgres` is migrated; started by the first measurement that wants one."""
        server = self._stack.enter_context(EmbeddedPostgres(settings={"max_connections": "2600"}))
        upgrade(server.dsn("postgres"), echo=lambda _: None)
        return server

    @property
    def dsn(self) -> str:
        """The URL of its database."""
        return self.server.dsn("postgres")

    def samples(self, full: int, least: int = 3) -> int:
        """Return how many samples to take where a full run takes *full*; below a quick look one tells that it runs."""
        return max(least if self.scale >= _QUICK_LOOK else 1, round(full * self.scale))

    def provider(self, name: str, *arguments: str) -> str:
        """Start a stand-in in a process of its own and return its API base."""
        return self._start("-m", "liverouter.testing", "--provider", name, *arguments)

    def proxy(self) -> tuple[str, str, int]:
        """Start LiteLLM's proxy over the two providers; return its API base, its key and its process id."""
        assert self.litellm_proxy is not None
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        models = [
            ("gpt-4o", {"model": "openai/gpt-4o", "api_base": self.openai, "api_key": "sk-bench"}),
            ("spare", {"model": "anthropic/claude-sonnet-4-6", "api_base": self.anthropic, "api_key": "sk-bench"}),
        ]
        config = {
            "model_list": [{"model_name": name, "litellm_params": params} for name, params in models],
            "router_settings": {"fallbacks": [{"gpt-4o": ["spare"]}]},
            "general_settings": {"master_key": (key := f"sk-{secrets.token_hex(32)}")},
        }
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        command = [
            str(self.litellm_proxy),
            "--config",
            str(folder / "config.yaml"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
        self._stack.callback(_end, process)
        base = f"http://127.0.0.1:{port}"
        until(lambda: process.poll() is not None or _answers(f"{base}/health/liveliness"), 600)
        if process.poll() is not None:
            raise RuntimeError("LiteLLM's proxy ended at its start")
        return f"{base}/v1", key, process.pid

    def _start(self, *arguments: str) -> str:
        """Start a Python process, to be ended with the run, and return the line it prints."""
        return self.lines(*arguments).readline().strip()

    def lines(self, *arguments: str) -> IO[str]:
        """Start a Python process, to be ended with the run, and return what it prints."""
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
        self._stack.callback(_end, process)
        assert process.stdout is not None
        return process.stdout

    def rows(self, **more: Any) -> dict[str, Any]:
        """Return the rows of openai with anthropic behind it, over the stand-ins."""
        return {
            "llm_provider": "openai",
            "llm_model": "gpt-4o",
            "openai_api_base": self.openai,
            "anthropic_api_base": self.anthropic,
            "llm_fallback_config": {"provider": "anthropic", "model": "claude-sonnet-4-6"},
        } | more

    def memory(self, **more: Any) -> MemoryRouter:
        """Return a client over rows in memory."""
        from liverouter.testing import MemoryRouter

        return MemoryRouter(self.rows(**more), secrets=KEYS)

    def write(self, **rows: Any) -> None:
        """Commit *rows* to the database in one transaction."""
        asyncio.run(self._write(rows))

    async def _write(self, rows: dict[str, Any]) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            async with connection.transaction():
                for key, value in rows.items():
                    await upsert(connection, key, value)
        finally:
            await connection.close()

    def environ(self) -> dict[str, str]:
        """Return the environment of a child process that runs a client of the database."""
        keys = {name.upper(): value for name, value in KEYS.items()}
        return {**os.environ, **keys, "LIVEROUTER_DATABASE_URL": self.dsn, "LIVEROUTER_LOG_LEVEL": "error"} | {
            "LIVEROUTER_READY_TIMEOUT_S": "300"  # a busy machine is measured by its CPU time
        }


async def upsert(connection: Any, key: str, value: Any) -> None:
    """Write one row."""
    await connection.execute(
        "INSERT INTO liverouter.settings (key, value) VALUES ($1, $2)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key,
        json.dumps(value),
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(10)
    if process.stdout is not None:
        process.stdout.close()
