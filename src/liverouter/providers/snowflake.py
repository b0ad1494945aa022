"""Snowflake Cortex: its REST API at the user's own account, by a programmatic access token or a JSON web token."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers.openai import CHAT_COMPLETIONS, CHAT_OPENAI, chat_options
from liverouter.providers.spec import (
    NOWHERE,
    Field,
    History,
    Http,
    ProviderSpec,
    filled,
    is_claude,
    origin_and_path,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

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
    """Return what litellm is to pass on: it knows of neither there, and would drop them."""
    return {"allowed_openai_params": ["stop"] if is_claude(deployment.model) else ["response_format", "stop"]}


def _build(deployment: Deployment, http: Http) -> BaseChatModel:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    token = deployment.secrets["snowflake_token"].reveal()
    kind = "KEYPAIR_JWT" if is_jwt(token) else "PROGRAMMATIC_ACCESS_TOKEN"
    return ChatOpenAI(
        model=deployment.model,
        api_key=SecretStr(_bare(token)),
        base_url=f"{snowflake_base(deployment.settings)}/cortex/v1",  # its OpenAI-compatible endpoint
        default_headers={"X-Snowflake-Authorization-Token-Type": kind},
        use_responses_api=False,  # which Cortex does not have: a tool of OpenAI's own would lead there
        **chat_options(deployment, http),
    )


_NATIVE: Final = replace(CHAT_OPENAI, build=_build, remembers=frozenset())
_HISTORY: Final = History(lists=False)  # whoever made the model; litellm asks Claude by another API, which takes it too
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
    litellm_params=_params,
    litellm_options=_options,
    litellm_patches=lambda model: ("snowflake_stops",) if is_claude(model) else (),
    native=lambda _: _NATIVE,
    history=lambda _: _HISTORY,
    dialect=lambda _: _DIALECT,
    libraries=("openai",),
    aliases=("snowflake", "cortex", "snowflake_cortex"),
    rejected=MappingProxyType({"snowflake_user": _CORTEX, "snowflake_password": _CORTEX}),
    lacks=lambda _: frozenset({"structured_output"}),  # the models can, litellm does not ask them
)
