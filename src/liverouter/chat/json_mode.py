"""JSON of any shape, for every provider: OpenAI wants the word in the conversation, Claude knows schemas alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import SystemMessage

from liverouter.chat.bound import BoundFormat
from liverouter.providers import api_of
from liverouter.routing.answer_errors import UnsentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from liverouter.generation import Generation
    from liverouter.revision import Deployment

_WORD: Final = "json"
_ANSWER_SO: Final = "Answer with a JSON object."
_NO_SCHEMA: Final = "it promises JSON only to a schema: use with_structured_output, or 'json_schema'"


def is_json_mode(form: Any) -> bool:
    """Tell whether *form* asks for JSON of any shape."""
    return isinstance(form, Mapping) and form.get("type") == "json_object"


def fitted_form(form: Any, generation: Generation, deployment: Deployment, messages: Sequence[BaseMessage]) -> Any:
    """Return *form* as *generation*'s model of *deployment* takes it: else by the schema that is expected.

    Raises:
        UnsentError: the provider has no JSON without a schema, and the caller gives none.
    """
    if not is_json_mode(form):
        return form
    has_mode = api_of(deployment, native=generation.is_native).json_mode
    if isinstance(form, BoundFormat):
        return form if has_mode and _says_so(messages) else form.by_schema()
    if not has_mode:
        raise UnsentError(deployment.id, _NO_SCHEMA)
    return form


def told_so(messages: list[BaseMessage], form: Any) -> list[BaseMessage]:
    """Return *messages*, with the word that OpenAI wants to see where *form* asks for JSON of any shape.

    Not so where the caller expects a schema, by which is asked then.
    """
    if not is_json_mode(form) or isinstance(form, BoundFormat) or _says_so(messages):
        return messages
    return [SystemMessage(_ANSWER_SO), *messages]


def _says_so(messages: Sequence[BaseMessage]) -> bool:
    """Tell whether one of *messages* has the word."""
    return any(_WORD in str(message.content).lower() for message in messages)
