"""What the API says of processes: where each stands, what it serves, how calls went. Contract, as `models` is."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from liverouter.daemon.problem_details import ProblemModel


class LastError(BaseModel):
    """The newest error that still holds."""

    code: str
    message: str
    hint: str
    where: str
    revision: int | None


class OwnDeployment(BaseModel):
    """One deployment that this process serves a model with."""

    name: str = Field(description="Of the model.")
    deployment_id: str
    role: str
    order: int
    provider: str
    model: str


class OwnStatus(BaseModel):
    """Where this process stands; it is one of the instances."""

    version: str
    instance: str
    database: str
    state: str
    revision: int | None
    desired_revision: int | None
    generation: int | None
    mode: str
    mode_cause: str
    since: datetime
    litellm_enable: bool | None
    last_error: LastError | None
    problems: list[ProblemModel]
    deployments: list[OwnDeployment] = Field(description="Of all models, the default's first, by order.")


class Liveness(BaseModel):
    """The event loop answers."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """Whether this process serves calls. A lost database does not change that, unless it is the daemon's own."""

    status: Literal["ready", "degraded", "not_ready"]
    state: str
    revision: int | None
    degraded: list[str] = Field(description="Codes of what is wrong.")


class Instance(BaseModel):
    """One process that runs a client."""

    instance: str
    app: str
    host: str
    pid: int | None
    labels: dict[str, str]
    state: str
    applied_revision: int | None
    rejected_revision: int | None
    generation: int | None
    litellm_enable: bool | None
    error_code: str | None
    error: str | None
    hint: str | None
    mode: str
    mode_cause: str | None
    applied_at: datetime | None
    commit_to_live_ms: float | None = Field(description="For the head revision; null if the process started later.")
    heartbeat_at: datetime
    started_at: datetime
    since: datetime | None
    liverouter: str | None
    litellm: str | None
    python: str | None
    role: str = Field(description="The login that reports for it; all else is its own word.")


class Serving(BaseModel):
    """One deployment that serves a model somewhere."""

    name: str = Field(description="Of the model.")
    deployment_id: str
    role: str
    order: int | None
    provider: str
    model: str
    endpoint: str | None
    fingerprint: str | None
    credential_source: str | None
    processes: int
    revision: int | None = Field(description="The newest that any of them serves it with.")
    cooling: int = Field(description="On how many of them it cools after failures.")
    cooling_until: datetime | None
    answered_on: date | None = Field(description="The day (UTC) of its last answer, also to a probe; null: none in 14.")


class RolloutRow(BaseModel):
    """How a revision came to the processes."""

    revision: int
    committed_at: datetime
    applied: int
    rejected: int
    pending: int
    p50_ms: float | None
    p99_ms: float | None
    slowest: str | None
    slowest_instance: str | None


class UsagePoint(BaseModel):
    """One minute of one deployment under one name, all processes together."""

    minute: datetime
    name: str
    deployment_id: str
    role: str
    provider: str
    model: str
    calls: int
    failures: int
    failovers: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    latency_ms: float | None = Field(description="Mean of the answered calls.")
