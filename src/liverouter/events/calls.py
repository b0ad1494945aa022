"""What happens to calls, and to the deployments that they ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from liverouter.events.event import Event, Level


@dataclass(frozen=True, slots=True)
class ModelAsked(Event):
    """The application asks for a named model, the first time in this process; without a row it has the default's."""

    name: ClassVar[str] = "model.asked"
    level: ClassVar[Level] = "debug"
    model: str
    app: str


@dataclass(frozen=True, slots=True)
class CallFailedOver(Event):
    """A call was answered by a fallback; `suppressed` counts the same ones since the last line.

    Attributes:
        cause: exception class and status, no text of the provider.
        model: the named model that was asked; empty for the default.
        suppressed: calls with equal deployments, cause and model since the last such event.
    """

    name: ClassVar[str] = "call.failed_over"
    level: ClassVar[Level] = "warning"
    from_deployment: str
    to_deployment: str
    cause: str
    model: str = ""
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class CallFailed(Event):
    """Nobody answered a call, and not because of the call; `suppressed` counts the same ones since the last line.

    Attributes:
        named: the name that it was made under; "default" where none was given.
        deployments: those that were asked, in this order.
        causes: why each did not answer: exception class and status, no text of the provider.
        suppressed: calls with equal name, deployments and causes since the last such event.
    """

    name: ClassVar[str] = "call.failed"
    level: ClassVar[Level] = "error"
    named: str
    deployments: tuple[str, ...]
    causes: tuple[str, ...]
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class ProbeFailed(Event):
    """A deployment that nobody had called was asked by `llm_probe_interval_h`, and did not answer.

    Attributes:
        cause: in words, no text of the provider.
    """

    name: ClassVar[str] = "probe.failed"
    level: ClassVar[Level] = "warning"
    deployment: str
    cause: str


@dataclass(frozen=True, slots=True)
class DeploymentCooling(Event):
    """A deployment is left alone for a while, because it failed; the others get its calls.

    Attributes:
        cause: exception class and status, no text of the provider.
        duration_s: how long it is left alone.
        suppressed: how often it began to cool for this cause since the last such event.
    """

    name: ClassVar[str] = "deployment.cooling"
    level: ClassVar[Level] = "warning"
    deployment: str
    cause: str
    duration_s: float
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class DeploymentRecovered(Event):
    """A deployment answers again, after `call.failed`, `probe.failed` or `deployment.cooling` named it."""

    name: ClassVar[str] = "deployment.recovered"
    deployment: str
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class CallFitted(Event):
    """What a call asks for was left out or changed, as the deployment that was asked takes it.

    Attributes:
        parameters: names of parameters, and of tools as ``tool web_search``; no values.
        model: the named model that was asked; empty for the default.
    """

    name: ClassVar[str] = "call.fitted"
    level: ClassVar[Level] = "debug"
    deployment: str
    parameters: tuple[str, ...]
    model: str = ""


@dataclass(frozen=True, slots=True)
class HistoryFitted(Event):
    """A conversation held what the model asked does not take; it was sent without, or with what was missing.

    Attributes:
        changes: what was left out or made up, and how often; nothing of the conversation's content.
        model: the named model that was asked; empty for the default.
    """

    name: ClassVar[str] = "history.fitted"
    level: ClassVar[Level] = "debug"
    deployment: str
    changes: tuple[str, ...]
    model: str = ""
