"""What the API takes and says of the config. The OpenAPI document is made from this module and `models_fleet`."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from liverouter.daemon.problem_details import ProblemModel

MAX_REVISION: Final = 2**63 - 1
_MAX_DEPTH: Final = 16
_MAX_SECRET: Final = 64 * 1024  # characters; Google's service accounts, the longest, are 2.4 kB


def _storable(text: str) -> str:
    """Return *text*.

    Raises:
        ValueError: PostgreSQL cannot hold it.
    """
    if "\0" in text:
        raise ValueError("text cannot hold the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text cannot hold half of a surrogate pair") from None
    return text


def _storable_json(value: Any, depth: int = 0) -> Any:
    """Return *value*, a JSON value that is nested *depth* deep.

    Raises:
        ValueError: PostgreSQL's jsonb cannot hold it, or it is nested more than _MAX_DEPTH deep.
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"the value is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, str):
        _storable(value)
    elif isinstance(value, dict):
        for key, member in value.items():
            _storable(key)
            _storable_json(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _storable_json(member, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    return value


def _storable_secret(value: SecretStr) -> SecretStr:
    """Return *value* without leading and trailing blanks, which copying adds.

    Raises:
        ValueError: nothing is left, or PostgreSQL cannot hold it.
    """
    plain = _storable(value.get_secret_value()).strip()
    if not plain:
        raise ValueError("a secret cannot be empty; null removes it")
    return SecretStr(plain)


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.:-]{0,99}$")]  # of a row: llm:NAME is one
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Value = Annotated[Any, AfterValidator(_storable_json)]
SecretValue = Annotated[SecretStr, Field(max_length=_MAX_SECRET), AfterValidator(_storable_secret)]
_NAMED: Final[dict[str, Any]] = {"additionalProperties": False}  # in a schema: no names but those of the pattern
Revision = Annotated[int, Field(ge=0, le=MAX_REVISION)]


class _Body(BaseModel):
    """A request's body; a member that is not known is refused, since it would be ignored otherwise."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Draft(_Body):
    """Changes to the stored config; what is not named stays as it is."""

    settings: dict[Key, Value] = Field(
        {}, max_length=200, description="Key to JSON value; null removes the row.", json_schema_extra=_NAMED
    )
    secrets: dict[Name, SecretValue | None] = Field(
        {},
        max_length=100,
        description="Name to value, sealed before it is stored and never returned; null removes it.",
        json_schema_extra=_NAMED,
    )


class Edit(Draft):
    """A draft to be stored."""

    comment: Annotated[Text, Field(max_length=2000)] | None = Field(None, description="Why, for the history.")
    author: Annotated[Text, Field(max_length=200)] | None = Field(None, description="Who, for the history.")


class CheckBody(Draft):
    """A draft to be checked; an empty one checks the stored config."""

    live: bool = Field(False, description="Call each deployment once; costs a few tokens.")  # noqa: FBT003 - pydantic's shape
    name: ModelName | None = Field(None, description="Call those of this model alone; all rows are judged.")


class RollbackBody(_Body):
    """Which revision to restore."""

    revision: Annotated[Revision, Field(strict=True)]  # `true` is no 1
    comment: Annotated[Text, Field(max_length=2000)] | None = None
    author: Annotated[Text, Field(max_length=200)] | None = None


class TryBody(_Body):
    """A prompt for a live model."""

    prompt: Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000)]
    name: ModelName = Field("default", description="Which model; what no row configures is the default.")
    deployment_id: Annotated[Text, Field(max_length=400)] | None = Field(
        None, description="One of its deployments in OwnStatus, to be asked alone, without failover."
    )
    stream: bool = Field(False, description="Answer by server-sent events: text as it comes, then the answer.")  # noqa: FBT003 - pydantic's shape


class TokenBody(_Body):
    """What signs a browser in."""

    token: SecretStr = Field(max_length=1000)


class Session(BaseModel):
    """Whether a token is needed, and whether this browser has a session."""

    token_needed: bool
    signed_in: bool


class StoredSecret(BaseModel):
    """All that is ever told of a stored secret."""

    fingerprint: str = Field(description="Eight hex digits that tell one secret from another.")
    key_id: str | None = Field(description="Which key of the keyring sealed it.")
    opens: bool = Field(description="Whether this process has that key.")
    origins: list[str] = Field(description="Where it may be sent, beside its provider's own hosts: scheme, host, port.")
    updated_at: datetime
    updated_by: str = Field(description="Who stored it, as the writer said; see `role`.")
    role: str | None = Field(description="The login that stored it; null: before version 0.2.")


class FromEnvironment(BaseModel):
    """A setting that the daemon's own environment gives, for where no row stands. Services have their own."""

    source: str
    value: Any = Field(None, description="The text; null for a secret.")


class Config(BaseModel):
    """The stored config: rows that liverouter knows, secrets as fingerprints."""

    revision: int
    committed_at: datetime
    author: str = Field(description="Who made it, as the writer said; see `role`.")
    role: str = Field(description="The login that made it.")
    comment: str | None
    settings: dict[str, Any]
    secrets: dict[str, StoredSecret]
    environment: dict[str, FromEnvironment]
    can_seal: bool = Field(description="Whether this process has a keyring to store secrets with.")
    problems: list[ProblemModel] = Field(description="What is wrong with it, seen with the daemon's environment.")


class Saved(BaseModel):
    """The outcome of a write."""

    revision: int
    changed: bool = Field(description="False: everything was as asked for already, and no revision was made.")
    problems: list[ProblemModel] = Field(description="What is wrong with the new config, as in Config.")


class CheckedCall(BaseModel):
    """One deployment, called once."""

    name: str = Field(description="Of the model that it serves.")
    provider: str
    model: str
    role: str
    order: int
    credential_source: str = Field(description="secret NAME, environment NAME, file …, ambient")
    endpoint: str
    duration_ms: float
    answered_by: str | None
    cost_usd: float | None
    problem: ProblemModel | None


class Checked(BaseModel):
    """What a check found; nothing was stored or activated."""

    ok: bool
    revision: int
    problems: list[ProblemModel]
    deployments: list[str]
    calls: list[CheckedCall]


class Answer(BaseModel):
    """What the live model said, and who served it."""

    answer: str
    duration_ms: float
    name: str = Field(description="Of the model that served: default where no row has the one that was asked for.")
    engine: str
    provider: str
    model: str
    deployment_id: str
    role: Literal["primary", "fallback"]
    revision: int
    failed_over: bool
    attempts: int
    cost_usd: float | None


class ProviderField(BaseModel):
    """One setting of a provider."""

    name: str
    kind: Literal["secret", "url", "text", "json"] = Field(
        description="json: an object of settings, and of references to secrets; each entry has one of its own."
    )
    label: str
    alias: str = Field(description="Its short name inside an llm_fallback_config entry.")
    default: str
    example: str


class Provider(BaseModel):
    """One provider, and what it needs."""

    name: str
    label: str
    fields: list[ProviderField]
    needs: list[list[str]] = Field(description="Of each group at least one field must have a value.")
    own_hosts: str = Field(description="Pattern of the hosts that any of its credentials may be sent to.")
    own_fields: list[str] = Field(description="Fields that name a deployment: a named model has them as members alone.")
    params: list[str] = Field(description="Which of Catalog.params any of its models takes.")


class SettingSpec(BaseModel):
    """One row of the settings."""

    name: str
    kind: str
    doc: str
    default: Any
    low: float | None
    high: float | None
    variable: str


class ParamSpec(BaseModel):
    """One parameter that rows may have sent: a member of llm_params, and of `params`."""

    name: str
    kind: str = Field(description="number, integer, text, texts, object, effort, thinking")
    wanted: str = Field(description="What it takes, for people.")
    words: list[str] = Field(description="Those that it takes; empty for anything else.")


class Catalog(BaseModel):
    """What can be configured."""

    params: list[ParamSpec]
    providers: list[Provider]
    settings: list[SettingSpec]


class Models(BaseModel):
    """Model names that litellm knows, by provider; suggestions, any other name may be used."""

    models: dict[str, list[str]]


class RevisionRow(BaseModel):
    """One revision of the history."""

    revision: int
    committed_at: datetime
    author: str = Field(description="Who made it, as the writer said; see `role`.")
    role: str = Field(description="The login that made it.")
    application: str | None
    kind: Literal["edit", "rollback", "rotate"]
    changed: str | None = Field(description="Which settings and secrets differ from the revision before.")
    comment: str | None


class Change(BaseModel):
    """One difference between two revisions."""

    object: Literal["setting", "secret", "origins"]
    key: str
    old: Any = Field(description="null: it was not there. Of a secret the fingerprint, and where it may be sent.")
    new: Any
    null: Literal["old", "new"] | None = Field(
        default=None,
        description="Which of both is a setting that is null, and not one that was not there; else left out.",
    )
