"""Process options: where each comes from, what it may be, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liverouter.errors import OptionsError, SecretError
from liverouter.options import OPTIONS, Options, load, names_database
from liverouter.secrecy.sealing import generate_key

URL = "postgresql://u:p@h/d"


def options(environ: dict[str, str] | None = None, **arguments: Any) -> Options:
    """Return the options of a process that has a database."""
    return load({"DATABASE_URL": URL} | (environ or {}), **arguments)


class TestLoad:
    def test_defaults_are_those_of_the_table(self) -> None:
        """Whoever sets nothing gets what the reference says, and is named for the program."""
        found = options()
        assert found.database_url == URL
        assert found.app
        for name in set(OPTIONS) - {"database_url", "app"}:
            assert getattr(found, name) == OPTIONS[name].default

    def test_argument_wins_over_variable(self) -> None:
        """None is no argument, and an empty one is the default."""
        environ = {"LIVEROUTER_APP": "billing", "LIVEROUTER_POLL_INTERVAL_S": "5", "LIVEROUTER_REDIS_URL": "redis://h"}
        assert options(environ).poll_interval_s == 5
        assert options(environ, app=None, poll_interval_s=7, redis_url="").app == "billing"
        assert options(environ, poll_interval_s=7).poll_interval_s == 7
        assert options(environ, redis_url="").redis_url == ""

    @pytest.mark.parametrize(
        ("name", "given", "value"),
        [
            ("ready_timeout_s", "30", 30.0),
            ("ready_timeout_s", 1, 1.0),
            ("heartbeat_interval_s", "0", 0.0),
            ("gc_freeze", "No", False),
            ("gc_freeze", 1, True),
            ("gc_freeze", False, False),
            ("labels", "region=eu, tier = web,", {"region": "eu", "tier": "web"}),
            ("labels", {"n": 1}, {"n": "1"}),
            ("api_bases", "https://A.internal/v1 http://10.0.0.7:8000", ("https://a.internal", "http://10.0.0.7:8000")),
            ("api_bases", ["https://a.internal"], ("https://a.internal",)),
            ("snapshot_file", "~/x", Path("~/x").expanduser()),
            ("listen_url", "postgres://h/d", "postgresql://h/d"),
            ("app", "a\x1bb", "a\x1bb"),
        ],
    )
    def test_value_is_read(self, name: str, given: object, value: object) -> None:
        """An argument of any sensible type, and the variable's text."""
        assert getattr(options(None, **{name: given}), name) == value
        if isinstance(given, str):
            assert getattr(options({OPTIONS[name].variable: f" {given} "}), name) == value

    @pytest.mark.parametrize(
        ("name", "given", "words"),
        [
            ("ready_timeout_s", "soon", "the value is not a number"),
            ("ready_timeout_s", "nan", "the number is out of range"),
            ("heartbeat_interval_s", 0.01, "Choose a number from 0.05 to 30"),
            ("heartbeat_interval_s", 31, "Choose a number from 0.05 to 30"),
            ("poll_interval_s", 0, "the number is out of range"),
            ("gc_freeze", "perhaps", "the value is not true or false"),
            ("labels", "a b=1", "LIVEROUTER_LABELS=region=eu,tier=web"),
            ("api_bases", "gateway.internal", "one of the base URLs cannot be read"),
            ("redis_url", "http://h", "the value is not a Redis URL"),
            ("listen_url", "h/d", "is not a PostgreSQL URL"),
            ("snapshot_file", "~nobody-is-called-so/x", "the value is not a path"),
            ("snapshot_file", 5, "the value is not a path"),
            ("snapshot_file", "a\0b", "no path holds a NUL"),
        ],
    )
    def test_wrong_value_is_told_by_its_variable(self, name: str, given: object, words: str) -> None:
        """The code, the place and the way out, before anything is opened."""
        with pytest.raises(OptionsError, match=words) as caught:
            options(None, **{name: given})
        assert (caught.value.code, caught.value.where) == ("LR405", OPTIONS[name].variable)

    def test_database_is_named_by_either_variable(self) -> None:
        """`liverouter serve` runs one of its own where none is; blanks name nothing."""
        for variable in ("LIVEROUTER_DATABASE_URL", "LIVEROUTER_DATABASE_URL_FILE", "DATABASE_URL"):
            assert names_database({variable: "x"})
        assert not names_database({"DATABASE_URL": " ", "PGHOST": "h"})

    def test_unknown_argument_is_told_with_the_known_ones(self) -> None:
        """A slip of the pen does not go unseen."""
        with pytest.raises(OptionsError, match=r"unknown option .databse_url.* Known: database_url, listen_url"):
            options(databse_url=URL)


class TestKeyring:
    def test_keys_come_from_a_file_where_no_other_are(self, tmp_path: Path) -> None:
        """An argument wins over the variable, the variable over the file; an empty argument turns them off."""
        one, two = generate_key(), generate_key()
        (tmp_path / "keys").write_text(f"{one}\n")
        environ = {"LIVEROUTER_SECRET_KEYS_FILE": str(tmp_path / "keys")}
        assert options(environ).secret_keys == one
        assert options(environ | {"LIVEROUTER_SECRET_KEYS": two}).secret_keys == two
        assert options(environ, secret_keys="").keyring is None
        keyring = options(environ).keyring
        assert keyring is not None
        assert len(keyring.ids) == 1

    def test_keys_that_cannot_be_read_are_told(self, tmp_path: Path) -> None:
        """A missing file, and what is no key."""
        with pytest.raises(OptionsError, match="LIVEROUTER_SECRET_KEYS_FILE"):
            options({"LIVEROUTER_SECRET_KEYS_FILE": str(tmp_path / "none")})
        with pytest.raises(SecretError):
            _ = options(secret_keys="no key").keyring
