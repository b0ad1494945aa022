"""Checks a config before it is stored: validates, builds, and on demand calls each deployment once.

Nothing is activated and nothing is stored. A client that runs in this process is not disturbed: the check has an
activation, cooldowns and counts of its own.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from liverouter.bus import Bus
from liverouter.chat.health import in_words
from liverouter.chat.source import OneGeneration
from liverouter.chat.usage import UsageCounter
from liverouter.engine.activation import Activation, Prepared, Rejected
from liverouter.engine.probes import probe
from liverouter.errors import LiveRouterError, Problem
from liverouter.generation import Store
from liverouter.loops.thread import LoopThread
from liverouter.revision import DEFAULT_NAME
from liverouter.routing.causes import kind_of
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from liverouter.config.environment import Environment
    from liverouter.revision import Deployment, Rows
    from liverouter.secrecy.sealing import Keyring

_CLOSE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentCall:
    """One deployment, called once.

    Attributes:
        name: of the model that it serves.
        role: "primary" or "fallback".
        credential_source: as of `Deployment`.
        endpoint: where the call went, as far as known; for people.
        duration_ms: milliseconds until the answer, or until it was clear that none comes.
        answered_by: the model that the provider says answered; None where none did.
        cost_usd: None where litellm's price list does not know the model, and where none answered.
        problem: why it did not answer; None where it did. It is LR323 where the provider refused the credential.
    """

    name: str
    provider: str
    model: str
    role: str
    order: int
    credential_source: str
    endpoint: str
    duration_ms: float
    answered_by: str | None = None
    cost_usd: float | None = None
    problem: Problem | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"problem": self.problem.as_dict() if self.problem else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found.

    Attributes:
        revision: the stored revision that was checked, or that the draft's changes were made to.
        problems: of the rows; errors first.
        deployments: ``openai/gpt-5.4``, of a named model ``fast: openai/gpt-5.4``; by name and order; empty where the
            rows make no config.
        calls: by name and order; empty unless calls were asked for.
    """

    revision: int
    problems: tuple[Problem, ...]
    deployments: tuple[str, ...] = ()
    calls: tuple[DeploymentCall, ...] = ()

    @property
    def ok(self) -> bool:
        """Tell whether the rows make a config without errors, and every call that was asked for was answered."""
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
    rows: Rows,
    *,
    environment: Environment,
    keyring: Keyring | None,
    live: bool = False,
    name: str | None = None,
    io: LoopThread | None = None,
    now: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Return whether *rows*, as they are stored or with a draft's changes, would serve.

    Takes seconds where litellm is not imported yet, without blocking the caller's loop.

    Args:
        rows: what is checked.
        environment: where values come from that no row gives.
        keyring: opens the secrets in *rows*; None where no key is configured.
        live: call each deployment that would serve once, all of them at once, with a few tokens and the configured
            timeout. That costs money.
        name: call those of this model alone; None calls all.
        io: the loop of those calls, a client's where the process has one; None opens one and ends it.
        now: is told what is under way, for people.
    """
    loop = io or LoopThread("liverouter-check")
    bus = Bus()
    usage = UsageCounter(bus=bus)
    activation = Activation(keyring=keyring, usage=usage, io=loop, store=Store(), bus=bus)
    calls: list[DeploymentCall] = []
    try:
        now(f"building revision {rows.revision}")
        outcome = await asyncio.to_thread(activation.prepare, rows, environment)
        if live and isinstance(outcome, Prepared):
            generation = outcome.generation
            views = [generation.named(called) for called in generation.models if name in (None, called)]
            asked = [(OneGeneration(loop, usage, view.alone(d)), d) for view in views for d in view.deployments]
            calls = await _call_all(asked, now)
    finally:
        if io is None:
            await asyncio.to_thread(loop.stop, _CLOSE_S)
    found, refused = outcome.validation, outcome.problems if isinstance(outcome, Rejected) else ()
    return CheckReport(
        revision=rows.revision,
        problems=tuple(dict.fromkeys((*refused, *found.problems))),
        deployments=tuple(map(_label, found.snapshot.deployments)) if found.snapshot is not None else (),
        calls=tuple(calls),
    )


def _label(deployment: Deployment) -> str:
    return deployment.label if deployment.name == DEFAULT_NAME else f"{deployment.name}: {deployment.label}"


async def _call_all(
    asked: Sequence[tuple[OneGeneration, Deployment]], now: Callable[[str], None]
) -> list[DeploymentCall]:
    """Return how each of *asked* answers, all of them at once; tell *now* whose answers are awaited."""
    awaited = [_label(deployment) for _, deployment in asked]

    async def call(source: OneGeneration, deployment: Deployment) -> DeploymentCall:
        done = await _call(source, deployment)
        awaited.remove(_label(deployment))
        now(f"waiting for {', '.join(awaited)}" if awaited else "")
        return done

    now(f"waiting for {', '.join(awaited)}")
    return await asyncio.gather(*(call(source, deployment) for source, deployment in asked))


async def _call(source: OneGeneration, deployment: Deployment) -> DeploymentCall:
    """Return how *deployment*, the one of *source*, answers; what a provider's library raises becomes a Problem."""
    said: dict[str, Any] | None = None
    problem = None
    started = time.monotonic()
    try:
        said = (await probe(source, deployment)).response_metadata
    except Exception as exc:  # noqa: BLE001 - a provider's library raises what it likes
        problem = _problem(deployment, exc)
    duration_ms = (time.monotonic() - started) * 1000
    return DeploymentCall(
        name=deployment.name,
        provider=deployment.provider,
        model=deployment.model,
        role=deployment.role,
        order=deployment.order,
        credential_source=deployment.credential_source,
        endpoint=deployment.endpoint,
        duration_ms=duration_ms,
        answered_by=None if said is None else said.get("model_name") or deployment.model,
        cost_usd=None if said is None else said["liverouter"]["cost_usd"],
        problem=problem,
    )


def _problem(deployment: Deployment, exc: Exception) -> Problem:
    """Return why *deployment* did not answer, without a secret."""
    if isinstance(exc, LiveRouterError):
        return exc.problem
    said = mask(" ".join(str(exc).split()), 200)
    what = in_words(exc) + (f" ({said})" if said else "")
    code = "LR323" if kind_of(exc) in ("authentication", "permission") else "LR302"
    return Problem(code, f"{deployment.label} did not answer: {what}", deployment.endpoint, _hint(deployment, exc))


def _hint(deployment: Deployment, exc: Exception) -> str:
    """Return how to mend what *exc*, an error of a call to *deployment*, was caused by."""
    match kind_of(exc):
        case "authentication" | "permission":
            return f"Check {deployment.credential_source or 'its credential'}, and what it may use"
        case "not_found":
            return "Check the model's name and the base URL"
        case "rate_limit":
            return "Wait, or raise the quota"
        case "timeout" | "connection":
            return "Check the base URL, proxies and firewalls, and how long one attempt may take"
        case _:
            return "Look at the provider's status page, and at the parameters of this deployment"
