"""What stands after the ``?`` of a database URL: honoured, ignored and told of, or a mistake that is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from liverouter.errors import OptionsError
from liverouter.postgres.dsn import Dsn
from liverouter.postgres.dsn_options import IGNORED, TAKEN

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cretpart"


def options(query: str) -> dict[str, str]:
    """Return what the URL with *query* says beside host, name and login."""
    return dict(Dsn.parse(f"postgresql://u@h/d?{query}").options)


class TestHonoured:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("sslmode=verify-full&sslrootcert=system", {"sslmode": "verify-full", "sslrootcert": "system"}),
            ("SSLMode=Require", {"sslmode": "require"}),
            ("sslmode=no-verify", {"sslmode": "require"}),
            ("ssl=true", {"sslmode": "require"}),
            ("ssl=verify-full&sslmode=", {"sslmode": "verify-full"}),
            ("ssl=false", {"sslmode": "disable"}),
            ("connect_timeout=15&keepalives=0", {"connect_timeout": "15", "keepalives": "0"}),
            ("application_name=a&application_name=b", {"application_name": "b"}),
            ("sslmode=", {}),
        ],
    )
    def test_option_means_what_it_means_to_libpq(self, query: str, expected: dict[str, str]) -> None:
        """Other drivers' spellings of sslmode, too; the last of two counts; an empty one says nothing."""
        assert options(query) == expected

    def test_address_serves_where_no_host_is_named(self) -> None:
        """An IPv6 address as well; beside a host, whose name TLS has to verify, it is ignored."""
        assert Dsn.parse("postgresql:///d?hostaddr=10.0.0.7,::1").per_host() == (
            "postgresql:///d?host=10.0.0.7",
            "postgresql:///d?host=%5B%3A%3A1%5D",
        )
        for url in ("postgresql:///d?hostaddr=10.0.0.7&host=h", "postgresql://h/d?hostaddr=10.0.0.7"):
            assert Dsn.parse(url).ignored == ("hostaddr",)
            assert Dsn.parse(url).without_password == "h/d"

    def test_name_of_the_database_may_be_an_option(self) -> None:
        """With a slash before the question mark or without."""
        for place in ("h", "h/"):
            dsn = Dsn.parse(f"postgresql://u@{place}?dbname=d")
            assert dsn.without_password == "h/d"
            assert dsn.per_host() == ("postgresql://u@h?dbname=d",)


class TestIgnored:
    @pytest.mark.parametrize("name", sorted(IGNORED))
    def test_option_of_another_driver_is_ignored_and_told(self, name: str) -> None:
        """It never reaches the server, in whatever case it is written."""
        dsn = Dsn.parse(f"postgresql://u@h/d?{name}=1&sslmode=require&{name.upper()}=2")
        assert dsn.ignored == (name,)
        assert dsn.per_host() == ("postgresql://u@h/d?sslmode=require",)

    def test_no_option_is_both(self) -> None:
        """The two lists do not meet."""
        assert not IGNORED & TAKEN


class TestMistakes:
    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("sslmod=require", r"option 'sslmod' is not known .*LIVEROUTER_LISTEN_URL.*Did you mean 'sslmode'"),
            ("sslmode=requird", r"option sslmode has a value .* Write one of allow, .*verify-full"),
            ("target_session_attrs=master", r"target_session_attrs .* read-write"),
            ("connect_timeout=5s", r"option connect_timeout is no whole number"),
            ("connect_timeout=99999999999", r"option connect_timeout is no whole number"),
            ("replication=database", r"option 'replication' is not known"),
        ],
    )
    def test_mistake_names_the_option_and_where_it_stands(self, query: str, words: str) -> None:
        """At once, and not as the server's refusal of each connect."""
        with pytest.raises(OptionsError, match=words):
            Dsn.parse(f"postgresql://u:{SECRET}@h/d?{query}", "LIVEROUTER_LISTEN_URL")

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://u:1?{SECRET}=1@h/d",
            f"postgresql://h/d?user=u&password=a&{SECRET}=1",
            f"postgresql://h/d?sslmode={SECRET}",
        ],
    )
    def test_piece_of_a_password_is_never_told(self, url: str) -> None:
        """An unescaped character of a password makes an option of the rest."""
        with pytest.raises(OptionsError) as caught:
            Dsn.parse(url)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "hint"),
        [
            ("jdbc:postgresql://h/d?user=u", "without jdbc:"),
            ("'postgresql://h/d'", "without quotes"),
            ("psql postgresql://h/d", "without quotes or a command"),
            ("mysql://h/d", "Write postgresql://"),
        ],
    )
    def test_other_spelling_is_refused_with_the_right_one(self, url: str, hint: str) -> None:
        """What people copy from a vendor's page."""
        with pytest.raises(OptionsError, match=hint):
            Dsn.parse(url)

    @pytest.mark.parametrize(
        "scheme",
        ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2", "Postgres"],
    )
    def test_driver_of_sqlalchemy_does_not_matter(self, scheme: str) -> None:
        """One URL serves an application and this library."""
        assert Dsn.parse(f"{scheme}://u@h/d").text == "postgresql://u@h/d"


class TestService:
    @pytest.fixture
    def services(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A service file that PGSERVICEFILE names."""
        file = tmp_path / "services"
        file.write_text(
            f"# ours\n[app]\nhost=h1,h2\nport=1,2\ndbname=d\nuser=u\npassword={SECRET}%&=\nsslmode=require\n"
            "pgbouncer=true\nservice=app\n[wrong]\nhots=h\n"
        )
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        return file

    @pytest.mark.usefixtures("services")
    def test_service_fills_what_the_url_leaves_open(self) -> None:
        """As libpq reads it: no character of a password means anything in there."""
        dsn = Dsn.parse("postgresql://?service=app&user=other")
        assert dsn.without_password == "h1,h2/d"
        assert dsn.ignored == ("pgbouncer",)
        assert dsn.options["user"] == "other"
        assert dsn.per_host()[1].endswith("user=other&password=s3cretpart%25%26%3D&sslmode=require&host=h2&port=2")
        assert Dsn.parse("postgresql://h/x?service=app").without_password == "h/x"

    def test_service_that_is_not_there_or_wrong_is_named(self, services: Path, tmp_path: Path) -> None:
        """With the file to mend."""
        for url, words in {
            "postgresql://?service=nope": rf"there is no service 'nope'.*\[nope\] into {services}",
            "postgresql://?service=wrong": rf"option 'hots' is not known .*service 'wrong' in {services}",
            f"postgresql://?service=app&servicefile={tmp_path}": "cannot be read: IsADirectoryError",
        }.items():
            with pytest.raises(OptionsError, match=words):
                Dsn.parse(url)
