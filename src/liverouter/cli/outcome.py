"""Around a write: what stood there before, what the new config still lacks, and how it comes to the processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.cli.output import say, show_json, show_problems
from liverouter.config.environment import Environment
from liverouter.config.validate import validate
from liverouter.errors import DatabaseError, RolloutError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from liverouter.errors import Problem
    from liverouter.postgres.repository import SettingsRepository
    from liverouter.revision import Rows
    from liverouter.secrecy.sealing import Keyring

_NO_RIGHT: Final = "LR207"  # a writer need neither read sealed secrets nor see the fleet
_DEPENDS_ON_ENVIRONMENT: Final = (
    "LR100",
    "LR102",
    "LR111",
    "LR501",
    "LR502",
)  # a service's own environment may have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What stood in the database before a write, as far as this role may see it."""

    revision: int
    raw: Rows | None  # None: this role may not read it whole
    served: bool  # a live process runs this very revision, so its environment has what it needs

    @classmethod
    async def read(cls, repository: SettingsRepository) -> Stored:
        """Read it; a right that is missing costs only what it was for."""
        try:
            raw = await repository.read()
        except DatabaseError as exc:
            if exc.code != _NO_RIGHT:
                raise
            return cls(revision=(await repository.head()).revision, raw=None, served=False)
        served = any(
            row["state"] != "offline" and row["applied_revision"] == raw.revision
            for row in await visible_instances(repository) or ()
        )
        return cls(revision=raw.revision, raw=raw, served=served)

    def remaining(self, draft: Rows | None, keyring: Keyring | None) -> list[Problem]:
        """Return what *draft*, which was written over this, still lacks; of the environment only what is new."""
        if self.raw is None or draft is None:
            return []
        problems = validate(draft, environment=Environment(), keyring=keyring).problems
        before = validate(self.raw, environment=Environment(), keyring=keyring).problems if self.served else ()
        known = [p for p in before if p.code in _DEPENDS_ON_ENVIRONMENT]
        return [p for p in problems if p not in known]


async def visible_instances(repository: SettingsRepository) -> list[dict[str, Any]] | None:
    """Return the instances, None where this role may not see them."""
    try:
        return await repository.instances()
    except DatabaseError as exc:
        if exc.code != _NO_RIGHT:
            raise
        return None


async def tell(
    repository: SettingsRepository,
    *,
    before: int,
    revision: int,
    problems: Sequence[Problem],
    wait_s: float | None,  # for all live instances to apply it; None: not at all
    as_json: bool,
    bound: Mapping[str, Sequence[str]] = MappingProxyType({}),  # secret's name -> where it may be sent by this write
) -> None:
    """Say what was written and what it lacks, then wait where that was asked for.

    Raises:
        RolloutError: an instance rejected the revision, or not all applied it in time.
    """
    result: dict[str, Any] = {"revision": revision, "changed": revision != before, "problems": problems}
    if bound:
        result["origins"] = bound
    if not as_json:
        say(f"revision {revision}" if revision != before else f"nothing changed: still revision {revision}")
        for name, origins in bound.items():
            say(f"  {name} may be sent to its provider's own hosts and to {', '.join(origins)}")
        show_problems((replace(p, severity="warning") for p in problems), err=True)  # it was written all the same
        if any(p.code in _DEPENDS_ON_ENVIRONMENT for p in problems):
            say("  (seen with this shell's environment; a service may have its own)", err=True)
    try:
        if wait_s is not None:
            await repository.wait_applied(revision, wait_s)
            result["rollout"] = rollout = await _rollout(repository, revision)
            if not as_json:
                say(_sentence(rollout))
    except RolloutError as exc:
        result["rollout"] = {"problem": exc.problem}
        raise
    finally:
        if as_json:
            show_json(result)


async def _rollout(repository: SettingsRepository, revision: int) -> dict[str, Any]:
    """Return how *revision*, which every live instance runs, came there; nothing where this role may not see it."""
    instances = await visible_instances(repository)
    if instances is None:
        return {}
    row: dict[str, Any] = next((r for r in await repository.rollout() if r["revision"] == revision), {})
    live = sum(instance["state"] != "offline" for instance in instances)
    return {"live": live, **{name: row.get(name) for name in ("applied", "p50_ms", "p99_ms", "slowest")}}


def _sentence(rollout: dict[str, Any]) -> str:
    if not rollout:
        return "live in every instance"
    if not rollout["live"]:
        return "no process runs a client: nobody to wait for"
    said = f"live in {rollout['live']} of {rollout['live']} instances"
    if rollout["p99_ms"] is not None:
        said += f"; the slowest, {rollout['slowest']}, {rollout['p99_ms']:.0f} ms after the commit"
    return said
