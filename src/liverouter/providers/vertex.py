"""Google Vertex AI: Gemini and Claude in the user's own project, by a service account or the machine's identity."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import Problem
from liverouter.providers import claude, gemini
from liverouter.providers.anthropic import CHAT_ANTHROPIC, MESSAGES, cached, history
from liverouter.providers.native import Http, NativeModel
from liverouter.providers.spec import (
    IN_HOST,
    IN_PATH,
    NOWHERE,
    Contents,
    Dialect,
    Field,
    History,
    ProviderSpec,
    filled,
    is_claude,
    origin_and_path,
)
from liverouter.secrecy.origins import is_loopback, origin_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from liverouter.revision import Deployment

_HOSTS: Final = re.compile(
    r"([a-z0-9-]{1,40}-)?aiplatform\.googleapis\.com|aiplatform\.[a-z0-9-]{1,40}\.rep\.googleapis\.com"
)
_TAIL: Final = re.compile(  # what people paste, read once: a run is tried from its start alone, and kept whole
    r"(?<!/v1)(?<!/v1beta)(?<!/v1beta1)(?:/v1(?:beta1?)?)++(?:/projects/.*)?\Z", re.DOTALL
)
_MODEL_IN_PATH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}(/[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}){0,9}")
_GEMINI_WITHOUT_BOTH: Final = re.compile(r"gemini-[12]\b")  # no tools beside a response schema
_CLAUDE_VERSION: Final = "vertex-2023-10-16"  # as litellm sends; the newest takes no temperature
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_UNIVERSE: Final = "googleapis.com"
_TOKEN_ADDRESSES: Final = frozenset(  # Google's own, the newest first; key files of all ages name one of them
    {
        "https://oauth2.googleapis.com/token",
        "https://www.googleapis.com/oauth2/v4/token",
        "https://accounts.google.com/o/oauth2/token",
    }
)
_INDIRECT: Final = (
    "credential_source",
    "service_account_impersonation_url",
    "source_credentials",
    "subject_token_type",
)
_KEY_FILE: Final = (
    "Store the whole key file of a service account: liverouter set --secret vertex_ai_credentials < key.json"
)
_AMBIENT: Final = (
    f"{_KEY_FILE}. A federation's file is named to the process itself, by GOOGLE_APPLICATION_CREDENTIALS, "
    "while no secret is stored"
)


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


def _url(url: str) -> str:
    origin, path = origin_and_path(url)
    return origin + _TAIL.sub("", path)


def _read_account(text: str, where: str, *, stored: bool, local: bool) -> Contents:
    """Return the project that a service account's key file names.

    A service account asks Google itself for its tokens. Any other kind names files, programs and addresses, chosen by
    whoever stored it. A stand-in on this machine has its own token address there as well.
    """
    account = _as_json(text)
    if account is None:
        return Contents(problem=Problem("LR103", "the service account is not JSON", where, _KEY_FILE))
    message, hint = (_stranger(account, local=local) if stored else None) or _unfit_project(account) or ("", "")
    if message:
        return Contents(problem=Problem("LR113", message, where, hint))
    project = account.get("project_id")
    return Contents({"vertex_ai_project_id": project} if project else {})


def _as_json(text: str) -> Mapping[str, Any] | None:
    """Return the JSON object that *text* is, None where it is none."""
    try:
        account = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return account if isinstance(account, Mapping) else None


def _stranger(account: Mapping[str, Any], *, local: bool) -> tuple[str, str] | None:
    """Return message and hint where *account* is no service account, or gets its tokens elsewhere than from Google."""
    if account.get("type") != "service_account" or any(name in account for name in _INDIRECT):
        return "the stored credential is no service account", _AMBIENT
    address = account.get("token_uri")
    known = address in _TOKEN_ADDRESSES or (local and is_loopback(origin_of(str(address))))
    if known and account.get("universe_domain", _UNIVERSE) == _UNIVERSE:
        return None
    return "the stored service account does not get its tokens from Google's own address", _KEY_FILE


def _unfit_project(account: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return message and hint where the project could be no piece of a URL, in which calls have it."""
    project = account.get("project_id", "")
    if isinstance(project, str) and (not project or IN_PATH.fullmatch(project)):
        return None
    return "the project_id of the service account is no project's name", _KEY_FILE


def _params(deployment: Deployment) -> dict[str, Any]:
    credentials = deployment.secrets.get("vertex_ai_credentials")
    return filled(
        model=f"vertex_ai/{deployment.model}",
        vertex_project=deployment.settings.get("vertex_ai_project_id"),
        vertex_location=deployment.settings["vertex_ai_location"],
        vertex_credentials=credentials.reveal() if credentials else None,
        api_base=vertex_base(deployment.settings),  # never litellm's choice, which asks the environment
    )


def _patches(model: str) -> tuple[str, ...]:
    """Return the names of litellm's patches that *model* needs."""
    return ("google_tokens",) if is_claude(model) else ("google_tokens", "gemini_ends")


def _credentials(deployment: Deployment, http: Http) -> tuple[Any, str | None]:
    """Return the service account's credentials, None for ambient ones, and the project."""
    project = deployment.settings.get("vertex_ai_project_id")
    if (secret := deployment.secrets.get("vertex_ai_credentials")) is None:
        return None, project
    account = json.loads(secret.reveal())
    credentials = _service_account().from_service_account_info(account, scopes=[_SCOPE])
    credentials.token_request = http.token_request
    return credentials, project or account.get("project_id")


@functools.cache
def _service_account() -> Any:
    """Return Google's class for a service account, with our way to fetch its tokens: its own waits 120 seconds."""
    from google.oauth2 import service_account

    class ShortTimeout(service_account.Credentials):
        token_request: Callable[..., Any]  # set on each

        def refresh(self, request: Callable[..., Any]) -> None:
            del request
            super().refresh(self.token_request)  # type: ignore[no-untyped-call]  # google-auth has no types

    return ShortTimeout


def _build_gemini(deployment: Deployment, http: Http) -> BaseChatModel:
    import httpx
    from langchain_google_genai import ChatGoogleGenerativeAI

    credentials, project = _credentials(deployment, http)
    model = ChatGoogleGenerativeAI(
        model=deployment.model,
        vertexai=True,
        project=project,
        location=deployment.settings["vertex_ai_location"],
        credentials=credentials,
        base_url=vertex_base(deployment.settings),
        timeout=http.timeout_s,
        max_retries=1,  # of this package: attempts in all
        temperature=None,  # else it sends one of its own
    )
    client = http.client(httpx.AsyncClient)
    # given this client it uses no client of aiohttp's, which `guard` could not reach
    api: Any = model.client._api_client  # type: ignore[union-attr]  # noqa: SLF001 - the package hands no client on
    api._http_options.httpx_async_client = api._async_httpx_client = client  # noqa: SLF001 - the package hands no client on
    return model


def _build_claude(deployment: Deployment, http: Http) -> BaseChatModel:
    import anthropic
    from langchain_anthropic import ChatAnthropic
    from pydantic import SecretStr

    credentials, project = _credentials(deployment, http)
    model = ChatAnthropic(
        model_name=deployment.model,
        api_key=SecretStr("unused"),
        timeout=http.timeout_s,
        stop=None,
        model_kwargs={"extra_body": {"anthropic_version": _CLAUDE_VERSION}},
    )
    # langchain-google-vertexai's class would do the same, but passes parameters that this client no longer knows
    model.__dict__["_async_client"] = anthropic.AsyncAnthropicVertex(
        project_id=project or anthropic.NOT_GIVEN,
        region=deployment.settings["vertex_ai_location"],
        credentials=credentials,
        base_url=f"{vertex_base(deployment.settings)}/v1",
        timeout=http.timeout_s,
        max_retries=0,
        http_client=http.client(anthropic.DefaultAsyncHttpxClient),
    )
    return model


_CLAUDE: Final = replace(CHAT_ANTHROPIC, build=_build_claude, extra="vertex-claude")
_GEMINI: Final = NativeModel(
    build=_build_gemini,
    package="langchain_google_genai",
    extra="vertex",
    remembers=frozenset({"google_genai"}),
)
_GEMINI_HISTORY: Final = History(call_ids=None)

_WHOLE: Final[dict[str, Any]] = {
    "candidates": [
        {
            "index": 0,
            "finishReason": "STOP",
            "content": {
                "role": "model",
                "parts": [{"text": "ok"}, {"functionCall": {"name": "warm_up", "args": {}}}],
            },
        }
    ],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}
_GENERATE: Final = Dialect(
    name="gemini",
    params={"model": "gemini/gemini-2.5-flash", "api_base": NOWHERE},  # as Vertex it would ask Google for a token
    whole=_WHOLE,
    events=(_WHOLE,),
)

SPEC: Final = ProviderSpec(
    name="vertex-ai",
    label="Google Vertex AI",
    fields=(
        Field("vertex_ai_project_id", "text", "Project", "project_id", example="my-project", pattern=IN_PATH),
        Field("vertex_ai_location", "text", "Location", "location", default="us-central1", pattern=IN_HOST),
        Field("vertex_ai_credentials", "secret", "Service account (JSON)", "api_key", read=_read_account),
        Field(
            "vertex_ai_api_base", "url", "Base URL", "api_base", example="https://us-central1-aiplatform.googleapis.com"
        ),
    ),
    needs=(("vertex_ai_project_id",),),
    endpoint=lambda settings, _: vertex_base(settings),
    normalize_url=_url,
    own_hosts=_HOSTS,
    litellm_provider="vertex_ai",
    traced_as="gcp.vertex_ai",
    litellm_params=_params,
    litellm_options=lambda deployment: cached(deployment.model),
    litellm_patches=_patches,
    native=lambda model: _CLAUDE if is_claude(model) else _GEMINI,
    history=lambda model: history(model) if is_claude(model) else _GEMINI_HISTORY,
    dialect=lambda model: MESSAGES if is_claude(model) else _GENERATE,
    parameters=lambda model: claude.ON_VERTEX if is_claude(model) else gemini.PARAMETERS,
    libraries=("google", "langchain_google_genai", "anthropic"),
    token_modules=("google.auth", "google.oauth2"),
    aliases=("vertex", "vertexai", "vertex_ai", "google", "gemini"),
    model_pattern=_MODEL_IN_PATH,
    lacks=lambda model: frozenset({"structured_output"} if _GEMINI_WITHOUT_BOTH.search(model) else ()),
    preload=("google.auth.transport.requests", "google.oauth2.service_account"),
)
