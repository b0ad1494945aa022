"""What each provider needs: its settings, which are secret, how they become litellm parameters. Pure, no I/O.

Adding a provider is one `ProviderSpec` here, one plain model in `plain` and one stand-in in `testing.providers`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from liverouter.origins import is_host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from liverouter.snapshot import Deployment

_JWT_DOTS: Final = 2
# What becomes a piece of a URL may hold none of the characters that end such a piece.
_IN_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
IN_PATH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:~-]{0,127}")
_MODEL_IN_PATH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}(/[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}){0,9}")
_ACCOUNT: Final = re.compile(r"(https?://)?[A-Za-z0-9][A-Za-z0-9_.-]{0,252}(/[^\s?#\\@]*)?")  # or the pasted URL
# What people paste behind an API's base. Each reads a path once: a run is tried from its start alone, and kept whole.
_ANTHROPIC_TAIL: Final = re.compile(r"(?<!/v1)(?:/v1)++(?:/messages)?\Z")
_OPENAI_TAIL: Final = re.compile(r"(?<!/chat/completions)(?:/chat/completions)++\Z")
_AZURE_TAIL: Final = re.compile(r"/openai(?:/.*)?\Z", re.DOTALL)
_VERTEX_TAIL: Final = re.compile(r"(?<!/v1)(?<!/v1beta)(?<!/v1beta1)(?:/v1(?:beta1?)?)++(?:/projects/.*)?\Z", re.DOTALL)
_SNOWFLAKE_TAIL: Final = re.compile(r"/cortex(?:/.*)?\Z", re.DOTALL)
_AROUND_ACCOUNT: Final = re.compile(r"^https?://|/.*\Z", re.DOTALL)
# The hosts that are a provider's own, in lower case, matched whole; the settings page reads these patterns as well.
_ANTHROPIC_HOSTS: Final = re.compile(r"api\.anthropic\.com")
_OPENAI_HOSTS: Final = re.compile(r"([a-z]{2}\.)?api\.openai\.com")  # of one region: eu.api.openai.com
_VERTEX_HOSTS: Final = re.compile(
    r"([a-z0-9-]{1,40}-)?aiplatform\.googleapis\.com|aiplatform\.[a-z0-9-]{1,40}\.rep\.googleapis\.com"
)
_AZURE_HOSTS: Final = re.compile(
    r"[a-z0-9-]{1,63}\.((openai|cognitiveservices)\.azure\.(com|us|cn)|services\.ai\.azure\.com)"
)
_SNOWFLAKE_HOSTS: Final = re.compile(r"([a-z0-9_-]{1,63}\.){1,5}snowflakecomputing\.(com|cn)")
ANTHROPIC_BASE: Final = "https://api.anthropic.com"
OPENAI_BASE: Final = "https://api.openai.com/v1"
Kind = Literal["secret", "url", "text"]


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of a provider."""

    name: str  # the settings row; in capitals the environment variable
    kind: Kind
    label: str  # for a settings page
    alias: str = ""  # the short name inside an llm_fallback_config entry: "api_key", "api_base", …
    default: str = ""
    example: str = ""
    pattern: re.Pattern[str] | None = None  # what a text that becomes a piece of a URL must match whole


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider. Only what `litellm_params` returns is ever sent to litellm."""

    name: str  # the value of llm_provider
    label: str
    fields: tuple[Field, ...]
    needs: tuple[tuple[str, ...], ...]  # of each group at least one field must have a value
    litellm_params: Callable[[Deployment], dict[str, Any]]  # secrets revealed; without temperature, order, timeout
    endpoint: Callable[[Mapping[str, str], str], str]  # (settings, model) -> where calls go, for people
    normalize_url: Callable[[str], str]
    own_hosts: re.Pattern[str]  # host names that are the provider's own, matched whole, in lower case
    litellm_provider: str  # litellm's own name: key into its model map
    langchain_package: str  # import name of the plain model's package
    extra: str  # pip extra that installs it
    model_pattern: re.Pattern[str] | None = None  # what a model that becomes a piece of a URL must match whole
    rejected: Mapping[str, str] = field(default_factory=dict)  # settings it cannot use -> what to store instead

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Return the names of the secret fields."""
        return tuple(f.name for f in self.fields if f.kind == "secret")

    @property
    def base(self) -> Field:
        """Return the field that says where calls go."""
        return next(f for f in self.fields if f.kind == "url")

    def is_own(self, origin: str) -> bool:
        """Tell whether *origin* is the provider's own, over TLS."""
        return is_host_of(origin, self.own_hosts)


def is_claude(model: str) -> bool:
    """Tell whether *model* names an Anthropic model, on whichever cloud."""
    return "claude" in model.lower()


def vertex_base(settings: Mapping[str, str]) -> str:
    """Return the explicit base, else the address of the location: a region, a geography (us, eu) or global."""
    if base := settings.get("vertex_ai_api_base"):
        return base
    location = settings.get("vertex_ai_location", "us-central1")
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if "-" not in location:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def snowflake_base(settings: Mapping[str, str]) -> str:
    """Return the Snowflake REST root, ending in /api/v2, from the account or the explicit base."""
    if base := settings.get("snowflake_api_base"):
        return base
    host = _AROUND_ACCOUNT.sub("", settings.get("snowflake_account", "").lower())  # people paste the whole URL
    account = host.removesuffix(".snowflakecomputing.com").replace("_", "-")  # no host name holds an underscore
    return f"https://{account}.snowflakecomputing.com/api/v2"


def is_jwt(token: str) -> bool:
    """Tell a JSON web token (three dotted parts) from a programmatic access token."""
    return token.startswith("eyJ") and token.count(".") == _JWT_DOTS


def _origin_and_path(url: str) -> tuple[str, str]:
    parts = urlsplit(url.strip())
    return urlunsplit((parts.scheme.lower(), parts.netloc, "", "", "")), parts.path.rstrip("/")


def _anthropic_url(url: str) -> str:
    origin, path = _origin_and_path(url)
    return origin + _ANTHROPIC_TAIL.sub("", path)  # litellm appends /v1/messages itself


def _openai_url(url: str) -> str:
    origin, path = _origin_and_path(url)
    return origin + (_OPENAI_TAIL.sub("", path) or "/v1")  # a bare origin serves no OpenAI path


def _azure_url(url: str) -> str:
    origin, path = _origin_and_path(url)
    return origin + _AZURE_TAIL.sub("", path)  # people paste the portal's full target URI


def _vertex_url(url: str) -> str:
    origin, path = _origin_and_path(url)
    return origin + _VERTEX_TAIL.sub("", path)


def _snowflake_url(url: str) -> str:
    origin, path = _origin_and_path(url)
    return origin + (_SNOWFLAKE_TAIL.sub("", path) or "/api/v2")


def _anthropic(d: Deployment) -> dict[str, Any]:
    return _filled(
        model=f"anthropic/{d.model}",
        api_key=d.secrets["anthropic_api_key"].reveal(),
        api_base=d.settings.get(
            "anthropic_api_base", ANTHROPIC_BASE
        ),  # never litellm's choice: it asks the environment
    )


def _openai(d: Deployment) -> dict[str, Any]:
    return _filled(
        model=f"openai/{d.model}",
        api_key=d.secrets["openai_api_key"].reveal(),
        api_base=d.settings.get("openai_api_base", OPENAI_BASE),  # the same
    )


def _azure(d: Deployment) -> dict[str, Any]:
    key, token = d.secrets.get("azure_openai_api_key"), d.secrets.get("azure_openai_ad_token")
    return _filled(
        model=f"azure/{d.settings.get('azure_openai_deployment') or d.model}",
        api_base=d.settings["azure_openai_endpoint"],
        api_version=d.settings["azure_openai_api_version"],
        api_key=key.reveal() if key else None,
        azure_ad_token=token.reveal() if token and not key else None,
    )


def _vertex(d: Deployment) -> dict[str, Any]:
    credentials = d.secrets.get("vertex_ai_credentials")
    return _filled(
        model=f"vertex_ai/{d.model}",
        vertex_project=d.settings.get("vertex_ai_project_id"),
        vertex_location=d.settings["vertex_ai_location"],
        vertex_credentials=credentials.reveal() if credentials else None,
        api_base=vertex_base(d.settings),  # the same
    )


def _snowflake(d: Deployment) -> dict[str, Any]:
    token = d.secrets["snowflake_token"].reveal()
    return _filled(
        model=f"snowflake/{d.model}",
        api_key=token if is_jwt(token) or token.startswith("pat/") else f"pat/{token}",
        api_base=snowflake_base(d.settings),  # never account_id beside it: litellm would send that in the body
    )


def _filled(**params: str | None) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value}


_ANTHROPIC = ProviderSpec(
    name="anthropic",
    label="Anthropic",
    fields=(
        Field("anthropic_api_key", "secret", "API key", "api_key", example="sk-ant-…"),
        Field("anthropic_api_base", "url", "Base URL", "api_base", example="https://api.anthropic.com"),
    ),
    needs=(("anthropic_api_key",),),
    litellm_params=_anthropic,
    endpoint=lambda s, _: s.get("anthropic_api_base", ANTHROPIC_BASE),
    normalize_url=_anthropic_url,
    own_hosts=_ANTHROPIC_HOSTS,
    litellm_provider="anthropic",
    langchain_package="langchain_anthropic",
    extra="anthropic",
)

_OPENAI = ProviderSpec(
    name="openai",
    label="OpenAI",
    fields=(
        Field("openai_api_key", "secret", "API key", "api_key", example="sk-…"),
        Field("openai_api_base", "url", "Base URL", "api_base", example="https://api.openai.com/v1"),
    ),
    needs=(("openai_api_key",),),
    litellm_params=_openai,
    endpoint=lambda s, _: s.get("openai_api_base", OPENAI_BASE),
    normalize_url=_openai_url,
    own_hosts=_OPENAI_HOSTS,
    litellm_provider="openai",
    langchain_package="langchain_openai",
    extra="openai",
)

_VERTEX = ProviderSpec(
    name="vertex-ai",
    label="Google Vertex AI",
    fields=(
        Field("vertex_ai_project_id", "text", "Project", "project_id", example="my-project", pattern=IN_PATH),
        Field("vertex_ai_location", "text", "Location", "location", default="us-central1", pattern=_IN_HOST),
        Field("vertex_ai_credentials", "secret", "Service account (JSON)", "api_key"),
        Field(
            "vertex_ai_api_base", "url", "Base URL", "api_base", example="https://us-central1-aiplatform.googleapis.com"
        ),
    ),
    needs=(("vertex_ai_project_id",),),
    litellm_params=_vertex,
    endpoint=lambda s, _: vertex_base(s),
    normalize_url=_vertex_url,
    own_hosts=_VERTEX_HOSTS,
    litellm_provider="vertex_ai",
    langchain_package="langchain_google_genai",
    extra="vertex",
    model_pattern=_MODEL_IN_PATH,
)

_AZURE = ProviderSpec(
    name="azure-openai",
    label="Azure OpenAI",
    fields=(
        Field("azure_openai_endpoint", "url", "Endpoint", "api_base", example="https://name.openai.azure.com"),
        Field("azure_openai_deployment", "text", "Deployment (default: the model)", "deployment", pattern=IN_PATH),
        Field("azure_openai_api_version", "text", "API version", "api_version", default="2024-10-21", pattern=IN_PATH),
        Field("azure_openai_base_model", "text", "Base model (for limits and cost)", "base_model", example="gpt-4o"),
        Field("azure_openai_api_key", "secret", "API key", "api_key"),
        Field("azure_openai_ad_token", "secret", "Entra ID token", "ad_token"),
    ),
    needs=(("azure_openai_endpoint",), ("azure_openai_api_key", "azure_openai_ad_token")),
    litellm_params=_azure,
    endpoint=lambda s, m: (
        f"{s.get('azure_openai_endpoint', '')}/openai/deployments/{s.get('azure_openai_deployment') or m}"
    ),
    normalize_url=_azure_url,
    own_hosts=_AZURE_HOSTS,
    litellm_provider="azure",
    langchain_package="langchain_openai",
    extra="openai",
    model_pattern=IN_PATH,  # the deployment, where none is named
)

_CORTEX_HINT: Final = (
    "The Cortex REST API takes no user and password: store a programmatic access token or a JWT instead, "
    "`liverouter set --secret snowflake_token`, and remove this setting"
)

_SNOWFLAKE = ProviderSpec(
    name="snowflake-cortex",
    label="Snowflake Cortex",
    fields=(
        Field("snowflake_account", "text", "Account", "account", example="myorg-myaccount", pattern=_ACCOUNT),
        Field("snowflake_token", "secret", "Programmatic access token or JWT", "api_key"),
        Field(
            "snowflake_api_base",
            "url",
            "Base URL",
            "api_base",
            example="https://myorg-myaccount.snowflakecomputing.com",
        ),
    ),
    needs=(("snowflake_account", "snowflake_api_base"), ("snowflake_token",)),
    litellm_params=_snowflake,
    endpoint=lambda s, _: snowflake_base(s),
    normalize_url=_snowflake_url,
    own_hosts=_SNOWFLAKE_HOSTS,
    litellm_provider="snowflake",
    langchain_package="langchain_openai",
    extra="openai",
    rejected=MappingProxyType({"snowflake_user": _CORTEX_HINT, "snowflake_password": _CORTEX_HINT}),
)

PROVIDERS: Final[Mapping[str, ProviderSpec]] = MappingProxyType(
    {spec.name: spec for spec in (_ANTHROPIC, _AZURE, _OPENAI, _SNOWFLAKE, _VERTEX)}
)

OWNERS: Final[Mapping[str, ProviderSpec]] = MappingProxyType(
    {name: spec for spec in PROVIDERS.values() for name in spec.secret_names}
)  # a secret's name -> the provider whose credential it is

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {  # what people type; used for hints only
        "azure": "azure-openai",
        "azure_openai": "azure-openai",
        "azureopenai": "azure-openai",
        "vertex": "vertex-ai",
        "vertexai": "vertex-ai",
        "vertex_ai": "vertex-ai",
        "google": "vertex-ai",
        "gemini": "vertex-ai",
        "snowflake": "snowflake-cortex",
        "cortex": "snowflake-cortex",
        "snowflake_cortex": "snowflake-cortex",
        "claude": "anthropic",
        "gpt": "openai",
        "chatgpt": "openai",
    }
)
