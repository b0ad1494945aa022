"""The ground under every test: a clean environment, one PostgreSQL per session, one cloned database per test."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import threading
import time
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import hypothesis
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier
from pytest_postgresql import factories

from liverouter.embedded.server import EmbeddedPostgres
from liverouter.testing import StandIn
from tests.kit.certificates import Certificates
from tests.kit.leaks import LEDGER
from tests.kit.leftovers import VARIABLE, Marked, Run, told
from tests.kit.postgres.debian import PACKAGE, DebianPostgres, programs
from tests.kit.sql import verifier
from tests.kit.traffic import WIRETAP
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from pytest_postgresql.executors.noop import NoopExecutor

# What a developer's shell may hold and no test may see: settings, provider keys, tracing, proxies, database defaults.
_FOREIGN: Final = (
    "ANTHROPIC_",
    "AWS_",
    "AZURE_",
    "DATABASE_URL",
    "GEMINI_",
    "GOOGLE_",
    "LANGCHAIN_",
    "LANGSMITH_",
    "LITELLM_",
    "LIVEROUTER_",
    "LLM_",
    "OPENAI_",
    "OTEL_",
    "PG",
    "REDIS_",
    "SNOWFLAKE_",
    "VERTEX",
)
_PROXIES: Final = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
_KEPT: Final = "LIVEROUTER_TEST_"
_CATALOGS: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared"
)
_HAS_STRATEGIES: Final = 150_000  # PostgreSQL 15

for _name in list(os.environ):
    if (_name.startswith(_FOREIGN) and not _name.startswith(_KEPT)) or _name.upper() in _PROXIES:
        del os.environ[_name]
# Before anything imports litellm, here and in every process that a test starts: load no .env, fetch nothing.
os.environ["LITELLM_MODE"] = "PRODUCTION"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# `with LiveRouter(...)` goes on after that time, live or not; on a busy machine litellm's import alone takes a minute.
os.environ["LIVEROUTER_READY_TIMEOUT_S"] = "120"


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


# A shell has what runs in its background ignore SIGINT; every process that a test starts would inherit that. Where
# Python's own handler is set `asyncio.run` replaces it, and writes the repr of its task to do so, with every model and
# message in it: an eighth of the time of a test of calls.
signal.signal(signal.SIGINT, _interrupt)

# The same examples in every run, and no deadline: this machine may be busy with something else.
hypothesis.settings.register_profile("liverouter", deadline=None, derandomize=True)
hypothesis.settings.load_profile("liverouter")


_WAITING_FOLDERS: Final = ("browser", "docs", "faults", "system")  # whose tests mostly wait: for others, or for a time
_WAITING_FILES: Final = (  # of the other folders
    *("test_alerts.py", "test_api_config.py", "test_api_fleet.py", "test_cli_watch.py", "test_failover_google.py"),
    *("test_failover_settings.py", "test_hostile_providers.py", "test_listener.py", "test_probes.py"),
    *("test_repository.py", "test_sql_role_prefix.py", "test_standin_failures.py"),
)
_SPREAD: Final = 0.8  # of a run: over that much of it they are spread; one that began at its end would be waited for
_FEW_FILES: Final = 3  # so few are done before workers have started; so is what `-k` picks
# For the end of what tests started: an embedded server's supervisor needs some seconds on a busy machine.
_PATIENCE_S: Final = float(os.environ.get("LIVEROUTER_TEST_PATIENCE_S", "60"))


def pytest_configure(config: pytest.Config) -> None:
    """Guard the processes of a run, in the process that begins it; they trust no server of the internet."""
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        run = Run()
        config.add_cleanup(run.close)
        # Each HTTP client reads every authority that is trusted: 30 ms of work where they are a hundred and more.
        authority = Path(run.folder) / "authority.pem"
        authority.write_text(Certificates.make("nobody.invalid").authority)
        os.environ["SSL_CERT_FILE"] = str(authority)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect no garbage while tests are collected, and never look through all that again: none of it is garbage.

    Later look for it less often, which takes 6 % of the time otherwise: what is left to it lives a test long.
    """
    gc.disable()
    try:
        with _compiled_once() if hasattr(session.config, "workerinput") else nullcontext():
            return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000)
        gc.enable()


@contextmanager
def _compiled_once() -> Iterator[None]:
    """Let one worker of a run collect the tests first, which compiles what all of them import: 25 s of CPU."""
    done = Path(os.environ[VARIABLE], "compiled")
    with done.with_name("compiling").open("w") as lock:
        flock(lock, LOCK_EX)
        if done.exists():
            flock(lock, LOCK_UN)
        yield
        done.touch()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files that wait among those that work, so that workers seldom do the same at once.

    Workers take files in this order. All that wait at one time would leave the machine idle.
    """
    files = list(dict.fromkeys(item.path for item in items))
    waiting = [path for path in files if path.parent.name in _WAITING_FOLDERS or path.name in _WAITING_FILES]
    working = [path for path in files if path not in waiting]
    apart = _SPREAD * len(working) / (len(waiting) or 1)
    turns = {path: n * apart for n, path in enumerate(waiting)} | {path: float(n) for n, path in enumerate(working)}
    items.sort(key=lambda item: turns[item.path])


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return how many workers `-n auto` starts: two more than this process may use cores, none for a few tests.

    Two more, as many a test waits: for a timeout, a server's start, a browser. Each takes ten seconds to begin: it
    imports litellm and the providers' libraries, and collects every test.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # for xdist to read
    named = [Path(argument.partition("::")[0]) for argument in config.args]
    if config.option.keyword or (len(named) <= _FEW_FILES and all(path.suffix == ".py" for path in named)):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A PostgreSQL of this session, in the shape that pytest-postgresql wants."""

    name: str
    host: str
    port: int
    user: str
    password: str
    options: str = ""
    maintenance_dbname: str = "postgres"
    template_dbname: str | None = None

    def dsn(self, database: str) -> str:
        """Return the superuser's URL of *database*."""
        return f"postgresql://{quote(self.user)}:{quote(self.password)}@{self.host}:{self.port}/{quote(database)}"

    @property
    def admin_dsn(self) -> str:
        """The superuser's URL of the maintenance database."""
        return self.dsn(self.maintenance_dbname)


def _migrate(*, host: str, port: int, user: str, password: str, dbname: str, **_: object) -> None:
    from liverouter.postgres.migrate import upgrade

    url = Server(name="", host=host, port=port, user=user, password=password).dsn(dbname)
    upgrade(url)
    # Every test has a copy: a third of it is what migrations replaced, and a quarter of the time that it costs.
    with closing(psycopg.connect(url, autocommit=True)) as session:
        names = [name for (name,) in session.execute(_CATALOGS)]
        session.execute(SQL("VACUUM FULL {}").format(SQL(", ").join(map(Identifier, names))))


@pytest.fixture(scope="session")
def embedded_server(_no_process_is_left: None) -> Iterator[Server]:
    """A PostgreSQL server: the one of LIVEROUTER_TEST_DSN, else an embedded one that ends with the session."""
    if dsn := os.environ.get("LIVEROUTER_TEST_DSN"):
        given = conninfo_to_dict(dsn)
        yield Server(
            name="embedded",
            host=str(given["host"]),
            port=int(given.get("port") or 5432),
            user=str(given["user"]),
            password=str(given.get("password") or ""),
            maintenance_dbname=str(given.get("dbname") or "postgres"),
        )
        return
    with EmbeddedPostgres() as running:
        yield _served("embedded", running)


@pytest.fixture(scope="session")
def debian_postgres(_no_process_is_left: None) -> Iterator[DebianPostgres]:
    """Debian's PostgreSQL with stock settings, JIT and TLS on; ends with the session."""
    found = programs()
    if found is None:
        pytest.skip(f"needs PostgreSQL with JIT: apt-get install {PACKAGE}")
    with DebianPostgres(found) as running:
        yield running


@pytest.fixture(scope="session")
def debian_server(debian_postgres: DebianPostgres) -> Server:
    """Debian's PostgreSQL, as `server` is."""
    return _served("debian", debian_postgres)


def _served(name: str, running: EmbeddedPostgres | DebianPostgres) -> Server:
    """Return *running* in the shape of the fixture `server`, its logins as cheap as they can be."""
    found = Server(name=name, host=running.host, port=running.port, user=running.user, password=running.password)
    with closing(psycopg.connect(found.admin_dsn, autocommit=True)) as session:
        cheap = verifier(found.password)
        session.execute(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(found.user), cheap))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has a database on each of the servers that its mark names."""
    mark = metafunc.definition.get_closest_marker("servers")
    if mark and "server" in metafunc.fixturenames:
        metafunc.parametrize("server", mark.args, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """The server of a test's databases: the embedded one, or for tests marked `servers` each of those in turn."""
    found: Server = request.getfixturevalue(f"{getattr(request, 'param', 'embedded')}_server")
    return found


# Named by process, so that two sessions on one server do not meet.
embedded_template = factories.postgresql_noproc(
    depends_on="embedded_server", dbname=f"liverouter_{os.getpid()}", load=[_migrate]
)
debian_template = factories.postgresql_noproc(
    depends_on="debian_server", dbname=f"liverouter_{os.getpid()}", load=[_migrate]
)


@pytest.fixture(scope="session")
def template(request: pytest.FixtureRequest, server: Server) -> NoopExecutor:
    """The migrated database of *server*, made once, of which each test gets a copy."""
    found: NoopExecutor = request.getfixturevalue(f"{server.name}_template")
    return found


@pytest.fixture(scope="session")
def _maintenance(server: Server) -> Iterator[psycopg.Connection]:
    """A session of the superuser that makes and drops the databases of all tests."""
    with closing(psycopg.connect(server.admin_dsn, autocommit=True)) as session:
        yield session


@contextmanager
def _database(maintenance: psycopg.Connection, name: str, *, template: str) -> Iterator[None]:
    """Have a database for the time of a test.

    pytest-postgresql's own fixture takes twice the time: it opens four sessions for each, and names no strategy.
    """
    make, drop = SQL("CREATE DATABASE {} TEMPLATE {} {}"), SQL("DROP DATABASE {} WITH (FORCE)")
    strategy = SQL("STRATEGY file_copy" if maintenance.info.server_version >= _HAS_STRATEGIES else "")

    def is_dropped() -> bool:
        """Drop it; the server waits no more than five seconds for the sessions that it ends."""
        with suppress(psycopg.errors.ObjectInUse):
            maintenance.execute(drop.format(Identifier(name)))
            return True
        return False

    maintenance.execute(make.format(Identifier(name), Identifier(template), strategy))
    try:
        yield
    finally:
        until(is_dropped, what=f"the end of database {name}")


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the last test, and all that serves several tests: every process that was started has ended."""
    tmp_path_factory.getbasetemp()  # pytest keeps that one for a look
    with Marked.worker(os.environ.get("PYTEST_XDIST_WORKER", "main")) as marked:
        yield
        if left := marked.left(_PATIENCE_S):
            names = told(left)
            marked.end()
            pytest.fail(names, pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _watch(_no_process_is_left: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        LEDGER.watch(patch)
        WIRETAP.watch(patch)
        yield


@pytest.fixture(autouse=True)
def _no_secret_is_told(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: no event, error, log line, API answer, view or statement held one of its secrets."""
    LEDGER.clear()
    yield
    for when, kind, text in request.node._report_sections:  # noqa: SLF001 - what pytest captured, known nowhere else
        LEDGER.tell(f"{kind} of {when}", text)
    if leaks := LEDGER.leaks():
        pytest.fail("\n".join(leaks), pytrace=False)


@pytest.fixture(autouse=True)
def _nothing_strange_is_sent(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: no stand-in was sent what its provider does not know, nor a secret of another provider."""
    yield
    found = WIRETAP.take()
    if request.node.path.parent.name != "standin":  # which send wrong requests themselves
        assert found == []


@pytest.fixture(scope="session")
def new_database(
    server: Server, template: NoopExecutor, _maintenance: psycopg.Connection
) -> Callable[[str], AbstractContextManager[str]]:
    """A function that makes a migrated database for several tests, by its name, and gives its URL for a block."""

    @contextmanager
    def make(name: str) -> Iterator[str]:
        own = f"{template.dbname}_{name}"
        assert template.template_dbname
        with _database(_maintenance, own, template=template.template_dbname):
            yield server.dsn(own)

    return make


@pytest.fixture
def dsn(server: Server, template: NoopExecutor, _maintenance: psycopg.Connection) -> Iterator[str]:
    """The URL of a database of this test's own, migrated to the head; searched for secrets at the end."""
    assert template.template_dbname
    with _database(_maintenance, template.dbname, template=template.template_dbname):
        url = server.dsn(template.dbname)
        yield url
        LEDGER.tell_database(url, views=False)


@pytest.fixture
def empty_dsn(server: Server, _maintenance: psycopg.Connection) -> Iterator[str]:
    """The URL of a database of this test's own, with nothing in it."""
    name = f"liverouter_{os.getpid()}_empty"
    with _database(_maintenance, name, template="template1"):
        yield server.dsn(name)


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """Keyword arguments of `StandIn` for the stand-ins of a module; a module may replace them."""
    return {}


@pytest.fixture
def anthropic(standin_options: dict[str, Any]) -> Iterator[StandIn]:
    """A stand-in for Anthropic."""
    with StandIn("anthropic", **standin_options) as standin:
        yield standin


@pytest.fixture
def openai(standin_options: dict[str, Any]) -> Iterator[StandIn]:
    """A stand-in for OpenAI."""
    with StandIn("openai", **standin_options) as standin:
        yield standin


@pytest.fixture
def shared_tmp_path() -> Iterator[Path]:
    """An empty folder that others may pass through; root's tmp_path is closed to PostgreSQL's user."""
    folder = Path(tempfile.mkdtemp(prefix="liverouter-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """A function that returns once a condition holds, and fails after *timeout_s* seconds."""

    def wait(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
            pause.wait(0.01)

    return wait


@pytest.fixture(scope="session")
def needs_program() -> Callable[..., Path]:
    """A function that returns the path of a program, or skips the test and names the Debian package that has it."""

    def find(*names: str, package: str) -> Path:
        # Debian keeps servers in sbin, which an ordinary user's PATH lacks.
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
        for name in names:
            if found := shutil.which(name, path=path):
                return Path(found)
        pytest.skip(f"needs {names[0]}: apt-get install {package}")

    return find
