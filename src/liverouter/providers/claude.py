"""Claude's parameters, on whichever cloud it runs: which models sample, how they think, and what rules out what."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from liverouter.providers.parameters import Api, Model, Takes, budget_of, effort_of

_VERSION: Final = re.compile(r"claude-(?:[a-z]+-)?(\d)(?:[-.](\d{1,2}))?(?!\d)")
_NEWEST: Final = (99, 0)  # of a name without a version
_THINKS_SINCE: Final = (3, 7)
_ADAPTS_SINCE: Final = (4, 6)  # before it thinking has a budget of tokens, afterwards none
_SAMPLES_UNTIL: Final = (4, 6)
_STRICT_SINCE: Final = (4, 5)
_STRICT_SINCE_ON_VERTEX: Final = (4, 6)
_LEAST_BUDGET: Final = 1024
_LEAST_TOP_P: Final = 0.95  # beside thinking
_LIMITS: Final = (((3, 4), 4096), ((3, 5), 8192), ((4, 4), 32_000))  # until a version, tokens of an answer
_LIMIT_SINCE: Final = 64_000
_SAMPLING: Final = frozenset({"temperature", "top_k", "top_p"})
_OF_THINKING: Final = frozenset({"reasoning_effort", "thinking"})
_PERSONAL: Final = re.compile(r"\A(?:[^@\s]++@[^@\s]++|\+?[\d\s()-]{7,20})\Z")  # no mail address, no telephone number
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_BETAS: Final = {"context_management": "context-management-2025-06-27", "mcp_servers": "mcp-client-2025-11-20"}
_EFFORTS: Final = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}  # for models that know no more


def _version(model: Model) -> tuple[int, int]:
    found = _VERSION.search(model.name.lower())
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST


def guess(model: Model) -> int:
    """Return the most tokens that a *model* of that version surely gives; a library's guess may be beyond them."""
    return next((limit for until, limit in _LIMITS if _version(model) <= until), _LIMIT_SINCE)


def _lacks(model: Model) -> frozenset[str]:
    """Return what *model* does not take: the newest no sampling, the oldest no thinking."""
    version = _version(model)
    sampling = version <= _SAMPLES_UNTIL and model.facts.get("supports_sampling_params") is not False
    return (frozenset() if sampling else _SAMPLING) | (frozenset() if version >= _THINKS_SINCE else _OF_THINKING)


def _settle(sent: dict[str, Any], model: Model, *, forced: bool) -> None:
    """Give the model's limit where none is said, and have thinking, forced tools and sampling agree."""
    sent.setdefault("max_tokens", model.max_output)
    thinking, effort = (None, "") if forced else _thinking(sent, model)
    for name in _OF_THINKING:
        sent.pop(name, None)
    if thinking is not None:
        sent["thinking"] = thinking
    if effort:
        sent["reasoning_effort"] = effort
    _settle_sampling(sent)
    if stop := [text for text in sent.pop("stop", ()) if text.strip()]:
        sent["stop"] = stop
    if _PERSONAL.match(sent.get("user", "")):
        del sent["user"]
    if needed := [beta for name, beta in _BETAS.items() if name in sent]:
        sent["betas"] = list(dict.fromkeys((*sent.get("betas", ()), *needed)))
    if tier := _TIERS.get(sent.pop("service_tier", "")):
        sent["service_tier"] = tier


def _settle_sampling(sent: dict[str, Any]) -> None:
    """Leave out what thinking rules out, and `top_p` beside `temperature`."""
    if sent.get("thinking", {"type": "disabled"})["type"] != "disabled":
        sent.pop("temperature", None)
        sent.pop("top_k", None)
        if sent.get("top_p", 1) < _LEAST_TOP_P:
            del sent["top_p"]
    if "temperature" in sent:
        sent.pop("top_p", None)


def _thinking(sent: dict[str, Any], model: Model) -> tuple[dict[str, Any] | None, str]:
    """Return how *model* is told to think, and with which effort; None and "" where it is told nothing."""
    given = sent.get("thinking")
    effort = effort_of(sent)
    if given is None and effort is None:
        return None, ""
    if effort == "none":
        return (None if model.facts.get("thinking_always_on") else {"type": "disabled"}), ""
    shown = {"display": given["display"]} if given and "display" in given else {}
    version = _version(model)
    by_budget = given is not None and given["type"] == "enabled" and version <= _SAMPLES_UNTIL
    if version >= _ADAPTS_SINCE and not by_budget:
        return {"type": "adaptive", **shown}, _known_effort(effort, model) if effort else ""
    budget = min(max(budget_of(sent) or 2 * _LEAST_BUDGET, _LEAST_BUDGET), sent["max_tokens"] - 1)
    if budget < _LEAST_BUDGET:
        return None, ""  # the limit leaves no room
    return {"type": "enabled", "budget_tokens": budget, **shown}, ""


def _known_effort(effort: str, model: Model) -> str:
    """Return *effort*, or the nearest that *model* knows."""
    if model.facts.get(f"supports_{effort}_reasoning_effort") is True:
        return effort
    return _EFFORTS.get(effort, effort)


def _native_words(sent: dict[str, Any]) -> dict[str, Any]:
    """Return *sent* with the words that Anthropic's API has for whose call it is, and that its class has for effort."""
    if (user := sent.pop("user", None)) is not None:
        sent["metadata"] = {"user_id": user}
    if (effort := sent.pop("reasoning_effort", None)) is not None:
        sent["effort"] = effort
    return sent


def _litellm_words(sent: dict[str, Any]) -> dict[str, Any]:
    """Return *sent* with the effort where Anthropic's API has it, and the members of the body one by one."""
    if (effort := sent.pop("reasoning_effort", None)) is not None:
        sent["output_config"] = {"effort": effort}
    if (stop := sent.pop("stop", None)) is not None:
        sent["stop_sequences"] = stop  # of `stop` it takes four
    if (betas := sent.pop("betas", None)) is not None:
        sent["extra_headers"] = {"anthropic-beta": ",".join(betas)} | sent.get("extra_headers", {})
    return {**sent.pop("extra_body", {}), **sent}


_BODY: Final = frozenset(
    ("cache_control", "container", "context_management", "inference_geo", "mcp_servers", "output_config", "speed")
)


def _litellm_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Return *tool*, one that is strict as Anthropic's API has it: litellm makes it anew without that."""
    function = tool.get("function") or {}
    if not function.get("strict"):
        return tool
    beside = {name: value for name, value in tool.items() if name not in ("type", "function")}
    about = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], **about, "input_schema": function["parameters"], "strict": True, **beside}


_SEARCHES: Final = r"web_search|tool_search_tool_regex|tool_search_tool_bm25"
_HANDS: Final = r"bash|memory|text_editor"
_NATIVE_TOOLS: Final = re.compile(
    rf"({_SEARCHES}|{_HANDS}|advisor|code_execution|computer|web_fetch)_\d{{8}}|mcp_toolset"
)
_LITELLM_TOOLS: Final = re.compile(rf"({_SEARCHES}|{_HANDS}|code_execution|web_fetch)_\d{{8}}")
_NATIVE_TOOLS_ON_VERTEX: Final = re.compile(rf"({_SEARCHES}|{_HANDS}|computer)_\d{{8}}")
_LITELLM_TOOLS_ON_VERTEX: Final = re.compile(rf"({_SEARCHES}|{_HANDS})_\d{{8}}")
PARAMETERS: Final = Api(
    takes={
        "temperature": Takes("temperature", 0, 1),
        "top_p": Takes("top_p", 0, 1),
        "top_k": Takes("top_k", 1),
        "max_tokens": Takes("max_tokens", 1),
        "stop": Takes("stop_sequences"),
        "reasoning_effort": Takes("thinking, output_config.effort"),
        "thinking": Takes("thinking, output_config.effort"),
        "parallel_tool_calls": Takes("tool_choice.disable_parallel_tool_use"),
        "service_tier": Takes("service_tier", only=tuple(_TIERS)),
        "user": Takes("metadata.user_id"),
        "cache_control": Takes("cache_control"),
        "betas": Takes("the header anthropic-beta"),
        "context_management": Takes("context_management"),
        "container": Takes("container"),
        "mcp_servers": Takes("mcp_servers"),
        "extra_headers": Takes("HTTP headers"),
        "extra_body": Takes("members of the body"),
    },
    lacks=_lacks,
    guess=guess,
    settle=_settle,
    native=_native_words,
    litellm=_litellm_words,
    native_tools=_NATIVE_TOOLS,
    litellm_tools=_LITELLM_TOOLS,
    litellm_body=_BODY,
    litellm_tool=_litellm_tool,
    is_strict=lambda model: _version(model) >= _STRICT_SINCE,
    json_mode=False,
)


def _without(*names: str) -> dict[str, Takes]:
    return {name: takes for name, takes in PARAMETERS.takes.items() if name not in names}


ON_VERTEX: Final = replace(
    PARAMETERS,
    takes=_without("container", "mcp_servers", "service_tier"),
    native_tools=_NATIVE_TOOLS_ON_VERTEX,
    litellm_tools=_LITELLM_TOOLS_ON_VERTEX,
    is_strict=lambda model: _version(model) >= _STRICT_SINCE_ON_VERTEX,
)
ON_SNOWFLAKE: Final = replace(  # as litellm asks there
    PARAMETERS,
    takes=_without(
        "betas",
        "cache_control",
        "container",
        "context_management",
        "mcp_servers",
        "parallel_tool_calls",
        "service_tier",
        "user",
    ),
    native_tools=None,
    litellm_tools=None,
    is_strict=lambda _: False,
)
