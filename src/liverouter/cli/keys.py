"""`keys generate | rotate | status`: the keyring that seals secrets, which the database never sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.cli.outcome import NO_RIGHT
from liverouter.cli.output import say, show_json, show_table
from liverouter.cli.session import access, database_options, json_option
from liverouter.errors import DatabaseError
from liverouter.secrecy.sealing import Keyring, generate_key, no_keyring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from liverouter.cli.session import Access

_WHERE: Final = "LIVEROUTER_SECRET_KEYS"
_KEY: Final = {"key_id": "KEY", "secrets": "SECRETS", "in_history": "IN HISTORY", "in_keyring": "HERE", "note": "NOTE"}


@click.group("keys")
def keys_group() -> None:
    """Make and rotate the keys that seal secrets.

    \b
    Example:
      export LIVEROUTER_SECRET_KEYS="$(liverouter keys generate)"
    """  # noqa: D301 - \b is click's mark for "do not rewrap"


@keys_group.command("generate")
def generate_command() -> None:
    """Print a new key on stdout, and how to use it on stderr.

    \b
    Example:
      (umask 077; liverouter keys generate > liverouter.keys)
      export LIVEROUTER_SECRET_KEYS_FILE="$PWD/liverouter.keys"
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    key = generate_key()
    click.echo(key)
    click.echo(
        f"This is key {Keyring.from_text(key).newest}. Give it to every process that uses the database, by\n"
        "LIVEROUTER_SECRET_KEYS, or by a file that LIVEROUTER_SECRET_KEYS_FILE names; where there are older keys,\n"
        "before them: 'new,old'. Then run `liverouter keys rotate`. Without it the sealed secrets cannot be opened.",
        err=True,
    )


@keys_group.command("rotate")
@click.option("--author", metavar="NAME", help="Who, for the history.")
@json_option
@database_options
def rotate_command(*, author: str | None, as_json: bool, database_url: str | None) -> None:
    """Seal everything with the newest key, history included, in one transaction. A second run changes nothing.

    \b
    Example:
      LIVEROUTER_SECRET_KEYS="$NEW,$OLD" liverouter keys rotate
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    db = access("keys rotate", database_url)
    keyring = sealing_keyring(db)
    done = db.run(lambda repository: repository.reseal(keyring, author=author))
    if as_json:
        show_json({"revision": done.revision, "renewed": done.renewed, "lost": done.lost, "key_id": keyring.newest})
        return
    what = f"{done.renewed} values sealed anew" if done.renewed else "nothing to do: everything is sealed"
    say(f"{what} with key {keyring.newest}; revision {done.revision}")
    for key_id, count in done.lost.items():
        say(f"{count} values of the history stay sealed with key {key_id}, which is not in the keyring", err=True)


@keys_group.command("status")
@json_option
@database_options
def status_command(*, as_json: bool, database_url: str | None) -> None:
    """Count what each key has sealed, and say which keys can be dropped from the keyring.

    \b
    Example:
      liverouter keys status
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    db = access("keys status", database_url)
    used = {row["key_id"]: row for row in db.run(lambda repository: repository.key_usage())}
    here = db.keyring.ids if db.keyring else ()
    rows = [_status(key_id, used.get(key_id, {}), here) for key_id in dict.fromkeys([*here, *used])]
    if as_json:
        show_json(rows)
    elif rows:
        show_table(rows, _KEY)
    else:
        say("no key: make one with `liverouter keys generate`")


COMMANDS: Final = (keys_group,)


def _status(key_id: str, used: Mapping[str, Any], here: Sequence[str]) -> dict[str, Any]:
    """Return the row of one key: how much it has sealed, as *used* counts, and whether it can be dropped.

    *here* are the ids of the keyring, newest first.
    """
    secrets, in_history = used.get("secrets", 0), used.get("in_history", 0)
    if key_id not in here:
        note = "not in the keyring: what it sealed cannot be opened here"
    elif key_id == here[0]:
        note = "newest: seals"
    elif secrets:
        note = "needed: run `liverouter keys rotate`"
    else:
        note = "needed for rollbacks only: run `liverouter keys rotate`" if in_history else "can be dropped"
    return {"key_id": key_id, "secrets": secrets, "in_history": in_history, "in_keyring": key_id in here, "note": note}


def sealing_keyring(db: Access) -> Keyring:
    """Return the keyring that seals what a command stores.

    Raises:
        SecretError: this shell has none (LR501). A new one is no advice where others may have sealed something.
        DatabaseError: the database cannot be asked for that.
    """
    if db.keyring is not None:
        return db.keyring
    try:
        used = db.run(lambda repository: repository.key_usage())
    except DatabaseError as exc:
        if exc.code != NO_RIGHT:
            raise
        raise no_keyring(_WHERE, "of the services") from None
    raise no_keyring(_WHERE, used[0]["key_id"] if used else None)
