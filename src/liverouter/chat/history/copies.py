"""Copies of what a caller passed, so that no library changes what is the caller's, or another attempt's."""

from __future__ import annotations

from typing import Any


def fresh(value: Any) -> Any:
    """Return *value* with every dict, list and tuple in it copied, those of a class of its own as plain ones.

    Whatever else it holds, classes, functions and tools, is nobody's to change and stays itself.
    """
    if isinstance(value, dict):
        return {name: fresh(item) for name, item in value.items()}
    if isinstance(value, list):
        return [fresh(item) for item in value]
    if type(value) is tuple:
        return tuple(fresh(item) for item in value)
    return value
