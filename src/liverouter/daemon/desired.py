"""The stored config as the API shows, checks and changes it. Secrets go in and never come out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.credentials import secret_faults
from liverouter.config.draft import origins_in_force, sealed_unless_same, with_changes
from liverouter.config.environment import Environment
from liverouter.config.kinds import SettingValueError, parse
from liverouter.config.plain_secrets import plain_secrets
from liverouter.config.settings import SETTINGS, names_a_model, shown
from liverouter.config.validate import validate
from liverouter.daemon.models import Checked, Config, Draft, FromEnvironment, RevisionRow, Saved, StoredSecret
from liverouter.daemon.problem_details import ProblemModel, newest
from liverouter.engine.check import check
from liverouter.errors import ConfigError, ConflictError, DatabaseError, Problem, did_you_mean
from liverouter.postgres.repository import UNSET
from liverouter.providers import PROVIDERS
from liverouter.secrecy.keys import looks_like_key
from liverouter.secrecy.literal import looked_up
from liverouter.secrecy.sealing import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from liverouter.daemon.models import CheckBody, Edit, RollbackBody
    from liverouter.loops.thread import LoopThread
    from liverouter.postgres.repository import SettingsRepository
    from liverouter.revision import Rows, SealedSecret
    from liverouter.secrecy.sealing import Keyring

_BLANK: Final = "***"  # shown instead of what may be a secret
_MOST_ATTEMPTS: Final = 20  # while others save; each is a few round trips
# What a secret field is called, as a setting and inside an entry of llm_fallback_config or an object of settings.
_SECRET_MEMBERS: Final = frozenset(
    name for spec in PROVIDERS.values() for f in spec.parts if f.kind == "secret" for name in (f.name, f.alias) if name
)


class Desired:
    """Reads and writes the rows for people; for the event loop of its repository."""

    def __init__(self, *, repository: SettingsRepository, keyring: Keyring | None) -> None:
        """Without a *keyring* no secret can be stored, and none in the database opens."""
        self._repository, self._keyring = repository, keyring

    async def read(self) -> Config:
        """Return the stored config: revision, author, rows and secrets of one revision.

        Raises:
            DatabaseError: it cannot be read, others save faster than it can be read, or the history is empty.
        """
        for _ in range(_MOST_ATTEMPTS):
            raw = await self._repository.read()
            row = newest(await self._repository.history(limit=1))
            secrets = await self._repository.secrets()
            if await self._repository.head() == raw.head:
                return self._config(raw, row, secrets)
        hint = "Try again, and see in GET /api/revisions who saves so often"
        raise DatabaseError("the settings change while they are read", code="LR208", where="settings", hint=hint)

    def _config(self, raw: Rows, row: dict[str, Any], secrets: list[dict[str, Any]]) -> Config:
        """Return *raw* as the API shows it; *row* is that of the history, *secrets* what is told of each."""
        ids = self._keyring.ids if self._keyring else ()
        environment = Environment()
        return Config(
            revision=raw.revision,
            committed_at=raw.committed_at,
            author=row["author"],
            role=row["role"],
            comment=row["comment"],
            settings={name: _shown(shown(name, value)) for name, value in raw.settings.items() if _is_plain(name)},
            secrets={
                row["name"]: StoredSecret(opens=row["key_id"] in ids, **{k: v for k, v in row.items() if k != "name"})
                for row in secrets
            },
            environment={name: found for name in SETTINGS if (found := _from_environment(name, environment))},
            can_seal=self._keyring is not None,
            problems=self._problems(raw),
        )

    async def save(self, edit: Edit, *, expected_revision: int | None) -> Saved:
        """Store *edit* in one transaction, over *expected_revision* or, with None, over whichever is the head.

        Raises:
            ConfigError: a name is none of a setting, or one of a secret; or a setting holds a plain secret.
            ConflictError: the head is not *expected_revision*; with None, others saved first again and again.
            SecretError: there is no keyring to seal with.
            DatabaseError: any other failure; nothing was changed.
        """
        _check_names(edit)
        _check_values(edit)

        async def attempt() -> Saved:
            raw = await self._repository.read()
            base = raw.revision if expected_revision is None else expected_revision
            revision = await self._repository.write(
                {name: UNSET if value is None else value for name, value in edit.settings.items()},
                self._sealed(edit, raw),
                delete=_removed(edit.secrets),
                expected_revision=base,
                author=edit.author,
                comment=edit.comment,
            )
            return await self._saved(base, revision)

        return await _written(attempt, any_revision=expected_revision is None)

    async def rollback(self, body: RollbackBody, *, expected_revision: int | None) -> Saved:
        """Restore a former revision as a new one, over *expected_revision* or, with None, over whichever is the head.

        Raises:
            ConflictError: the head is not *expected_revision*; with None, others saved first again and again.
            DatabaseError: there is no such revision (LR213), or any other failure; nothing was changed.
        """

        async def attempt() -> Saved:
            base = (await self._repository.head()).revision if expected_revision is None else expected_revision
            revision = await self._repository.rollback(
                body.revision, comment=body.comment, author=body.author, expected_revision=base
            )
            return await self._saved(base, revision)

        return await _written(attempt, any_revision=expected_revision is None)

    async def check(self, body: CheckBody, io: LoopThread) -> Checked:
        """Say whether the stored config with *body* over it would serve; calls go over *io*.

        Raises:
            ConfigError: a name is none of a setting, or one of a secret; or a secret could never be used.
            SecretError: there is no keyring to seal the draft's secrets with.
            DatabaseError: the stored config cannot be read.
        """
        _check_names(body)
        raw = await self._repository.read()
        draft = with_changes(_with_changes(raw, body), remove=_removed(body.secrets), secrets=self._sealed(body, raw))
        report = await check(
            draft, environment=Environment(), keyring=self._keyring, live=body.live, name=body.name, io=io
        )
        return Checked.model_validate(report.as_dict())

    async def conflict(self, expected_revision: int | None) -> dict[str, Any]:
        """Return the members that a 412 has beside its Problem: `current`, a RevisionRow, and `changes` since then."""
        current = newest(await self._repository.history(limit=1))
        try:
            changes = await self._repository.diff(expected_revision or 0, current["revision"])
        except DatabaseError:
            changes = []  # the history does not hold the expected revision: it was pruned, or an older backup restored
        return {"current": RevisionRow.model_validate(current).model_dump(mode="json"), "changes": changes}

    async def history(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest *limit* revisions, newest first."""
        return await self._repository.history(limit=limit)

    async def diff(self, a: int, b: int) -> list[dict[str, Any]]:
        """Return what differs between two revisions.

        Raises:
            DatabaseError: there is no such revision (LR213), or any other failure.
        """
        return await self._repository.diff(a, b)

    async def _saved(self, before: int, revision: int) -> Saved:
        """Return the outcome of a write over the revision *before* that made *revision*, with the head's Problems."""
        return Saved(
            revision=revision, changed=revision != before, problems=self._problems(await self._repository.read())
        )

    def _problems(self, raw: Rows) -> list[ProblemModel]:
        """Return what is wrong with *raw*, judged with this process's environment and keyring."""
        found = validate(raw, environment=Environment(), keyring=self._keyring).problems
        return [ProblemModel(**problem.as_dict()) for problem in found]

    def _sealed(self, draft: Draft, raw: Rows) -> dict[str, SealedSecret]:
        """Return the draft's secrets, sealed and bound to the origins that *raw* with the draft has them sent to.

        Raises:
            ConfigError: a secret could never be used.
            SecretError: there is no keyring to seal with.
        """
        secrets = {name: Secret(value.get_secret_value()) for name, value in draft.secrets.items() if value is not None}
        if unfit := [problem for name, secret in secrets.items() for problem in secret_faults(name, secret)]:
            raise ConfigError(unfit)
        rows = _with_changes(raw, draft).settings
        return {
            name: sealed_unless_same(raw, name, secret, self._keyring, origins=origins_in_force(rows, name))
            for name, secret in secrets.items()
        }


async def _written(attempt: Callable[[], Awaitable[Saved]], *, any_revision: bool) -> Saved:
    """Return what *attempt* returns, which writes over the head that it read itself.

    With *any_revision* it is called again where somebody saved between its read and its write: what it sealed, and
    whether it changed anything, belongs to the revision that it read.

    Raises:
        ConflictError: somebody saved in between; with *any_revision*, during the last of _MOST_ATTEMPTS too.
    """
    for _ in range(_MOST_ATTEMPTS - 1 if any_revision else 0):
        with contextlib.suppress(ConflictError):
            return await attempt()
    return await attempt()


def _is_plain(name: str) -> bool:
    """Tell whether *name* is a setting of ours that may be shown; other software keeps rows there too."""
    return names_a_model(name) or (name in SETTINGS and SETTINGS[name].kind != "secret")


def _check_names(draft: Draft) -> None:
    """Refuse names that are no setting's, and secrets among the settings; rows of any name may be removed.

    Raises:
        ConfigError: with a Problem for each; or the one that a name looks like a key, which is not repeated.
    """
    problems = []
    if any(looks_like_key(name) for name in (*draft.settings, *draft.secrets)):
        hint = 'Send a key as the value of its name: {"secrets": {"openai_api_key": "…"}}'
        raise ConfigError([Problem("LR110", "what looks like a key stands where a name belongs", "body", hint)])
    for name, value in draft.settings.items():
        if names_a_model(name):
            continue
        if name not in SETTINGS and value is not None:
            hint = did_you_mean(name, SETTINGS) or "GET /api/providers lists the settings"
            problems.append(Problem("LR106", f"'{name}' is not a setting", f"settings.{name}", hint))
        elif name in SETTINGS and SETTINGS[name].kind == "secret" and value is not None:
            hint = 'Send it in "secrets", where it is sealed'
            problems.append(Problem("LR110", f"'{name}' is a secret", f"settings.{name}", hint))
    if problems:
        raise ConfigError(problems)


def _check_values(draft: Draft) -> None:
    """Refuse what the database refuses: it names the first setting only, and a page shows each beside its field.

    Raises:
        ConfigError: with a Problem for each plain secret, and for each value that a library would look up.
    """
    settings = draft.settings.items()
    places = [(name, value, f"settings.{name}") for name, value in settings]
    if problems := [p for name, value, at in places for p in (*plain_secrets(name, value, at), *looked_up(value, at))]:
        raise ConfigError(problems)


def _with_changes(raw: Rows, draft: Draft) -> Rows:
    """Return *raw* with the settings of *draft*, and without those that it sets to null; secrets stay as they are."""
    changed = {name: value for name, value in draft.settings.items() if value is not None}
    return with_changes(raw, settings=changed, remove=_removed(draft.settings))


def _removed(members: dict[str, Any]) -> list[str]:
    """Return the names whose value is None, which removes them."""
    return [name for name, value in members.items() if value is None]


def _from_environment(name: str, environment: Environment) -> FromEnvironment | None:
    """Return the source of the setting *name* in *environment* and, unless it is a secret, its value.

    None where *environment* does not give it, or it cannot be read.
    """
    found, setting = environment.get(name), SETTINGS[name]
    if found is None or found.error:
        return None
    if setting.kind == "secret":
        return FromEnvironment(source=found.source, value=None)
    try:
        return FromEnvironment(source=found.source, value=_shown(shown(name, parse(setting, found.text))))
    except SettingValueError:
        return FromEnvironment(source=found.source, value=None)  # one of Config.problems says what is wrong with it


def _shown(value: Any, name: str = "") -> Any:
    """Return *value*, the member *name* of what it stands in, without what may be a secret.

    Blanked are members that may hold only a reference to a secret and hold another value, and texts that look like a
    secret or go by a name of one.
    """
    if isinstance(value, dict) and set(value) == {"secret"}:
        return {"secret": _shown(value["secret"])}
    if name in _SECRET_MEMBERS and value is not None:
        return _BLANK
    if isinstance(value, dict):
        return {key: _shown(member, key) for key, member in value.items()}
    if isinstance(value, list):
        return [_shown(member, name) for member in value]
    return _BLANK if isinstance(value, str) and plain_secrets(name, value, "") else value
