"""Other providers that litellm calls, by its name of a model: ``bedrock/…``, ``gemini/…``, ``openrouter/…``.

What is said here is little: what litellm makes of a request there is its word. So that no row has a key sent where it
does not belong, the members of `litellm_params` are few, each request goes to one known origin, and what litellm would
take from the machine by itself, files, roles and logins, is refused.
"""

from __future__ import annotations

import importlib.util
import os
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import ConfigError, Problem, did_you_mean
from liverouter.providers import openai
from liverouter.providers.native import NO_NATIVE_MODEL
from liverouter.providers.parameters import Api, Takes
from liverouter.providers.spec import (
    IN_HOST,
    IN_PATH,
    Field,
    History,
    ProviderSpec,
    Unfit,
    misrouted,
    origin_and_path,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from liverouter.revision import Deployment

_PART: Final = r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{0,127}"
_MODEL: Final = re.compile(rf"[a-z][a-z0-9_-]{{0,40}}(?:/{_PART}){{1,6}}")
_BEDROCK: Final = "bedrock"
_SIGNS: Final = "boto3"  # what litellm calls Bedrock by; some versions of litellm bring it along
_BASES: Final[Mapping[str, str]] = MappingProxyType(  # where litellm calls them; said to it, or it asks the environment
    {
        _BEDROCK: "https://bedrock-runtime.{aws_region_name}.amazonaws.com",  # and ".cn" in China
        "cerebras": "https://api.cerebras.ai/v1",
        "deepinfra": "https://api.deepinfra.com/v1/openai",
        "deepseek": "https://api.deepseek.com/beta",
        "fireworks_ai": "https://api.fireworks.ai/inference/v1",
        "gemini": "https://generativelanguage.googleapis.com/v1beta",
        "groq": "https://api.groq.com/openai/v1",
        "hyperbolic": "https://api.hyperbolic.xyz/v1",
        "lambda_ai": "https://api.lambda.ai/v1",
        "mistral": "https://api.mistral.ai/v1",
        "moonshot": "https://api.moonshot.ai/v1",
        "nvidia_nim": "https://integrate.api.nvidia.com/v1",
        "ollama": "http://localhost:11434",
        "ollama_chat": "http://localhost:11434",
        "openrouter": "https://openrouter.ai/api/v1",
        "perplexity": "https://api.perplexity.ai",
        "sambanova": "https://api.sambanova.ai/v1",
        "together_ai": "https://api.together.xyz/v1",
        "vercel_ai_gateway": "https://ai-gateway.vercel.sh/v1",
        "xai": "https://api.x.ai/v1",
    }
)
_REGIONAL: Final = r"bedrock-runtime\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?"
_NAMES: Final = sorted(
    {base.split("/")[2] for base in _BASES.values() if base.startswith("https://") and "{" not in base}
)
_HOSTS: Final = re.compile("|".join([_REGIONAL, *(name.replace(".", r"\.") for name in _NAMES)]))
_OWN: Final = MappingProxyType(  # providers with a file of their own -> their name
    {
        "anthropic": "anthropic",
        "azure": "azure-openai",
        "azure_text": "azure-openai",
        "openai": "openai",
        "snowflake": "snowflake-cortex",
        "vertex_ai": "vertex-ai",
        "vertex_ai_beta": "vertex-ai",
    }
)
_BY_KEY_ALONE: Final = ("anthropic", "openai")  # of these, which litellm calls by a key and a base, as gateways want it
# By an HTTP client. Without one their streams would go by one of litellm's for the whole process, whoever made that.
_BY_HTTP: Final = ("anthropic", "gemini")
# Whose calls were seen to go through the clients that are guarded, with no other key and to no other address: another's
# may follow redirects, log in by what it finds on the machine, run in the process, or choose an address by the model.
# These are called at a base that is said; the others have one of their own.
_BY_BASE: Final = """
    abliteration ai21 ai21_chat aiand aiml apertis assemblyai azure_ai baseten charity_engine chutes clf_ai_gateway
    cloudflare codestral cognition cohere cohere_chat cometapi compactifai coralbricks cortecs custom_openai
    darkbloom dashscope docker_model_runner edenai empiriolabs empower featherless_ai friendliai galadriel github
    gradient_ai helicone heroku hosted_vllm hostinger_router inception inferenceapis kyma libertai litellm_proxy
    llamafile lm_studio meta meta_llama minimax modelscope morph nadir nano-gpt nebius neosantara novita nscale
    opencode_go openinfer ovhcloud parasail pinstripes poe prism publicai qwen_ai_platform qwencloud refuseless reka
    sail scaleway scx-ai streamlake synthetic tencent tensormesh v0 volcengine wally wandb xiaomi_mimo xinference
    zai zerogpu
"""
_VENDORS: Final = frozenset([*_BASES, *_BY_KEY_ALONE, *_BY_BASE.split()])
# What of the environment litellm would use in place of a row's own keys for AWS, or beside them.
_AWS_VARIABLES: Final = ("AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE_NAME", "AWS_ROLE_NAME", "AWS_WEB_IDENTITY_TOKEN")
_OTHER_ROUTES: Final = re.compile(r"(?:^|/)(?:ft:|claude_platform/)")  # by which litellm sends a key of the environment
_AWS_KEYS: Final = ("aws_secret_access_key", "aws_access_key_id")
_NO_KEY: Final = "none"  # given, so that litellm takes no key of the environment


def _vendor(model: str) -> str:
    """Return litellm's name of who serves *model*."""
    return model.partition("/")[0]


def _endpoint(settings: Mapping[str, str], model: str) -> str:
    """Return where calls go: the base that is said, else the known one; "" where neither is."""
    if base := settings.get("api_base"):
        return base
    base, region = _BASES.get(_vendor(model), ""), settings.get("aws_region_name", "")
    if "{" not in base:
        return base
    return base.replace("{aws_region_name}", region) + (".cn" if region.startswith("cn-") else "") if region else ""


def _url(url: str) -> str:
    return "".join(origin_and_path(url))


def _unfit(model: str, settings: Mapping[str, str], secrets: Collection[str]) -> Unfit | None:
    """Return why *model* cannot be called by litellm with *settings* and *secrets*."""
    vendor = _vendor(model)
    found = _unfit_model(model, has_base="api_base" in settings) or misrouted(model)
    if found is None and vendor == _BEDROCK:
        found = _unfit_for_aws(settings, secrets)
    if found is not None or _endpoint(settings, model):
        return found
    return Unfit("LR100", f"{vendor} needs api_base: its address is not known here", "api_base", _HERE)


def _unfit_model(model: str, *, has_base: bool) -> Unfit | None:
    """Return why *model* is not to be called by litellm; *has_base*: its address is said."""
    vendor, hint = _vendor(model), "Choose another model"
    if not _MODEL.fullmatch(model):
        hint = "Write it as litellm does, the vendor first: openrouter/meta-llama/llama-3.3-70b-instruct"
        message = "the model is none of litellm's names"
    elif (own := _OWN.get(vendor)) is not None and not (vendor in _BY_KEY_ALONE and has_base):
        message, hint = f"{vendor} is a provider of its own here", f"Choose the provider {own}"
    elif vendor not in _VENDORS:
        message = f"{vendor} is none of those that litellm is known to call safely"
        other = "A server that speaks OpenAI's API is called by the provider openai-compatible, with its base"
        hint = f"{did_you_mean(vendor, sorted(_VENDORS))} {other}".lstrip()
    elif (route := _OTHER_ROUTES.search(model.partition("/")[2])) is not None:
        message = f"litellm calls {route[0].strip('/')} with a key of its own choice"
    else:
        return None
    return Unfit("LR118", message, "model", hint)


def _unfit_for_aws(settings: Mapping[str, str], secrets: Collection[str]) -> Unfit | None:
    """Return what is missing for a call of Bedrock: the keys of a row alone serve, and none of the machine's."""
    if "aws_region_name" not in settings:
        return Unfit("LR100", "bedrock needs aws_region_name", "aws_region_name", 'Write it: "us-east-1"')
    if "api_key" in secrets or set(_AWS_KEYS) <= set(secrets):
        return None
    hint = "Refer to a Bedrock API key as api_key, or to both AWS keys; the machine's own are never used for a row"
    return Unfit("LR102", "bedrock needs api_key, or aws_access_key_id and aws_secret_access_key", "api_key", hint)


def _params(deployment: Deployment) -> dict[str, Any]:
    """Return model, address and credentials.

    Raises:
        ConfigError: the environment holds what litellm would use in place of the keys (LR119).
        ModuleNotFoundError: what litellm signs its requests by is not installed; it would say so at the first call.
    """
    params = {"model": deployment.model, **deployment.settings, "api_base": deployment.endpoint}
    params |= {name: secret.reveal() for name, secret in deployment.secrets.items()}
    if _vendor(deployment.model) != _BEDROCK:
        return {"api_key": _NO_KEY} | params
    if importlib.util.find_spec(_SIGNS) is None:
        raise ModuleNotFoundError(f"{_SIGNS} is not installed", name=_SIGNS)
    # The environment would else have the last word on it.
    params["aws_bedrock_runtime_endpoint"] = deployment.endpoint
    if "api_key" in params:
        return params
    beside = () if "aws_session_token" in params else ("AWS_SESSION_TOKEN",)
    if found := next((name for name in (*_AWS_VARIABLES, *beside) if os.environ.get(name)), None):
        hint = f"Unset {found} for this process, or refer to a Bedrock API key as api_key"
        message = f"litellm would use {found} of the environment in place of the keys for {deployment.label}"
        raise ConfigError([Problem("LR119", message, "environment", hint)])
    return params


def _client(params: Mapping[str, Any], client: Any) -> Any:
    """Return *client*, an HTTP client, where litellm sends by it; None where it makes one, of the vendor's kind."""
    return client if _vendor(params["model"]) in _BY_HTTP else None


_ORDERS: Final = frozenset(  # of OpenRouter and servers like vLLM; anything else litellm might take for an order to it
    {"min_p", "provider", "reasoning", "repetition_penalty", "top_a", "top_k", "transforms"}
)
_PARAMETERS: Final = Api(
    takes={name: Takes(name) for name in openai.PARAMETERS.takes if name not in ("store", "web_search_options")},
    litellm_body=_ORDERS,
    is_strict=lambda _: False,
)
_EXAMPLE: Final = '{"api_key": {"secret": "openrouter"}, "api_base": "https://openrouter.ai/api/v1"}'
_IN_PARAMS: Final = "It belongs to the parameters of a call: llm_params, or params of an entry"
_HERE: Final = "Write it as api_base"
_TIMES: Final = "Set llm_timeout, or timeout of an entry"

SPEC: Final = ProviderSpec(
    name="litellm",
    label="Another provider, by litellm",
    fields=(Field("litellm_params", "json", "Its settings and secrets", example=_EXAMPLE),),
    members=(
        Field("api_base", "url", "Base URL", "api_base"),
        Field("api_key", "secret", "API key", "api_key"),
        Field("api_version", "text", "API version", "api_version", pattern=IN_PATH),
        Field("organization", "text", "Organization", "organization", pattern=IN_PATH),
        Field("aws_secret_access_key", "secret", "AWS secret access key", "aws_secret_access_key"),
        Field("aws_access_key_id", "secret", "AWS access key id", "aws_access_key_id"),
        Field("aws_session_token", "secret", "AWS session token", "aws_session_token"),
        Field("aws_region_name", "text", "AWS region", "aws_region_name", pattern=IN_HOST),
    ),
    member_hints=MappingProxyType(
        dict.fromkeys(("aws_bedrock_runtime_endpoint", "base_url", "endpoint"), _HERE)
        | dict.fromkeys(("extra_body", "extra_headers", "headers"), _IN_PARAMS)
        | dict.fromkeys(("stream_timeout", "timeout"), _TIMES)
        | dict.fromkeys(("max_retries", "num_retries"), "Set litellm_num_retries")
        | {"model": "Set llm_model, or model of an entry", "region_name": "Write it as aws_region_name"}
    ),
    needs=(),
    keyless=True,
    unfit=_unfit,
    endpoint=_endpoint,
    normalize_url=_url,
    own_hosts=_HOSTS,
    vendors=_BASES,
    litellm_provider="litellm",
    listed_as=lambda model: (_vendor(model), model.partition("/")[2]),
    litellm_params=_params,
    litellm_options=lambda _: {"max_retries": 0},
    litellm_client=_client,
    litellm_patches=lambda model: ("gemini_ends",) if _vendor(model) == "gemini" else (),
    is_held=True,
    headers=lambda deployment: {} if deployment.secrets else {"authorization": None},
    native=lambda _: NO_NATIVE_MODEL,
    history=lambda _: History(),
    dialect=lambda _: None,
    parameters=lambda _: _PARAMETERS,
    libraries=("anthropic", "botocore", "openai"),
    aliases=("bedrock", "cohere", "deepseek", "groq", "mistral", "ollama", "openrouter"),
)
