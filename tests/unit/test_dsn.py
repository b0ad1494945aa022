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

    @pytest.mark.parametrize(
        "place",
        [
            "h:012345678/d",
            "h:0/d",
            "h:00/d",
            "h:65536/d",
            "h:+5/d",
            "h:-5/d",
            "h:\N{ARABIC-INDIC DIGIT FIVE}/d",
            "h: 5/d",
            "h:5:6/d",
            "::1/d",
            "[::1]5/d",
            "[::1]:012345678/d",
            "h1:5,h2:012345678/d",
            "/d?host=h:012345678",
            "/d?host=::1,h&port=5",
            "/d?port=012345678",
            "/d?port=%205",
        ],
    )
    def test_port_that_no_server_can_have_is_refused(self, place: str) -> None:
        """At once, and not as an OverflowError of each connect; an IPv6 address without brackets is one of them."""
        with pytest.raises(OptionsError, match="the port from 1 to 65535"):
            Dsn.parse(f"postgresql://{place}")

    @pytest.mark.parametrize("place", ["h:/d", "h:00000000005432/d", "h:65535/d", "[::1]:5/d", "%2Frun%2Fpg:5/d"])
    def test_port_in_any_form_that_a_server_can_have_is_taken(self, place: str) -> None:
        """Zeros before a number mean nothing, and no number is PostgreSQL's own."""
        assert Dsn.parse(f"postgresql://{place}").per_host() == (f"postgresql://{place}",)

    @pytest.mark.parametrize(
        "parameters", ["host=a,b,c&port=1,2", "host=a,b&port=1,2,3", "host=a&port=1,2", "host=a&port=1,"]
    )
    def test_hosts_and_ports_that_do_not_pair_up_are_refused(self, parameters: str) -> None:
        """As by PostgreSQL's own programs: no host is dropped in silence."""
        with pytest.raises(OptionsError, match="do not pair up"):
            Dsn.parse(f"postgresql:///d?{parameters}")

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

    def test_password_may_hold_an_at_sign(self) -> None:
        """Asyncpg would end the login at the first @, and look up the rest of the password as a host."""
        dsn = Dsn.parse("postgresql://u:p@ss@h1,h2/d")
        assert dsn.without_password == "h1,h2/d"
        assert dsn.per_host() == ("postgresql://u:p%40ss@h1/d", "postgresql://u:p%40ss@h2/d")

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ("host=a,b&port=1,2", ["host=a&port=1", "host=b&port=2"]),
            ("host=a,b&port=,2", ["host=a", "host=b&port=2"]),
            ("host=a,b&port=1", ["host=a&port=1", "host=b&port=1"]),
        ],
    )
    def test_ports_go_to_the_hosts_at_their_place(self, parameters: str, expected: list[str]) -> None:
        """One alone is for all, and an empty one is PostgreSQL's own."""
        found = Dsn.parse(f"postgresql:///d?{parameters}").per_host()
        assert found == tuple(f"postgresql:///d?{one}" for one in expected)

    def test_no_host_between_commas_is_no_host(self) -> None:
        """There is nobody to ask."""
        assert Dsn.parse("postgresql://u@,/d").per_host() == ()
