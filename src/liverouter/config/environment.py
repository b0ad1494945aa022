"""What the environment offers for rows and secrets: a variable, or the file that ``<NAME>_FILE`` names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from liverouter.errors import OptionsError
from liverouter.secrecy.origins import origin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_BETWEEN: Final = re.compile(r"[,\s]+")
_NOT_IN_A_VARIABLE: Final = re.compile(r"[^A-Z0-9_]")


@dataclass(frozen=True, slots=True)
class EnvironmentValue:
    """A setting that the environment gives, directly or by a file named in ``<NAME>_FILE``.

    Attributes:
        text: the value, without the space around it.
        source: "environment OPENAI_API_KEY" or "file /run/secrets/openai".
        error: why it gives no value: the file cannot be read or is empty, or the text is no UTF-8; else "".
    """

    text: str = field(repr=False)
    source: str
    error: str = ""


class Environment:
    """What the environment offers for rows and secrets, read afresh by each new instance.

    A row never chooses which variable is read: settings and providers' secrets have their own names, any other secret
    ``LIVEROUTER_SECRET_<NAME>``. It remembers what it was asked, so that a later one can tell whether that changed.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, api_bases: tuple[str, ...] | None = None) -> None:
        """Read from *environ*, by default the process's own; *api_bases* wins over its LIVEROUTER_API_BASES."""
        self._environ = os.environ if environ is None else environ
        self._asked: dict[str, EnvironmentValue | None] = {}
        self.api_bases = api_bases if api_bases is not None else _known_bases(self._environ)

    def get(self, name: str) -> EnvironmentValue | None:
        """Return the value of the setting or the provider's secret *name*; reads ``<NAME>_FILE`` where that is set.

        The caller asks for names of the table of settings and for no others.
        """
        return self._value(name.upper())

    def referenced(self, name: str) -> EnvironmentValue | None:
        """Return the secret that a row calls *name*, None where there is none."""
        return self._value(variable) if (variable := reference_variable(name)) else None

    def differs(self, former: Environment) -> bool:
        """Tell whether anything *former* was asked for is different now."""
        return self.api_bases != former.api_bases or any(
            self._value(variable) != value for variable, value in former._asked.items()
        )

    def _value(self, variable: str) -> EnvironmentValue | None:
        """Return what *variable* gives, read on the first question and remembered."""
        if variable not in self._asked:
            self._asked[variable] = self._read(variable)
        return self._asked[variable]

    def _read(self, variable: str) -> EnvironmentValue | None:
        """Return the variable's text, else that of the file named in ``<variable>_FILE``; None where neither is set."""
        if text := self._environ.get(variable, "").strip():
            return _utf8(EnvironmentValue(text, f"environment {variable}"))
        if not (path := self._environ.get(f"{variable}_FILE", "").strip()):
            return None
        shown = path.encode(errors="backslashreplace").decode()[:200]
        try:
            text = Path(path).read_text(encoding="utf-8-sig").strip()  # Windows puts a mark before a text
        except (OSError, ValueError) as exc:  # ValueError: what is in it, or the path itself, is no UTF-8
            return EnvironmentValue("", f"file {shown}", f"{shown} cannot be read ({type(exc).__name__})")
        # An empty file is an error and no missing secret: whoever replaces a secret truncates the file first.
        return EnvironmentValue(text, f"file {shown}", "" if text else f"{shown} is empty")


def reference_variable(name: str) -> str:
    """Return the environment variable that holds the secret which a row calls *name*; "" for a name that has none.

    LIVEROUTER_SECRET_KEYS is the keyring, and what ends in _FILE holds a path.
    """
    variable = "LIVEROUTER_SECRET_" + _NOT_IN_A_VARIABLE.sub("_", name.upper())
    return "" if variable == "LIVEROUTER_SECRET_KEYS" or variable.endswith("_FILE") else variable


def read_api_bases(value: object, where: str) -> tuple[str, ...]:
    """Return the origins of base URLs: of a text with commas or blanks between, or of a sequence.

    Raises:
        OptionsError: one of them cannot be read.
    """
    words = _BETWEEN.split(value.strip()) if isinstance(value, str) else [str(word) for word in cast("Any", value)]
    origins = [origin_of(word) for word in words if word]
    if not all(origins):
        raise OptionsError(
            "one of the base URLs cannot be read",
            where=where,
            hint="Write URLs with commas between: https://gateway.internal,http://10.0.0.7:8000",
        )
    return tuple(dict.fromkeys(origins))


def _known_bases(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the origins of LIVEROUTER_API_BASES; none where it cannot be read, which the process options refuse."""
    try:
        return read_api_bases(environ.get("LIVEROUTER_API_BASES", ""), "LIVEROUTER_API_BASES")
    except OptionsError:
        return ()


def _utf8(value: EnvironmentValue) -> EnvironmentValue:
    """Return *value*, or its error where it holds bytes that no database and no provider takes."""
    try:
        value.text.encode()
    except UnicodeEncodeError:
        return EnvironmentValue("", value.source, f"{value.source} is not UTF-8")
    return value
