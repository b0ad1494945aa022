"""One URL names the database: its hosts, what people may see of it, and what asyncpg is given."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from liverouter.errors import OptionsError
from liverouter.postgres.dsn import Dsn

SECRET = "s3cretpart"


class TestParse:
    @pytest.mark.parametrize(
        ("text", "label"),
        [
            ("postgresql://u:p@h:5/d", "h:5/d"),
            (" postgres://h1:1,h2/d?sslmode=require \n", "h1:1,h2/d"),
            ("postgresql+asyncpg://u:p%40@[::1]:1/d", "[::1]:1/d"),
            ("postgresql:///d?host=/run/pg&password=p", "/run/pg/d"),
            ("postgresql:///d", "localhost/d"),
            ("postgresql://h", "h"),
        ],
    )
    def test_label_names_host_and_database(self, text: str, label: str) -> None:
        """People, logs and the snapshot file know a database by it."""
        dsn = Dsn.parse(text)
        assert dsn.without_password == label
        assert dsn.text == f"postgresql://{text.strip().partition('://')[2]}"

    @pytest.mark.parametrize(
        "text", ["", "h:5/d", "mysql://u:{}@h/d", "postgresql://u:{}/x@h/d", "postgresql://u:{}#@h/d", "{}"]
    )
    def test_what_is_no_url_is_refused_by_its_option(self, text: str) -> None:
        """The error names the option and repeats nothing."""
        with pytest.raises(OptionsError) as caught:
            Dsn.parse(text.format(SECRET), "LIVEROUTER_LISTEN_URL")
        assert caught.value.where == "LIVEROUTER_LISTEN_URL"
        assert SECRET not in str(caught.value)

    @given(st.text(alphabet="ab/?#[]@:%,=&1 \N{SNOWMAN}", max_size=30))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        """Never another exception, and what is read can be told by its hosts."""
        try:
            dsn = Dsn.parse(f"postgresql://{text}")
        except OptionsError:
            return
        for url in dsn.per_host():
            assert len(Dsn.parse(url).per_host()) <= 1

    def test_password_is_in_no_repr(self) -> None:
        """A DSN may be logged."""
        dsn = Dsn.parse(f"postgresql://u:{SECRET}@h/d?password={SECRET}")
        assert repr(dsn) == "Dsn(without_password='h/d')"


class TestPerHost:
    def test_parameters_of_libpq_alone_are_left_out(self) -> None:
        """Asyncpg would hand them on to a server that knows none of them."""
        dsn = Dsn.parse("postgresql://u@h1,h2/d?channel_binding=require&sslmode=require&keepalives_idle=5")
        assert dsn.per_host() == ("postgresql://u@h1/d?sslmode=require", "postgresql://u@h2/d?sslmode=require")

    def test_parameters_keep_their_meaning(self) -> None:
        """What is percent-encoded stays so."""
        (url,) = Dsn.parse("postgresql://u@h/d?options=-c%20a%3Db&application_name=x+y").per_host()
        assert url == "postgresql://u@h/d?options=-c%20a%3Db&application_name=x%20y"

    def test_no_host_between_commas_is_no_host(self) -> None:
        """There is nobody to ask."""
        assert Dsn.parse("postgresql://u@,/d").per_host() == ()
