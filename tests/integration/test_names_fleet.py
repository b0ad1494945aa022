"""A fleet whose names are swapped one by one: what the other names have stays as it is, and nothing piles up."""

from __future__ import annotations

import gc
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import psutil
import pytest

from liverouter.generation import Generation
from liverouter.testing import MemoryRouter, StandIn
from tests.kit.standins import primary, served

FLEET: Final = (True, True, False)  # of each client, whether litellm makes its calls
SWAPS: Final = 40  # of each client: 120 in all
CALL_EVERY: Final = 4  # swaps; often, for what is idle for long is closed by itself
SWAPPED: Final = ("default", "fast", "summary")  # "planner" has a call in flight, "spare" a place that cools
MOST_GIVEN_UP: Final = 12  # connections that were idle for too long, on a busy machine; half of a client's calls
LEFT: Final = 6  # generations of one client: the one in force, the one before, and those that a caller may hold
MOST_THINGS: Final = 3_000  # objects; each generation and each Router has hundreds of its own
WORDS: Final = "one two three four"


def row(model: str, **members: Any) -> dict[str, Any]:
    """Return the row of a named model with a fallback."""
    spare = {"provider": "anthropic", "model": "claude-haiku-4-5"}
    return {"provider": "openai", "model": model, "fallbacks": spare, **members}


class Member:
    """One client of the fleet, and which model each of its names is to be served by."""

    def __init__(self, client: MemoryRouter) -> None:
        self.client, self.engine = client, "litellm" if client.generation().snapshot.litellm_enable else "native"
        self.serving = {"default": "claude-sonnet-4-6", "fast": "fast-0", "summary": "summary-0"}
        self.models = {name: client.chat_model(name) for name in self.serving}

    def begin(self, openai: StandIn) -> None:
        """Ask each name once; "spare" finds that its place is to be left alone."""
        openai.fail("401", times=1)
        assert served(self.client.chat_model("spare").invoke("hi"))["role"] == "fallback"
        for name in self.serving:
            self.ask(name)
        self.cooling = set(self.client.cooldowns.active())

    def swap(self, name: str, number: int) -> None:
        """Change the row of *name*: what the others have is not built anew."""
        before = self.client.generation()
        if name == "default":
            self.client.set(llm_temperature=number / 1000)
        else:
            self.serving[name] = f"{name}-{1 + int(self.serving[name][-1]) % 7}"
            self.client.set(**{f"llm:{name}": row(self.serving[name])})
        after = self.client.generation()
        alike = {other for other in before.models if before.models[other] is after.models[other]}
        assert alike == {*before.models} - {name}

    def ask(self, name: str) -> None:
        """Make a call, which the name's own model answers at the first try."""
        told = served(self.models[name].invoke("hi"))
        assert (told["name"], told["model"], told["attempts"]) == (name, self.serving[name], 1)
        assert told["engine"] == self.engine


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """A stand-in remembers few requests: what it keeps is counted, too."""
    return {"keep": 5}


def test_swaps_of_single_names_leave_the_others_alone(openai: StandIn, anthropic: StandIn) -> None:
    """Calls of other names, in flight and beside each swap, their connections, cooldowns and parts; and memory.

    Of three clients in one process, by both engines.
    """
    chance = random.Random(17)  # noqa: S311 - which row changes is no secret
    rows = {**primary(anthropic), **openai.rows(), "litellm_cooldown_time": 3600}
    rows |= {f"llm:{name}": row(f"{name}-0") for name in ("fast", "summary", "spare")}
    with StandIn("openai") as slow, ThreadPoolExecutor(1) as caller, ExitStack() as entered:
        rows["llm:planner"] = row("planner", api_base=slow.api_base, timeout=3000)
        secrets = anthropic.secrets() | openai.secrets()
        clients = [MemoryRouter(rows | {"litellm_enable": enabled}, secrets=secrets) for enabled in FLEET]
        fleet = [Member(entered.enter_context(client)) for client in clients]
        for member in fleet:
            member.begin(openai)
        slow.respond(*[WORDS] * len(FLEET))
        with slow.hold(after_chunks=1):
            streams = [member.client.chat_model("planner").stream("hi") for member in fleet]
            firsts, connections = [next(stream) for stream in streams], openai.accepted + anthropic.accepted
            halfway: dict[str, int] = {}
            for number in range(SWAPS):
                changed, other = chance.sample(SWAPPED, 2)
                for member in fleet:
                    call = caller.submit(member.ask, other) if number % CALL_EVERY == 0 else None
                    member.swap(changed, number)
                    if call is not None:
                        call.result(60)
                if number == SWAPS // 2:
                    halfway = held(fleet)
            more = {kind: count - halfway[kind] for kind, count in held(fleet).items()}
            given_up = openai.accepted + anthropic.accepted - connections
        for first, stream in zip(firsts, streams, strict=True):
            said = sum(stream, first)
            assert (said.content, served(said)["name"], served(said)["revision"]) == (WORDS, "planner", 1)
        assert given_up <= MOST_GIVEN_UP, "connections stay, however often models are swapped"
        assert more["things"] < MOST_THINGS, more
        assert more["descriptors"] <= MOST_GIVEN_UP, more
        assert more["callbacks"] == 0, more
        assert halfway["generations"] <= LEFT * len(fleet)
        assert [set(member.client.cooldowns.active()) for member in fleet] == [member.cooling for member in fleet]


def held(fleet: list[Member]) -> dict[str, int]:
    """Return how many things this process holds, once what waits to be reported is taken away."""
    for member in fleet:
        member.client.usage.drain()
    gc.collect()
    things = gc.get_objects()
    of_litellm = vars(sys.modules.get("litellm", object)).items()
    lists = [value for name, value in of_litellm if "callback" in name and isinstance(value, list)]
    return {
        "things": len(things),
        "generations": sum(type(thing) is Generation for thing in things),  # others may be asked what they stand for
        "descriptors": psutil.Process().num_fds(),
        "callbacks": sum(map(len, lists)),
    }
