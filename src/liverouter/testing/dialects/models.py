"""What the stand-ins know of models by their names: limits, and who reasons. Of their own, so that they can disagree.

A name that is not known is served without limits: people name deployments as they like.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final


@dataclass(frozen=True, slots=True)
class Model:
    """One kind of model.

    Attributes:
        max_output: the most tokens of an answer; None where it is not known.
        reasons: it thinks before it answers.
        samples: it takes temperature, top_p and top_k.
        efforts: the values of `reasoning_effort` that it takes; None where any may be right.
        thinks_by_budget: Claude's thinking may be given a number of tokens.
        thinks_adaptively: Claude's thinking may be left to the model.
        thinks_always: Claude's thinking cannot be turned off.
        least_budget: Gemini's least number of tokens for thinking, 0 where it may be off.
        most_budget: Gemini's most; 0 where it takes no number.
        levels: Gemini's levels of thinking.
    """

    max_output: int | None = None
    reasons: bool = False
    samples: bool = True
    efforts: frozenset[str] | None = None
    thinks_by_budget: bool = True
    thinks_adaptively: bool = True
    thinks_always: bool = False
    least_budget: int = 0
    most_budget: int = 0
    levels: frozenset[str] = frozenset()


UNKNOWN: Final = Model()
_O: Final = frozenset({"low", "medium", "high"})
_GPT_5: Final = _O | {"minimal"}
_GPT_5X: Final = _O | {"none", "xhigh"}
_NONE: Final = frozenset[str]()


def _of_openai(limit: int, efforts: frozenset[str] = _NONE) -> Model:
    return Model(max_output=limit, reasons=bool(efforts), efforts=efforts)


_OPENAI: Final = (  # shell patterns of names; the first that matches
    ("o1-mini*", _of_openai(65_536, _O)),
    ("o[134]*", _of_openai(100_000, _O)),
    ("gpt-5-chat* gpt-5.?-chat*", _of_openai(16_384)),
    ("gpt-5.*", _of_openai(128_000, _GPT_5X)),
    ("gpt-5*", _of_openai(128_000, _GPT_5)),
    ("gpt-4o*", _of_openai(16_384)),
    ("gpt-4.1*", _of_openai(32_768)),
    ("gpt-4*", _of_openai(8_192)),
    ("gpt-3.5*", _of_openai(4_096)),
)
_CLAUDE: Final = (
    ("claude-3-[57]*", Model(max_output=64_000, thinks_adaptively=False)),
    ("claude-3-*", Model(max_output=4_096, thinks_adaptively=False)),
    (
        "claude-opus-4-[01]* claude-opus-4 claude-opus-4-2* claude-opus-4@*",
        Model(max_output=32_000, thinks_adaptively=False),
    ),
    (
        "claude-opus-4-5* claude-haiku-4* claude-sonnet-4-[05]* claude-sonnet-4 claude-sonnet-4-2* claude-sonnet-4@*",
        Model(max_output=64_000, thinks_adaptively=False),
    ),
    ("claude-opus-4-6* claude-sonnet-4-6*", Model(max_output=128_000)),
    ("claude-opus-4-*", Model(max_output=128_000, samples=False, thinks_by_budget=False)),
    (
        "claude-sonnet-5-5* claude-opus-5-5* claude-fable* claude-mythos*",
        Model(max_output=128_000, samples=False, thinks_by_budget=False, thinks_always=True),
    ),
    (
        "claude-opus-5* claude-sonnet-5* claude-haiku-5*",
        Model(max_output=128_000, samples=False, thinks_by_budget=False),
    ),
)
_GEMINI: Final = (
    ("gemini-2.5-pro*", Model(max_output=65_536, reasons=True, least_budget=128, most_budget=32_768)),
    ("gemini-2.5*", Model(max_output=65_536, reasons=True, least_budget=0, most_budget=24_576)),
    ("gemini-3*-pro*", Model(max_output=65_536, reasons=True, levels=_O)),
    ("gemini-3*", Model(max_output=65_536, reasons=True, levels=_O | {"minimal"})),
    ("gemini-*", Model(max_output=8_192)),
)
_CORTEX: Final = (
    ("claude-* openai-* llama3*", Model(max_output=16_384)),
    ("mistral* snowflake-arctic*", Model(max_output=8_192)),
)


def _known(name: str, table: tuple[tuple[str, Model], ...]) -> Model:
    found = (model for patterns, model in table if any(fnmatchcase(name, pattern) for pattern in patterns.split()))
    return next(found, UNKNOWN)


def openai_model(name: str) -> Model:
    """Return what is known of OpenAI's model *name*, or of a deployment that is called like it."""
    return _known(name, _OPENAI)


def claude_model(name: str) -> Model:
    """Return what is known of the Claude model *name*."""
    return _known(name, _CLAUDE)


def gemini_model(name: str) -> Model:
    """Return what is known of the Gemini model *name*."""
    return _known(name, _GEMINI)


def cortex_model(name: str) -> Model:
    """Return what is known of the model *name* as Snowflake serves it."""
    return _known(name, _CORTEX)
