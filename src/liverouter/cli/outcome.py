"""What a write tells: what stood there before, what the new config still lacks, which processes apply it."""

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

NO_RIGHT: Final = "LR207"  # a writer need neither read sealed secrets nor see the fleet
# Problems that a service may not have, for its own environment may hold what this shell's lacks.
DEPENDS_ON_ENVIRONMENT: Final = ("LR100", "LR102", "LR111", "LR501", "LR502")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the database holds, as far as this role may see it; read before a write.

    Attributes:
        rows: None where this role may not read them all.
        served: a live process runs this very revision, so that its environment has what these rows need.
    """

    revision: int
    rows: Rows | None
    served: bool

    @classmethod
    async def read(cls, repository: SettingsRepository) -> Stored:
        """Read it; without the right to read rows or to see processes, that part is left out."""
        try:
            rows = await repository.read()
        except DatabaseError as exc:
            if exc.code != NO_RIGHT:
                raise
            return cls(revision=(await repository.head()).revision, rows=None, served=False)
        served = any(
            row["state"] != "offline" and row["applied_revision"] == rows.revision
            for row in await visible_instances(repository) or ()
        )
        return cls(revision=rows.revision, rows=rows, served=served)

    def remaining(self, draft: Rows | None, keyring: Keyring | None) -> list[Problem]:
        """Return the Problems of *draft*, the rows after the write; none where this role may not read them.

        What these rows lacked in this shell's environment before the write, and a live process does not lack, is left
        out.
        """
        if self.rows is None or draft is None:
            return []
        problems = validate(draft, environment=Environment(), keyring=keyring).problems
        before = validate(self.rows, environment=Environment(), keyring=keyring).problems if self.served else ()
        known = [p for p in before if p.code in DEPENDS_ON_ENVIRONMENT]
        return [p for p in problems if p not in known]


async def visible_instances(repository: SettingsRepository) -> list[dict[str, Any]] | None:
    """Return the instances, None where this role may not see them."""
    try:
        return await repository.instances()
    except DatabaseError as exc:
        if exc.code != NO_RIGHT:
            raise
        return None


async def tell(
    repository: SettingsRepository,
    *,
    before: int,
    revision: int,
    problems: Sequence[Problem],
    wait_s: float | None,
    as_json: bool,
    bound: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Say what was written and what it lacks, then wait where that was asked for.

    Args:
        repository: where it was written.
        before: the revision that was the head before.
        revision: the one that was made; *before* where nothing changed.
        problems: of the new config.
        wait_s: how long to wait for all live instances to apply it, seconds; None does not wait.
        as_json: print one JSON document instead of lines.
        bound: by the name of each secret that was written, the origins that it may be sent to.

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
        # It was written all the same: nothing is an error any more.
        show_problems(
            (replace(p, severity="warning") if p.severity == "error" else p for p in problems),
            err=True,
        )
        if any(p.code in DEPENDS_ON_ENVIRONMENT for p in problems):
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
    """Return how long *revision* took into every live instance; nothing where this role may not see them."""
    instances = await visible_instances(repository)
    if instances is None:
        return {}
    row: dict[str, Any] = next((r for r in await repository.rollout() if r["revision"] == revision), {})
    live = sum(instance["state"] != "offline" for instance in instances)
    return {"live": live, **{name: row.get(name) for name in ("applied", "p50_ms", "p99_ms", "slowest")}}


def _sentence(rollout: dict[str, Any]) -> str:
    """Return what `_rollout` found, for people."""
    if not rollout:
        return "live in every instance"
    if not rollout["live"]:
        return "no process runs a client: nobody to wait for"
    said = f"live in {rollout['live']} of {rollout['live']} instances"
    if rollout["p99_ms"] is not None:
        said += f"; the slowest, {rollout['slowest']}, {rollout['p99_ms']:.0f} ms after the commit"
    return said
