"""What a provider says of itself, and what several of them need to say it. Pure: no I/O, nothing heavy imported.

A provider is one file beside this one and one line in `__init__`: its `ProviderSpec`. The core asks the spec, and never
which provider it is of. What most providers have in common is a default here; a file says what is different.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

from liverouter.secrecy.origins import is_host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from liverouter.errors import Problem
    from liverouter.providers.native import NativeModel
    from liverouter.providers.parameters import Api
    from liverouter.revision import Deployment

Kind = Literal["secret", "url", "text", "json"]
# What becomes a piece of a URL may hold none of the characters that end such a piece.
_CALL_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,40}")
IN_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
IN_PATH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:~-]{0,127}")
NOWHERE: Final = "http://warmup.invalid"  # where a warm-up sends: a reserved name, which nothing resolves
NO_HOSTS: Final = re.compile(r"nowhere\.invalid")  # of a provider that has none of its own: a reserved name
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Contents:
    """What the text of a secret holds, where it is more than a key.

    Attributes:
        settings: settings of the provider that it gives, where neither a row nor the environment does.
        problem: why it cannot be used; nothing of the text is repeated in it.
    """

    settings: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    problem: Problem | None = None


class ReadSecret(Protocol):
    """Reads the text of a secret; never raises."""

    def __call__(self, text: str, where: str, *, stored: bool, local: bool) -> Contents:
        """Return what *text* holds; *where* is the place of a Problem.

        *stored*: it stands in the database, by whose hand nobody knows, and not in the process's own environment.
        *local*: it is to be used against this machine alone, where a stand-in may serve.
        """


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of a provider.

    Attributes:
        name: of the settings row or the secret; in capitals the environment variable.
        kind: "json" for an object that holds the `members` of the spec.
        label: for a settings page.
        alias: the short name inside an `llm_fallback_config` entry: "api_key", "api_base", …
        default: what serves without a value; "" for none.
        pattern: what a text that becomes a piece of a URL must match whole.
        read: reads the text of a secret that is more than a key.
        sent_as: the text of a secret -> as it is sent, where that is another: errors are cleared of both.
    """

    name: str
    kind: Kind
    label: str
    alias: str = ""
    default: str = ""
    example: str = ""
    pattern: re.Pattern[str] | None = None
    read: ReadSecret | None = None
    sent_as: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What an API takes of a conversation so far.

    Attributes:
        call_ids: what the id of a tool call must match whole; None where calls have no ids, or any.
        marks: further members that a content block may have: of the caches, for instance.
        lists: text may be a list of blocks, not only a string.
        file_urls: a document may be named by its address.
        rich_results: images and files may stand in the result of a tool.
        system_anywhere: system messages may stand between others, and several of them.
        takes_turns: a user begins, nobody speaks twice in a row or says nothing.
        user_last: it completes no answer that the caller has begun.
    """

    call_ids: re.Pattern[str] | None = _CALL_ID
    marks: frozenset[str] = frozenset()
    lists: bool = True
    file_urls: bool = True
    rich_results: bool = False
    system_anywhere: bool = False
    takes_turns: bool = True
    user_last: bool = True


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a deployment cannot be called.

    Attributes:
        field: the field, or the member, that is to be mended; "model" for the model.
    """

    code: str
    message: str
    field: str
    hint: str


_ELSEWHERE: Final = re.compile(r"replicate|(?:babbage|davinci)-002")


def misrouted(model: str, *_: object) -> Unfit | None:
    """Return why *model* cannot be named: litellm sends such a one elsewhere, or past the clients that are guarded."""
    if (found := _ELSEWHERE.search(model.lower())) is None:
        return None
    message = f"litellm goes by {found[0]!r} in a model's name, and not by its provider"
    return Unfit("LR118", message, "model", "Choose a model without that in its name")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an API answers, canned: litellm is led through it once, so that no call pays for what that loads.

    Attributes:
        name: of the dialect; each is gone through once per process, whichever providers speak it.
        params: litellm's parameters, of which the address is `NOWHERE`.
        whole: the body of an answer: a text and a call of the tool `warm_up`, without arguments.
        events: that answer as a stream, event by event; a ``type`` in one is its name.
        end: what follows the last event.
    """

    name: str
    params: Mapping[str, str]
    whole: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    end: str = ""


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider.

    Attributes:
        name: the value of `llm_provider`.
        label: its name for people.
        fields: its settings and secrets; exactly one of them, or of `members`, is a "url", the base that calls go to.
            Of several secrets the first that has a value is the credential.
        needs: of each group at least one field must have a value. Without a group of secrets alone, what the machine
            itself is trusted with serves where no secret has a value.
        endpoint: (settings, model) -> where calls go, for people and for what a credential may be sent to.
        normalize_url: an address as people write or paste it -> the base that the libraries want. It may be applied
            twice, and takes time that grows with the length alone.
        own_hosts: host names that are the provider's own, matched whole, in lower case; the settings page reads it.
        vendors: of a provider that stands for many, the base that calls of each go to, by what its models' names begin
            with; a member in braces is a piece of it. A stored secret goes to none of them that it was not stored for.
        litellm_provider: litellm's own name for it, before the "/" of a model and in its model map.
        litellm_params: model, address and credential for litellm: secrets revealed, nothing of another provider's.
        native: model -> the LangChain class that serves it without litellm.
        dialect: model -> how its API answers; None where that is not known.
        parameters: model -> which parameters of a call its API takes.
        libraries: top-level packages whose errors say that it failed, beside litellm and httpx.
        token_modules: packages that fetch its access tokens: what fails within is no fault of a request.

        members: what its one field of kind "json" may hold: settings, and references to secrets. They have no rows, no
            variables and no secrets of their own, and all of the secrets are sent.
        member_hints: what people write there that is no member -> what to write instead.
        keyless: it may be called without a credential: then none is sent.
        unfit: (model, settings, names of the secrets that have a value) -> why it cannot be called so.
        aliases: what people type instead of the name; for hints only.
        rejected: settings that it cannot use -> what to store instead.
        traced_as: the name that OpenTelemetry's GenAI conventions have for it, where that is not its own.
        maker: LangChain's name for who makes its models, where that is not the provider's own name; Claude's is known.
        model_pattern: what a model that becomes a piece of a URL must match whole.
        model_means: what `llm_model` names, where that is not the model.
        deployment_field: the setting that names a deployment of the user's own; by default the model's name. This one
            and the next a fallback of the primary's provider does not take over.
        base_model_field: the setting that names the model behind such a deployment, by which limits and prices are
            known.
        lacks: model -> abilities of a `ModelProfile` that it has not here, whatever the libraries' lists say.
        history: model -> what its API takes of a conversation so far; by default as little as any does.
        headers: name -> the value that each request carries, or None for what is taken off: a library may have put
            there what the environment holds.
        listed_as: model -> litellm's name of who serves it, and of the model there; see `litellm_name`.
        is_held: requests of its deployments go to the origin of their endpoint and nowhere else, whatever a library
            makes of their settings.
        litellm_options: further parameters for litellm: what it would do otherwise, or would not.
        litellm_patches: model -> names in `litellm_patches` of what has to be changed in litellm for it.
        litellm_client: litellm's parameters and an HTTP client -> the client of the provider's SDK by which litellm
            calls it, the HTTP client itself where litellm sends by that, or None for one that litellm makes.
        preload: modules that its first call would import.
    """

    name: str
    label: str
    fields: tuple[Field, ...]
    needs: tuple[tuple[str, ...], ...]
    endpoint: Callable[[Mapping[str, str], str], str]
    normalize_url: Callable[[str], str]
    own_hosts: re.Pattern[str]
    litellm_provider: str
    litellm_params: Callable[[Deployment], dict[str, Any]]
    native: Callable[[str], NativeModel]
    dialect: Callable[[str], Dialect | None]
    parameters: Callable[[str], Api]
    libraries: tuple[str, ...]
    token_modules: tuple[str, ...] = ()
    vendors: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    members: tuple[Field, ...] = ()
    member_hints: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    keyless: bool = False
    unfit: Callable[[str, Mapping[str, str], Collection[str]], Unfit | None] = misrouted
    aliases: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    traced_as: str = ""
    maker: str = ""
    model_pattern: re.Pattern[str] | None = None
    model_means: str = ""
    deployment_field: str = ""
    base_model_field: str = ""
    lacks: Callable[[str], frozenset[str]] = lambda _: frozenset()
    history: Callable[[str], History] = lambda _: History()
    headers: Callable[[Deployment], Mapping[str, str | None]] = lambda _: _NOTHING
    listed_as: Callable[[str], tuple[str, str]] | None = None
    is_held: bool = False
    litellm_options: Callable[[Deployment], Mapping[str, Any]] = lambda _: _NOTHING
    litellm_patches: Callable[[str], tuple[str, ...]] = lambda _: ()
    litellm_client: Callable[[Mapping[str, Any], Any], Any] = lambda _, client: client
    preload: tuple[str, ...] = ()

    @property
    def holder(self) -> Field | None:
        """Return the field that holds the `members`, None where it has none."""
        return next((f for f in self.fields if f.kind == "json"), None)

    @property
    def parts(self) -> tuple[Field, ...]:
        """Return every setting and secret that a deployment is made of: the fields, or the members of the one."""
        return self.members or self.fields

    @property
    def secrets(self) -> tuple[Field, ...]:
        """Return the secret fields, the one that wins first; of members none, which have no names of their own."""
        return tuple(f for f in self.fields if f.kind == "secret")

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Return the names of the secret fields."""
        return tuple(f.name for f in self.secrets)

    @property
    def base(self) -> Field:
        """Return the field that says where calls go."""
        return next(f for f in self.parts if f.kind == "url")

    @property
    def takes_ambient(self) -> bool:
        """Tell whether it can do without a secret, by the identity that its cloud knows the machine by."""
        return not self.keyless and not any(set(group) <= set(self.secret_names) for group in self.needs)

    def is_own(self, origin: str) -> bool:
        """Tell whether *origin* is the provider's own, over TLS."""
        return is_host_of(origin, self.own_hosts)

    def base_model(self, deployment: Deployment) -> str:
        """Return the model behind a deployment that has a name of its own, "" where none is named."""
        return deployment.settings.get(self.base_model_field, "") if self.base_model_field else ""

    def known_as(self, deployment: Deployment) -> str:
        """Return the name by which lists of limits, prices and prompts know the model of *deployment*."""
        return self.base_model(deployment) or deployment.model

    def litellm_name(self, model: str) -> tuple[str, str]:
        """Return litellm's name of who serves *model*, before the "/" and in its list of models, and of the model."""
        return (self.litellm_provider, model) if self.listed_as is None else self.listed_as(model)

    @property
    def ever_takes(self) -> frozenset[str]:
        """Return the parameters that any of its models takes."""
        return frozenset(name for model in ("", "claude") for name in self.parameters(model).takes)

    def traced_name(self, model: str) -> str:
        """Return the name that OpenTelemetry's GenAI conventions have for who serves *model*."""
        return self.traced_as or (self.name if self.listed_as is None else self.listed_as(model)[0])

    def maker_of(self, model: str) -> str:
        """Return LangChain's name for who makes *model*, on whichever cloud it runs."""
        return "anthropic" if is_claude(model) else self.maker or self.name


def is_claude(model: str) -> bool:
    """Tell whether *model* names an Anthropic model, on whichever cloud."""
    return "claude" in model.lower()


def origin_and_path(url: str) -> tuple[str, str]:
    """Return scheme and host of *url*, and its path without a "/" at the end; query and fragment go."""
    parts = urlsplit(url.strip())
    return urlunsplit((parts.scheme.lower(), parts.netloc, "", "", "")), parts.path.rstrip("/")


def filled(**params: str | None) -> dict[str, Any]:
    """Return those of *params* that have a value."""
    return {name: value for name, value in params.items() if value}
