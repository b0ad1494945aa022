"""Snowflake Cortex: its REST API at the user's own account, by a programmatic access token or a JSON web token."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers.claude import ON_SNOWFLAKE, PARAMETERS as CLAUDE
from liverouter.providers.openai import CHAT_COMPLETIONS, CHAT_OPENAI, PARAMETERS as OPENAI, chat_options
from liverouter.providers.openai_client import quick
from liverouter.providers.parameters import Api, Model, Takes
from liverouter.providers.spec import NOWHERE, Field, History, ProviderSpec, filled, is_claude, origin_and_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.providers.native import Http
    from liverouter.revision import Deployment

_JWT_DOTS: Final = 2
_ACCOUNT: Final = re.compile(r"(https?://)?[A-Za-z0-9][A-Za-z0-9_.-]{0,252}(/[^\s?#\\@]*)?")  # or the pasted URL
_AROUND_ACCOUNT: Final = re.compile(r"^https?://|/.*\Z", re.DOTALL)
_TAIL: Final = re.compile(r"/cortex(?:/.*)?\Z", re.DOTALL)  # what people paste
_HOSTS: Final = re.compile(r"([a-z0-9_-]{1,63}\.){1,5}snowflakecomputing\.(com|cn)")
_MARK: Final = "pat/"  # before an access token, for litellm, which sends it without
_CORTEX: Final = (
    "The Cortex REST API takes no user and password: store a programmatic access token or a JWT instead, "
    "`liverouter set --secret snowflake_token`, and remove this setting"
)


def snowflake_base(settings: Mapping[str, str]) -> str:
    """Return the Snowflake REST root, ending in /api/v2, from the account or the explicit base."""
    if base := settings.get("snowflake_api_base"):
        return base
    host = _AROUND_ACCOUNT.sub("", settings.get("snowflake_account", "").lower())  # people paste the whole URL
    host = host.rstrip(".").replace("_", "-")  # no host name holds an underscore
    return f"https://{host if _HOSTS.fullmatch(host) else f'{host}.snowflakecomputing.com'}/api/v2"


def is_jwt(token: str) -> bool:
    """Tell a JSON web token (three dotted parts) from a programmatic access token."""
    return token.startswith("eyJ") and token.count(".") == _JWT_DOTS


def _url(url: str) -> str:
    origin, path = origin_and_path(url)
    return origin + (_TAIL.sub("", path) or "/api/v2")


def _bare(token: str) -> str:
    """Return *token* as it is sent: without the mark, by which people tell an access token that looks like a JWT."""
    return token.removeprefix(_MARK)


def _params(deployment: Deployment) -> dict[str, Any]:
    token = deployment.secrets["snowflake_token"].reveal()
    return filled(
        model=f"snowflake/{deployment.model}",
        api_key=token if is_jwt(token) or token.startswith(_MARK) else f"{_MARK}{token}",
        api_base=snowflake_base(deployment.settings),  # never account_id beside it: litellm would send that in the body
    )


def _options(deployment: Deployment) -> dict[str, Any]:
    """Return what litellm is to pass on: it knows of none there, and would drop them."""
    allowed = ["stop"] if is_claude(deployment.model) else ["reasoning_effort", "response_format", "stop"]
    return {"allowed_openai_params": allowed}


def _lacks(model: Model) -> frozenset[str]:
    """Return what *model* does not take: that of its maker; only OpenAI's can be told how much to reason."""
    if is_claude(model.name):
        return CLAUDE.lacks(model) | {"reasoning_effort", "thinking"}
    if model.name.startswith(_OF_OPENAI):
        return OPENAI.lacks(replace(model, name=model.name.removeprefix(_OF_OPENAI)))
    return frozenset({"reasoning_effort", "thinking"})


def _settle(sent: dict[str, Any], model: Model, *, forced: bool) -> None:
    """Settle as the model's maker does."""
    if is_claude(model.name):
        CLAUDE.settle(sent, model, forced=forced)
        return
    OPENAI.settle(sent, replace(model, name=model.name.removeprefix(_OF_OPENAI)), forced=forced)


_OF_OPENAI: Final = "openai-"
_PARAMETERS: Final = Api(
    takes={
        "temperature": Takes("temperature", 0, 1),
        "top_p": Takes("top_p", 0, 1),
        "max_tokens": Takes("max_completion_tokens", 1),
        "stop": Takes("stop", most=4),
        "reasoning_effort": Takes("reasoning_effort"),
        "thinking": Takes("reasoning_effort"),
        "extra_headers": Takes("HTTP headers"),
        "extra_body": Takes("members of the body"),
    },
    lacks=_lacks,
    guess=lambda model: CLAUDE.guess(model) if is_claude(model.name) else None,
    settle=_settle,
)


def _build(deployment: Deployment, http: Http) -> BaseChatModel:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    token = deployment.secrets["snowflake_token"].reveal()
    kind = "KEYPAIR_JWT" if is_jwt(token) else "PROGRAMMATIC_ACCESS_TOKEN"
    model = ChatOpenAI(
        model=deployment.model,
        api_key=SecretStr(_bare(token)),
        base_url=f"{snowflake_base(deployment.settings)}/cortex/v1",  # its OpenAI-compatible endpoint
        default_headers={"X-Snowflake-Authorization-Token-Type": kind},
        use_responses_api=False,  # which Cortex does not have: a tool of OpenAI's own would lead there
        **chat_options(http),
    )
    quick(model.root_async_client)
    return model


_HISTORY: Final = History(lists=False, file_urls=False)
# Of the other API, by which litellm asks Claude.
_HISTORY_OF_CLAUDE: Final = History(marks=frozenset({"cache_control"}), file_urls=False)
_NATIVE: Final = replace(CHAT_OPENAI, build=_build, remembers=frozenset(), history=_HISTORY, parameters=_PARAMETERS)
_DIALECT: Final = replace(
    CHAT_COMPLETIONS,
    name="snowflake",
    params={"model": "snowflake/llama3.1-70b", "api_base": f"{NOWHERE}/api/v2"},
)

SPEC: Final = ProviderSpec(
    name="snowflake-cortex",
    label="Snowflake Cortex",
    fields=(
        Field("snowflake_account", "text", "Account", "account", example="myorg-myaccount", pattern=_ACCOUNT),
        Field("snowflake_token", "secret", "Programmatic access token or JWT", "api_key", sent_as=_bare),
        Field(
            "snowflake_api_base",
            "url",
            "Base URL",
            "api_base",
            example="https://myorg-myaccount.snowflakecomputing.com",
        ),
    ),
    needs=(("snowflake_account", "snowflake_api_base"), ("snowflake_token",)),
    endpoint=lambda settings, _: snowflake_base(settings),
    normalize_url=_url,
    own_hosts=_HOSTS,
    litellm_provider="snowflake",
    traced_as="snowflake",
    litellm_params=_params,
    litellm_options=_options,
    litellm_patches=lambda model: ("snowflake_stops",) if is_claude(model) else (),
    native=lambda _: _NATIVE,
    history=lambda model: _HISTORY_OF_CLAUDE if is_claude(model) else _HISTORY,
    dialect=lambda _: _DIALECT,
    parameters=lambda model: ON_SNOWFLAKE if is_claude(model) else _PARAMETERS,
    libraries=("openai",),
    aliases=("snowflake", "cortex", "snowflake_cortex"),
    rejected=MappingProxyType({"snowflake_user": _CORTEX, "snowflake_password": _CORTEX}),
    lacks=lambda _: frozenset({"structured_output"}),  # the models can, litellm does not ask them
)
