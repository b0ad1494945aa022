"""Tools that a provider runs itself: its own pass, another one's are left out, or are what the call is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from liverouter.providers.parameters import snake
from liverouter.routing.answer_errors import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from liverouter.providers.parameters import Api
    from liverouter.revision import Deployment

_FUNCTION_KEYS = frozenset({"function", "name", "title"})  # of OpenAI's, Anthropic's and plain JSON schemas
_OPEN = (None, False, "auto", "none", "any", "required", True)  # choices that name no tool


def is_built_in(tool: Any) -> bool:
    """Tell a provider's own tool, ``{"type": "web_search_20250305", …}`` or ``{"googleSearch": {}}``, by its shape."""
    if not isinstance(tool, Mapping) or "input_schema" in tool:
        return False
    return tool.get("type", "function") not in ("function", "object") or not tool.keys() & _FUNCTION_KEYS


def carried(
    tools: Sequence[Any], choice: Any, api: Api, deployment: Deployment, *, native: bool
) -> tuple[list[int], tuple[str, ...]]:
    """Return the indices of *tools* that *deployment* can be sent by *api*, and the names of the other ones.

    *native*: by the provider's LangChain class.

    Raises:
        MissingToolError: none is left of them, or *choice* is one that is not.
    """
    known = api.native_tools if native else api.litellm_tools
    strangers = {
        index: kind
        for index, tool in enumerate(tools)
        if is_built_in(tool) and not ((kind := kind_of(tool)) and known and known.fullmatch(kind))
    }
    kept = [index for index in range(len(tools)) if index not in strangers]
    for index, kind in strangers.items():
        if (not kept and choice != "none") or _names(choice, tools[index], kind):
            raise MissingToolError(deployment.id, kind)
    return kept, tuple(strangers.values())


def kind_of(tool: Mapping[str, Any]) -> str:
    """Return what a built-in *tool* is: its type, or the member that it is of, as Python writes it."""
    return str(tool.get("type") or snake(next(iter(tool), "")))


def spelt(tool: Any) -> Any:
    """Return *tool*, of Google's built-in ones under the name that its LangChain class knows."""
    if not is_built_in(tool) or "type" in tool:
        return tool
    return {snake(name): value for name, value in tool.items()}


def _names(choice: Any, tool: Mapping[str, Any], kind: str) -> bool:
    """Tell whether *choice* is the built-in *tool* of that *kind*."""
    if isinstance(choice, Mapping):
        choice = choice.get("name") or choice.get("type")
    return choice not in _OPEN and choice in (kind, tool.get("name"))
