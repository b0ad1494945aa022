"""Whatever strangers write, the time it costs grows with its length: one row must not freeze every process."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from fastapi.exceptions import RequestValidationError

import liverouter
from liverouter.cli.assignments import parse_assignments
from liverouter.cli.output import text as cell
from liverouter.cli.read import _gather
from liverouter.config.environment import Environment
from liverouter.config.kinds import parse, url_fault
from liverouter.config.plain_secrets import plain_secrets
from liverouter.config.settings import SETTINGS
from liverouter.config.validate import validate
from liverouter.config.values import clip
from liverouter.daemon.problem_details import from_error, from_validation
from liverouter.daemon.sse import encode
from liverouter.errors import MOST_PROBLEMS, ConfigError, LiveRouterError, NotReadyError, Problem, did_you_mean
from liverouter.options import load as load_options
from liverouter.providers import PROVIDERS
from liverouter.providers.snowflake import is_jwt, snowflake_base
from liverouter.revision import Rows
from liverouter.secrecy.redaction import mask
from liverouter.secrecy.sealing import Keyring, sealed_key_id
from tests.kit.linear import DEEP, SIZES, VALUES, assert_linear, texts
from tests.kit.patterns import assert_linear_pattern, hidden, patterns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from liverouter.providers import ProviderSpec

HERE: Final = r"/^(localhost|127(\.\d{1,3}){3}|\[::1\])$/"
REVIEWED: Final = {
    r"/#[0-9a-f]{8}\b/",
    r"/ \[LR\d{3} at [^\][]*\]/",
    r"/ needs (\w+)/",
    r"/(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/",
    r"/['`“]?\b((?:llm|litellm)_[a-z_]+|[a-z]+(?:_[a-z]+)+)\b['`”]?/",
    r"/'params'/",
    r"/\.(?=[;)])/",
    r"/[.?!]$/",
    r"/[;.] |: (?=liverouter )/",
    r"/\. $/",
    r"/\b[A-Z][A-Za-z]{2,40}Error (\d{3})\b/",
    r"/\bimporting litellm\b/",
    r"/\blitellm's list\b/",
    r"/\blitellm\.(?=[A-Z])/",
    r"/\blitellm\b/",
    r"/\bliverouter (set|unset|show|check|serve|migrate|keys|diff|preload)\b|liverouter\.preload/",
    r"/\bsettings\.(?:llm:[\w-]*|\w+)(?:\[\d+\])?(?:\.\w+(?:\[\d+\])?)*/",
    r"/^#revision=(\d{1,18})$/",
    r"/^#token=(.+)/",
    r"/^llm:(?!default$)([\w-]+)$/",
    HERE,
    r"/^(secret|environment) (.+)$/",
    r"/^LR([24]|115|32[0138])/",
    r"/^LR20[2-9]/",
    r"/^LR[15]/",
    r"/^LR32[0-79]$/",
    r"/^\S+[/_]/",
    r"/^event: (.*)\ndata: (.*)$/",
    r"/^llm:([^.]*)(\.fallbacks)?/",
    r"/^settings\.(llm:[^.[]*(?:\.fallbacks)?|[A-Za-z0-9_]+)(?:\[(\d+)\])?(.*)$/",
}  # patterns of the page: each looks at one character after another, once


class TestPatterns:
    def test_every_pattern_is_known(self) -> None:
        """Each is a module's own name, where the next test finds it: none is written into a call."""
        assert hidden() == []
        assert {"liverouter.config.plain_secrets._URL", "liverouter.secrecy.redaction._TOKEN"} <= patterns().keys()

    def test_patterns_read_their_worst_cases_once(self) -> None:
        """What each begins to match, 6,400 characters of that, and an end that spoils the match."""
        for pattern in patterns().values():
            assert_linear_pattern(pattern)

    @pytest.mark.parametrize("pattern", [r"[a-z][a-z0-9+.-]*://", r"\s+$"])
    def test_pattern_that_is_not_linear_is_found(self, pattern: str) -> None:
        """The test above can fail: among the worst cases is one that hurts, and its measure tells it."""
        with pytest.raises(AssertionError, match="again and again"):
            assert_linear_pattern(re.compile(pattern))

    def test_patterns_of_the_page_were_reviewed(self) -> None:
        """They run in the browser of who administers, on what processes report."""
        pages = (Path(liverouter.__file__).parent / "daemon" / "page").glob("*.js")
        source = "\n".join(page.read_text(encoding="utf-8") for page in pages)
        literals = re.findall(
            r"(?<=[(=:,!&|? ])(/(?![/*])(?:\\.|\[[^\]\n]*\]|[^/\\\[\n])+/)[gimsuy]*(?=[.,;)])", source
        )
        assert set(literals) <= REVIEWED
        assert "RegExp" not in source.replace("new RegExp(spec.own_hosts)", "")  # which the test above reads


def raw(settings: Mapping[str, Any]) -> Rows:
    """Return rows: an honest primary, and *settings*."""
    honest = {"llm_provider": "openai", "llm_model": "m"}
    return Rows("e", 1, "c", datetime.now(UTC), 0.0, honest | dict(settings), {})


def judge(settings: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return what is wrong with rows."""
    return validate(raw(settings), environment=Environment({}), keyring=None).problems


FALLBACK: Final = {"provider": "openai", "model": "m"}
ROWS: Final[Mapping[str, Callable[[int], dict[str, Any]]]] = {
    "rows of other software": lambda n: {f"other_software_{i}": 1 for i in range(n // 20)},
    "rows named almost like ours": lambda n: {f"llm_mode{i}": 1 for i in range(n // 12)},
    "members that are not known": lambda n: {"llm_fallback_config": FALLBACK | {f"m{i}": 1 for i in range(n // 10)}},
    "fallbacks with such": lambda n: {
        "llm_fallback_config": [FALLBACK | {f"m{i}": 1 for i in range(n // 200)} for _ in range(20)]
    },
    "fallbacks that share a row": lambda n: {"openai_api_base": "a" * n, "llm_fallback_config": [FALLBACK] * 20},
    "a URL that nobody has": lambda n: {"openai_api_base": "https://h" + "/v1" * (n // 3)},
    "digits": lambda n: {"llm_max_tokens": "1" * n, "llm_temperature": 10 ** min(n, 300)},
    "a profile": lambda n: {"llm_profile": {f"m{i}": 1 for i in range(n // 10)}},
    "providers": lambda n: {"llm_provider": "o" * n, "llm_fallback_config": [{"provider": "o" * (n // 20)}] * 20},
    "names of secrets": lambda n: {"llm_fallback_config": FALLBACK | {"api_key": {"secret": "a" * n}}},
}


class TestRows:
    @pytest.mark.parametrize("kind", [*VALUES, "deep"])
    def test_plain_secrets_are_sought_once_in_each_place(self, kind: str) -> None:
        """A text, a name, a path: none is read again for what stands behind it."""
        assert_linear(
            lambda value: plain_secrets("llm_profile", value, "settings.llm_profile"), {**VALUES, "deep": DEEP}[kind]
        )

    @pytest.mark.parametrize("kind", ["question marks", "numbers", "members", "keys", "many far down"])
    def test_row_is_judged_in_linear_time(self, kind: str) -> None:
        """Every process does so, in the thread that also hears of the next revision."""
        assert_linear(lambda value: judge({"llm_fallback_config": value}), VALUES[kind])

    @pytest.mark.parametrize("kind", ROWS)
    def test_rows_are_judged_in_linear_time(self, kind: str) -> None:
        """However many there are, and however they relate to each other."""
        assert_linear(judge, ROWS[kind])

    def test_key_behind_a_hundred_thousand_characters_is_found(self) -> None:
        """Time is saved by reading once, not by reading less."""
        for unit in ("?", "a ", "&a=", "://a/", "eyJ.", "-----BEGIN A"):
            long = unit * (100_000 // len(unit))
            for secret in ("sk-aaaaaaaa", " https://u:p@h", "?token=a"):
                (problem,) = plain_secrets("llm_model", f"{long} {secret}", "settings.llm_model")
                assert problem.code == "LR110"

    @pytest.mark.parametrize("kind", VALUES)
    def test_what_is_told_of_a_row_is_finite(self, kind: str) -> None:
        """However many keys stand in it, and however far from the top."""
        problems = plain_secrets("llm_profile", {"api_key": VALUES[kind](SIZES[-1])}, "settings.llm_profile")
        assert len(problems) <= MOST_PROBLEMS + 1
        assert all(len(p.where) < 250 for p in problems)

    def test_row_is_read_once_for_all_deployments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Twenty fallbacks of one provider ask for the same rows, and each may hold 100,000 characters."""
        read: list[str] = []

        def counted(name: str, value: Any, where: str) -> list[Problem]:
            read.append(name)
            return plain_secrets(name, value, where)

        monkeypatch.setattr("liverouter.config.values.plain_secrets", counted)
        judge({"openai_api_base": "https://h/v1", "llm_fallback_config": [FALLBACK] * 20})
        assert sorted(read) == ["llm_fallback_config", "llm_model", "llm_provider", "openai_api_base"]

    @pytest.mark.parametrize("kind", ROWS)
    def test_guesses_are_few(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Comparing one name with all that are known takes 0.1 ms, and strangers may write ten thousand."""
        guesses: list[str] = []

        def counted(word: str, known: Iterable[str]) -> str:
            guesses.append(word)
            return did_you_mean(word, known)

        monkeypatch.setattr("liverouter.config.validate.did_you_mean", counted)
        judge(ROWS[kind](SIZES[-1]))
        assert len(guesses) <= 500

    @pytest.mark.parametrize("kind", ROWS)
    def test_rejection_is_finite(self, kind: str) -> None:
        """A log line, a report and a page hold it, and it says how much it leaves out."""
        problems = judge(ROWS[kind](SIZES[-1]))
        assert len(problems) <= MOST_PROBLEMS + 1
        assert all(len(str(p)) < 1_000 for p in problems)

    def test_warnings_never_hide_an_error(self) -> None:
        """Thousands of misspelt rows beside one that is wrong: the revision is rejected, and the wrong one is told."""
        strange = {f"llm_mode{i}": 1 for i in range(5_000)}
        result = validate(raw({**strange, "llm_temperature": "warm"}), environment=Environment({}), keyring=None)
        assert result.snapshot is None
        assert result.problems[0].where == "settings.llm_temperature"
        assert result.problems[-1].message.startswith("and 4")

    def test_problems_beyond_the_first_hundred_are_counted(self) -> None:
        """What is left out is said, in every error that lists Problems."""
        problems = [Problem("LR106", f"number {i}", "settings", "", "warning") for i in range(1_000)]
        for error in (ConfigError(problems), NotReadyError(problems, waited_s=1.0)):
            assert len(error.problems) == MOST_PROBLEMS + 1
            assert error.problems[-1].message == "and 900 more problems"
            assert len(ConfigError(error.problems).problems) == MOST_PROBLEMS + 1
            assert "and 900 more problems" in str(error)


def told(text: str) -> Problem:
    """Return a Problem that repeats *text* wherever one can."""
    return Problem("LR105", text, text, text)


def refused(errors: int) -> RequestValidationError:
    """Return what FastAPI says of a body with so many mistakes."""
    return RequestValidationError([{"msg": "m" * 50, "loc": ("body", "settings", f"k{i}")} for i in range(errors)])


def attempt(function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """Call *function*; what it refuses is refused."""
    with contextlib.suppress(LiveRouterError):
        function(*arguments, **named)


def address(spec: ProviderSpec, text: str) -> str:
    """Return the base that *text* behind a host stands for."""
    return spec.normalize_url(f"https://h/{text}")


UNITS: Final = (
    "a",
    " ",
    "/",
    "?",
    "&",
    ":",
    "=",
    ".",
    "-",
    "1",
    "\n",
    ",",
    '"',
    "é",
    "\0",
    "/v1",
    "://",
    "sk-",
    " on ",
    "[",
)
FUNCTIONS: Final[Mapping[str, Callable[[str], object]]] = {
    "mask": mask,
    "mask, all of it": lambda text: mask(text, len(text)),
    "clip": clip,
    "a table's cell": cell,
    "did_you_mean": lambda text: did_you_mean(text, SETTINGS),
    "url_fault": url_fault,
    "is_jwt": lambda text: is_jwt("eyJ" + text),
    "snowflake_base": lambda text: snowflake_base({"snowflake_account": text}),
    "sealed_key_id": lambda text: sealed_key_id("v1:0a1b2c3d:" + text),
    "keyring": lambda text: attempt(Keyring.from_text, text),
    "assignments": lambda text: attempt(parse_assignments, [f"{name}={text}" for name in ("llm_model", "llm_profile")]),
    "processes": lambda text: _gather([told(f"app on {text}, pid 1, {text}")] * 2),
    "events of a page": lambda text: encode("problem", text),
    "labels": lambda text: attempt(load_options, {}, database_url="postgresql://u@h/d", labels=text),
    "database": lambda text: attempt(load_options, {}, database_url=f"postgresql://{text}"),
    "redis": lambda text: attempt(load_options, {}, database_url="postgresql://u@h/d", redis_url=f"redis://{text}"),
    "answer": lambda text: from_error(ConfigError([told(text)])),
    **{f"parse {s.kind}": partial(attempt, parse, s) for s in SETTINGS.values()},
    **{f"address of {spec.name}": partial(address, spec) for spec in PROVIDERS.values()},
}


class TestFunctions:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_function_takes_linear_time(self, name: str) -> None:
        """Whatever text it is given."""
        for unit in UNITS:
            make = texts(unit, end="x" if "address" in name else "\n\0")
            assert_linear(FUNCTIONS[name], make, sizes=SIZES[:-1])

    def test_answers_to_many_mistakes_are_finite(self) -> None:
        """A body with a hundred thousand of them is answered with the first."""
        assert_linear(from_validation, lambda size: refused(size // 10))
        assert len(from_validation(refused(10_000)).body) < 50_000

    def test_secret_behind_megabytes_is_not_shown(self) -> None:
        """Of a long text the beginning is read, and half a credential at its end is left out with its word."""
        key = "Zx9QqPlainSecret77"
        for size in range(10_200, 10_320):
            for text in (f"https://u:{key}@h", f"token={key}", f"Bearer {key}"):
                assert key not in mask("sk-" + "a" * size + f" {text} " + "b" * 1_000_000)
        assert mask("a" * 1_000_000) == "a" * 299 + "…"
