"""Asks a config before anybody lives by it: validates, builds, and on demand calls each deployment once.

Nothing is swapped in and nothing is stored. A client that runs in the same process is not disturbed: the check has an
activation of its own, and so cooldowns and counts of its own.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from liverouter.chat.model import LiveChatModel
from liverouter.chat.usage import UsageCounter
from liverouter.engine.activation import Activation, Prepared, Rejected
from liverouter.errors import LiveRouterError, Problem
from liverouter.events import Bus
from liverouter.generation import Store
from liverouter.loops.thread import LoopThread
from liverouter.routing.causes import kind_of
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from liverouter.config.environment import Environment
    from liverouter.generation import Generation
    from liverouter.revision import Deployment, Rows, Snapshot
    from liverouter.secrecy.sealing import Keyring

_PROMPT: Final = "Answer with the word ok."
_MAX_TOKENS: Final = 16  # the least that every provider takes
_GRACE_S: Final = 5.0  # after the configured timeout, for a library that does not heed it
_CLOSE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One deployment, called once."""

    provider: str
    model: str
    role: str  # primary or fallback
    order: int
    endpoint: str
    duration_ms: float
    answered_by: str | None = None  # the model that the provider says answered; None: none did
    cost_usd: float | None = None  # None: litellm's price list does not know the model
    problem: Problem | None = None  # why it did not answer

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"problem": self.problem.as_dict() if self.problem else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found."""

    revision: int  # the stored revision that was checked, or that the draft was laid over
    problems: tuple[Problem, ...]  # errors first
    deployments: tuple[str, ...] = ()  # "openai/gpt-4o", by order; empty where the rows make no config
    calls: tuple[Call, ...] = ()  # by order; empty unless calls were asked for

    @property
    def ok(self) -> bool:
        """Tell whether the config can serve, as far as was asked."""
        return not any(p.severity == "error" for p in self.problems) and not any(c.problem for c in self.calls)

    def as_dict(self) -> dict[str, Any]:
        """Return the report, ready for JSON."""
        return {
            "ok": self.ok,
            "revision": self.revision,
            "problems": [p.as_dict() for p in self.problems],
            "deployments": list(self.deployments),
            "calls": [call.as_dict() for call in self.calls],
        }


async def check(
    raw: Rows,
    *,
    environment: Environment,
    keyring: Keyring | None,
    live: bool = False,
    io: LoopThread | None = None,
) -> CheckReport:
    """Return whether *raw*, the stored rows or a draft laid over them, would serve.

    With *live*, each deployment that would serve is called once, all at the same time, with a few tokens and the
    configured timeout. *io* is the loop for those calls: a process that has a client gives that client's, any other
    lets the check open one and end it. Takes seconds where litellm is not imported yet.
    """
    loop = io or LoopThread("liverouter-check")
    bus = Bus()
    usage = UsageCounter(bus=bus)
    activation = Activation(keyring=keyring, usage=usage, io=loop, store=Store(), bus=bus)
    calls: list[Call] = []
    try:
        outcome = await asyncio.to_thread(activation.prepare, raw, environment)
        if live and isinstance(outcome, Prepared):
            alone = _each_alone(outcome.generation.snapshot)
            generations = await asyncio.to_thread(lambda: [activation.build(snapshot, 0) for snapshot in alone])
            calls = await asyncio.gather(*(_call(_Source(loop, usage, generation)) for generation in generations))
    finally:
        if io is None:
            await asyncio.to_thread(loop.stop, _CLOSE_S)
    found, refused = outcome.validation, outcome.problems if isinstance(outcome, Rejected) else ()
    return CheckReport(
        revision=raw.revision,
        problems=tuple(dict.fromkeys((*refused, *found.problems))),
        deployments=tuple(d.label for d in found.snapshot.deployments) if found.snapshot is not None else (),
        calls=tuple(calls),
    )


def _each_alone(snapshot: Snapshot) -> list[Snapshot]:
    """Return one snapshot per deployment that would serve, each without a second try."""
    serving = snapshot.deployments if snapshot.litellm_enable else snapshot.deployments[:1]
    return [replace(snapshot, deployments=(deployment,), num_retries=1) for deployment in serving]


async def _call(source: _Source) -> Call:
    """Return how the one deployment of the source's generation answers."""
    snapshot = source.current.snapshot
    deployment = snapshot.primary
    said: dict[str, Any] | None = None
    problem = None
    started = time.monotonic()
    try:
        model = LiveChatModel(source=source, max_tokens=_MAX_TOKENS)
        async with asyncio.timeout(snapshot.timeout_s + _GRACE_S):
            said = (await model.ainvoke(_PROMPT)).response_metadata
    except Exception as exc:  # noqa: BLE001 - whatever a provider's library raises is the finding
        problem = _problem(deployment, exc)
    duration_ms = (time.monotonic() - started) * 1000
    return Call(
        provider=deployment.provider,
        model=deployment.model,
        role=deployment.role,
        order=deployment.order,
        endpoint=deployment.endpoint,
        duration_ms=duration_ms,
        answered_by=None if said is None else said.get("model_name") or deployment.model,
        cost_usd=None if said is None else said["liverouter"]["cost_usd"],
        problem=problem,
    )


class _Source:
    """A chat model's source that knows one generation, which no store holds."""

    def __init__(self, io: LoopThread, usage: UsageCounter, current: Generation) -> None:
        self.io, self.usage, self.current = io, usage, current

    def generation(self) -> Generation:
        return self.current

    async def async_generation(self) -> Generation:
        return self.current


def _problem(deployment: Deployment, exc: Exception) -> Problem:
    """Return why *deployment* did not answer, without a secret."""
    if isinstance(exc, LiveRouterError):
        return exc.problem
    status = getattr(exc, "status_code", None)
    said = mask(" ".join(str(exc).split()), 200)
    what = f"{type(exc).__name__}{f' {status}' if isinstance(status, int) else ''}" + (f" ({said})" if said else "")
    return Problem("LR302", f"{deployment.label} did not answer: {what}", deployment.endpoint, _hint(deployment, exc))


def _hint(deployment: Deployment, exc: Exception) -> str:
    match kind_of(exc):
        case "authentication" | "permission":
            return f"Check {deployment.credential_source or 'its credential'}, and what it may use"
        case "not_found":
            return "Check the model's name and the base URL"
        case "rate_limit":
            return "Wait, or raise the quota"
        case "timeout" | "connection":
            return "Check the base URL, proxies and firewalls; litellm_timeout bounds one attempt"
        case _:
            return "Look at the provider's status page, and at the parameters of this deployment"
