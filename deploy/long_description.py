"""README.md as the long description of the package, where its relative links would lead nowhere.

Called by hatchling when it builds. With a `Source` in `[project.urls]` links become absolute, at that version's tag, as
GitHub has them; without one, while the project has no public address, they become their text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE: Final = re.compile(r"(!?)\[([^\]\n]{0,300})\]\((?![a-z]{1,10}:|#)([^)\s]{1,300})\)")
_IN_THE_SDIST: Final = "The pages that are named here come with the source distribution, in `docs/`.\n"


class LongDescription(MetadataHookInterface):
    """Gives the package its `readme`, which pyproject.toml calls dynamic."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Write the long description into *metadata*, the project's table."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source", "")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": linked(text, source, f"v{metadata['version']}"),
        }


def linked(text: str, source: str, tag: str) -> str:
    """Return *text* with each relative link below *source* at *tag*; where *source* is empty, with its words alone."""

    def replaced(found: re.Match[str]) -> str:
        mark, words, path = found.groups()
        if source:
            return f"{mark}[{words}]({source.rstrip('/')}/{'raw' if mark else 'blob'}/{tag}/{path})"
        return "" if mark else words

    return _RELATIVE.sub(replaced, text) + ("" if source else f"\n{_IN_THE_SDIST}")
