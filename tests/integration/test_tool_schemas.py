"""Tools and schemas of every shape are taken by every provider, in both engines, and stay what the caller bound."""

from __future__ import annotations

import copy
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, Field, RootModel

from tests.kit.everybody import TARGETS, World, add, named

if TYPE_CHECKING:
    from collections.abc import Iterator


class Colour(Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    """A point."""

    x: int
    y: int | None = None
    label: Literal["a", "b"] = "a"


class Shape(BaseModel):
    """A shape."""

    points: list[Point]
    colour: Colour | None = None
    centre: Point | None = None
    size: int | str = Field(1, description="how big")


class Free(BaseModel):
    """Anything."""

    tags: dict[str, int]
    more: Any = None


class Tree(BaseModel):
    """A tree."""

    name: str
    branches: list[Tree] = []


class Choice(RootModel[Point | Free]):
    """One or the other."""


@tool
def nothing() -> str:
    """Take no argument."""
    return ""


def plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return OpenAI's tool."""
    return {"type": "function", "function": {"name": "plain", "description": "d", "parameters": parameters}}


OPTIONS: Final = {
    "anyOf": [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"b": {"type": ["integer", "null"]}}},
    ]
}
TOOLS: Final[dict[str, Any]] = {
    "a function": add,
    "no arguments": nothing,
    "nested models": Shape,
    "free parts": Free,
    "a recursive model": Tree,
    "OpenAI's notation": plain({"type": "object", "properties": {"a": {"type": ["string", "null"]}}}),
    "options at the top": plain(OPTIONS),
    "options in Anthropic's notation": {"name": "plain", "description": "d", "input_schema": OPTIONS},
    "one of two models": Choice,
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One world for all tests."""
    with World() as entered:
        yield entered


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_every_tool_is_taken_strict_or_not(world: World, target: tuple[str, str]) -> None:
    """As it is, or mended in a copy; whatever `strict` says, which every third tool of a target is without."""
    for number, (name, given) in enumerate(TOOLS.items(), TARGETS.index(target)):
        passed = copy.deepcopy(given) if isinstance(given, dict) else given
        tools = [given, nothing] if given is not nothing else [given]
        for strict in (True, (None, False)[number % 2]):
            body = world.ask(target, "hi", tools=tools, strict=strict)
            assert len(repr(body.get("tools"))) > 50, name
        assert given == passed, name


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_no_tools_are_no_tools(world: World, target: tuple[str, str]) -> None:
    """An empty list is none, and what would be said of tools is not said."""
    body = world.ask(target, "hi", tools=[], tool_choice="auto", parallel_tool_calls=False)
    assert not {"tools", "tool_choice", "parallel_tool_calls", "toolConfig"} & body.keys()
