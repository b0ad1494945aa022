"""`liverouter demo`: the whole path on one machine, thrown away at the end.

A PostgreSQL of its own, two stand-in providers that speak real wire formats on loopback, and two worker processes that
keep asking two models, the default and one by its name. Everything it starts ends with it: workers and server notice
when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from liverouter.daemon.own_database import make_login
from liverouter.demo.crew import Crew, DemoError
from liverouter.demo.screen import Screen
from liverouter.demo.story import KEYS, Story
from liverouter.embedded.binaries import find_binaries
from liverouter.embedded.server import EmbeddedPostgres
from liverouter.postgres import migrate
from liverouter.postgres.connection import connect
from liverouter.postgres.dsn import Dsn
from liverouter.testing import StandIn

_WORKERS: Final = ("worker-1", "worker-2")
_LOGIN: Final = "demo"  # of the workers and of a user who plays on; the superuser's password is printed nowhere
_ROLES: Final = ("liverouter_client", "liverouter_writer", "liverouter_inspector")
_CONNECT_S: Final = 10.0
_READY_S: Final = 120  # for the import of litellm, twice at a time, on a busy machine
_KEPT_REQUESTS: Final = 100  # that each stand-in remembers: with --keep it may run for days


def run_demo(*, keep: bool = False, pace_s: float = 2.0) -> int:
    """Play the story and return 0, or 1 where a call failed or a step did not happen in time; blocks.

    With *keep*, everything stays up afterwards until Ctrl-C. *pace_s* is the time between two acts.

    Raises:
        EmbeddedError: no PostgreSQL can run here.
        DatabaseError: the schema cannot be installed.
        KeyboardInterrupt: Ctrl-C during the story; everything has ended by then.
    """
    try:
        return asyncio.run(_demo(keep=keep, pace_s=pace_s))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM


async def _demo(*, keep: bool, pace_s: float) -> int:
    """Do what `run_demo` does, on a loop of its own; whatever was started has ended when it returns or is cancelled."""
    _end_on_sigterm()
    async with contextlib.AsyncExitStack() as stack:
        crew = Crew(log=stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115 - the stack closes it
        screen = stack.enter_context(Screen(lambda: crew.workers))
        try:
            story, url = await _set_up(stack, crew, screen, pace_s)
            ok = await story.play()
            if keep:
                with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
                    await story.go_on(_invitation(url))
        except DemoError as exc:
            screen.title("The demo failed")
            screen.say(str(exc))
            return 1
        return 0 if ok else 1


async def _set_up(stack: contextlib.AsyncExitStack, crew: Crew, screen: Screen, pace_s: float) -> tuple[Story, str]:
    """Start everything but the story; return that, and a URL of the database for a login that may change settings.

    *stack* gets what ends each part, *screen* a line about each.
    """
    screen.title(
        "Rows in PostgreSQL become a live chat model. Everything runs on this machine and is removed at the end."
    )
    server = stack.enter_context(EmbeddedPostgres())
    screen.say(f"a throw-away PostgreSQL listens on {server.host}:{server.port}")
    schema = await asyncio.to_thread(migrate.upgrade, server.dsn())
    screen.say(f"schema liverouter is installed in it ({schema})")
    password = secrets.token_urlsafe(24)
    await make_login(server.dsn(), _LOGIN, password, _ROLES)
    url = server.dsn(user=_LOGIN, password=password)
    openai, anthropic = (
        stack.enter_context(StandIn(name, accept_keys=[KEYS[name]], keep=_KEPT_REQUESTS)) for name in KEYS
    )
    screen.say(f"two stand-in providers answer: OpenAI's API at {openai.api_base}, Anthropic's at {anthropic.api_base}")
    connection = await connect(Dsn.parse(server.dsn()), application_name="demo", timeout_s=_CONNECT_S)
    stack.push_async_callback(connection.close)
    story = Story(connection=connection, crew=crew, screen=screen, openai=openai, anthropic=anthropic, pace_s=pace_s)
    await story.write_first_rows()
    stack.push_async_callback(crew.stop)  # the workers say goodbye to the server, so they end before it
    await crew.start(_WORKERS, _environment(url))
    pids = " and ".join(str(worker.pid) for worker in crew.workers)
    screen.say(f"two worker processes (pid {pids}) import litellm, then ask two models four times a second:")
    screen.say('get_chat_model(), and get_chat_model("summary"), which has a row of its own')
    return story, url


def _environment(url: str) -> dict[str, str]:
    """Return the environment variables that tell a worker where to go: the database, and the stand-ins' keys."""
    keys = {f"{provider.upper()}_API_KEY": key for provider, key in KEYS.items()}
    return {"LIVEROUTER_DATABASE_URL": url, "LIVEROUTER_READY_TIMEOUT_S": str(_READY_S), **keys}


def _invitation(url: str) -> list[str]:
    """Return lines that say what to type in another terminal."""
    binaries = find_binaries()
    psql = shlex.quote(binaries.program("psql")) if binaries else "psql"
    liverouter = shlex.quote(str(Path(sys.executable).with_name("liverouter")))
    statement = r"UPDATE liverouter.settings SET value = '\"claude-haiku-4-5\"' WHERE key = 'llm_model'"
    return [
        "Everything stays up until Ctrl-C. In another terminal:",
        "",
        f"  export LIVEROUTER_DATABASE_URL={shlex.quote(url)}",
        f"  {liverouter} show",
        f"  {liverouter} set llm_model=claude-opus-4-6 --wait",
        f"  {liverouter} set llm:summary=openai/gpt-5.4 --wait",
        f'  {psql} "$LIVEROUTER_DATABASE_URL" -c "{statement}"',
        "",
    ]


def _end_on_sigterm() -> None:
    """Have SIGTERM, and the SIGHUP of a closed terminal, cancel the running task, so that all ends in order."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: task.cancel() if task is not None else None)
