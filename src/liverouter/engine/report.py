"""Parts of a report, as `liverouter.report` takes them: outcomes of revisions, labels, versions. Pure."""

from __future__ import annotations

import contextlib
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.events import ConfigApplied, ConfigRejected

_MAX_LABEL_LENGTH: Final = 500
_MAX_LABELS_LENGTH: Final = 4_000  # all together, names included


def applied(event: ConfigApplied) -> dict[str, Any]:
    """Return the outcome of a revision that went live, as a report has it."""
    return {
        "revision": event.revision,
        "epoch": event.epoch,
        "outcome": "applied",
        "stage": "live",
        "timed": event.commit_to_live_ms is not None,
        "read_ms": event.read_ms,
        "validate_ms": event.validate_ms,
        "build_ms": event.build_ms,
        "warm_ms": event.warm_ms,
    }


def rejected(event: ConfigRejected) -> dict[str, Any]:
    """Return the outcome of a rejected revision, as a report has it: of its Problems the first."""
    first = event.problems[0]
    return {
        "revision": event.revision,
        "epoch": event.epoch,
        "outcome": "rejected",
        "stage": event.stage,
        "code": first.code,
        "message": first.message,
    }


def shortened(labels: Mapping[str, str]) -> dict[str, str]:
    """Return as much of *labels* as a report may hold: longer ones would have it refused."""
    kept: dict[str, str] = {}
    left = _MAX_LABELS_LENGTH
    for name, label in labels.items():
        short = label[:_MAX_LABEL_LENGTH]
        left -= len(name) + len(short)
        if left < 0:
            break
        kept[name] = short
    return kept


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in ("liverouter", "litellm", "langchain-core"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
