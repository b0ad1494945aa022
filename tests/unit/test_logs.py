"""A line arrives where the application's own do; whatever becomes of the log, the engine goes on."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.config
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from liverouter.events import CallFailedOver, ClientClosed, ConfigRead, Event, ListenerConnected
from liverouter.logs import Log, LogObserver, logging_bus

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

FULL = Path("/dev/full")
ENDED = ClientClosed("1")


class Broken:
    """An application's log that cannot be written."""

    def __getattr__(self, level: str) -> object:
        raise OSError(f"no room for {level}")


@contextlib.contextmanager
def unconfigured() -> Iterator[None]:
    """Run as in a process in which nobody has configured a log: pytest has, for its own."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setattr(logging.root, "handlers", [])
        patch.setattr(logging.root.manager, "loggerDict", {})
        patch.delenv("LIVEROUTER_LOG_LEVEL", raising=False)
        stack.callback(logging.root.setLevel, logging.root.level)
        stack.callback(structlog.reset_defaults)
        yield


class Kept(logging.Handler):
    """Keeps the records that it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*."""
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        """The messages of the records."""
        return [record.getMessage() for record in self.records]


class TestPlace:
    @unconfigured()
    def test_nobody_configured_a_log(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Each line, the first one too, is JSON on standard error; LIVEROUTER_LOG_LEVEL says from which level on."""
        log = LogObserver()
        log(ENDED)
        log(ConfigRead("e", 7, 1.0))
        monkeypatch.setenv("LIVEROUTER_LOG_LEVEL", "debug")
        log(ConfigRead("e", 8, 1.0))
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [line["event"] for line in lines] == ["client.closed", "config.read"]
        assert (lines[0]["instance"], lines[0]["level"], lines[1]["revision"]) == ("1", "info", 8)

    @unconfigured()
    def test_structlog_is_not_loaded_for_a_file(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It brings rich along, which a service that never imports it would carry for nothing."""
        monkeypatch.delitem(sys.modules, "structlog")
        LogObserver()(ENDED)
        assert "structlog" not in sys.modules
        assert json.loads(capsys.readouterr().err)["event"] == "client.closed"

    @unconfigured()
    def test_facts_bound_by_structlog_stand_in_the_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        """As an application binds them for a request, configured or not."""
        with structlog.contextvars.bound_contextvars(request_id="r-7"):
            LogObserver()(ENDED)
        assert json.loads(capsys.readouterr().err)["request_id"] == "r-7"

    @unconfigured()
    def test_terminal_is_for_people(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Readable lines where standard error is one."""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("NO_COLOR", "1")
        LogObserver()(ENDED)
        (line,) = capsys.readouterr().err.splitlines()
        assert ("client.closed" in line, "instance=1" in line, "{" in line) == (True, True, False)

    @unconfigured()
    def test_stdlib_configured_late_takes_the_lines_from_then_on(self, capsys: pytest.CaptureFixture[str]) -> None:
        """After import and the first line, even by a dictConfig that switches off every logger there is."""
        log = LogObserver()
        log(ENDED)
        handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "f"}
        logging.config.dictConfig(
            {
                "version": 1,
                "formatters": {"f": {"format": "%(levelname)s %(name)s %(message)s"}},
                "handlers": {"h": handler},
                "root": {"level": "INFO", "handlers": ["h"]},
            }
        )
        log(ListenerConnected(41, 2))
        log(ConfigRead("e", 7, 1.0))  # below the level
        said = capsys.readouterr()
        assert said.out == "INFO liverouter.listener listener.connected backend_pid=41 reconnects=2\n"
        assert [json.loads(line)["event"] for line in said.err.splitlines()] == ["client.closed"]

    @pytest.mark.parametrize(
        ("event", "name"),
        [
            (ENDED, "liverouter"),
            (ListenerConnected(1), "liverouter.listener"),
            (ConfigRead("e", 7, 1.0), "liverouter.config"),
            (CallFailedOver("a", "b", "c 100%"), "liverouter.calls"),
        ],
    )
    @unconfigured()
    def test_record_has_the_facts(self, event: Event, name: str) -> None:
        """Its logger is that of the area, its level the event's; each fact is an attribute and stands in the text."""
        kept = Kept()
        logging.root.addHandler(kept)
        logging.root.setLevel(logging.DEBUG)
        LogObserver()(event)
        (record,) = kept.records
        assert (record.name, record.levelname.lower(), vars(record)["event"]) == (name, event.level, event.name)
        assert {key: vars(record)[key] for key in event.facts()} == event.facts()
        text = " ".join([event.name, *(f"{key}={value}" for key, value in event.facts().items())])
        assert record.getMessage() == text

    @unconfigured()
    def test_fact_named_as_an_attribute_of_records_is_kept_beside_it(self) -> None:
        """``message`` and its like belong to the record; nothing raises."""
        kept = Kept()
        logging.root.addHandler(kept)
        Log().warning("http.complained", message="m", module="x")
        (record,) = kept.records
        assert (vars(record)["message_"], vars(record)["module_"]) == ("m", "x")
        assert record.getMessage() == "http.complained message=m module=x"

    @unconfigured()
    def test_handlers_and_levels_of_the_logger_hold(self) -> None:
        """Handlers on `liverouter` get each line once, the root's as well unless propagation is off; levels filter."""
        own, root = Kept(), Kept()
        logging.root.addHandler(root)
        logger = logging.getLogger("liverouter")
        logger.addHandler(own)
        logger.setLevel(logging.WARNING)
        log = LogObserver()
        log(ENDED)
        log(CallFailedOver("a", "b", "c"))
        assert (own.texts, root.texts) == (
            root.texts,
            ["call.failed_over from_deployment=a to_deployment=b cause=c suppressed=0"],
        )
        logging.getLogger("liverouter.listener").setLevel(logging.INFO)
        logger.propagate = False
        log(ListenerConnected(1))
        assert (len(own.records), len(root.records)) == (2, 1)

    @unconfigured()
    def test_level_without_a_handler_filters_what_goes_to_standard_error(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Set on `liverouter`, or for one area."""
        logging.getLogger("liverouter").setLevel(logging.ERROR)
        logging.getLogger("liverouter.config").setLevel(logging.DEBUG)
        log = LogObserver()
        log(ENDED)
        log(ConfigRead("e", 7, 1.0))
        assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["config.read"]

    @unconfigured()
    def test_structlog_takes_the_lines_once_it_is_configured(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Handlers on the root logger do not change that; a level on `liverouter` holds."""
        log, told, root = LogObserver(), list[object](), Kept()
        logging.root.addHandler(root)

        def keep(_: object, level: str, line: MutableMapping[str, Any]) -> str:
            told.append((level, dict(line)))
            return ""

        structlog.configure(processors=[keep], logger_factory=structlog.ReturnLoggerFactory())
        log(ListenerConnected(1, 2))
        logging.getLogger("liverouter").setLevel(logging.ERROR)
        log(CallFailedOver("a", "b", "c"))
        assert told == [("info", {"backend_pid": 1, "reconnects": 2, "event": "listener.connected"})]
        assert (root.records, capsys.readouterr().err) == ([], "")


class TestPytest:
    def test_caplog_sees_the_lines(self, caplog: pytest.LogCaptureFixture) -> None:
        """As those of any other library."""
        with caplog.at_level(logging.INFO, logger="liverouter"):
            LogObserver()(ENDED)
        assert [r.getMessage() for r in caplog.records if r.name == "liverouter"] == ["client.closed instance=1"]


class TestEmit:
    @pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
    @unconfigured()
    def test_full_disk_under_the_log_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody can be told, and nobody else is kept from hearing it."""
        heard: list[Event] = []
        with contextlib.suppress(OSError), FULL.open("w", buffering=1) as stderr:  # what was not written fails again
            monkeypatch.setattr(sys, "stderr", stderr)
            logging_bus(heard.append).emit(ENDED)
            monkeypatch.undo()
        assert heard == [ENDED]

    def test_log_that_raises_even_while_that_is_logged_is_no_error(self) -> None:
        """Nothing leaves `emit`, be it the first time or the second."""
        heard: list[Event] = []
        bus = logging_bus(heard.append, log=LogObserver(Broken()))
        bus.emit(ENDED)
        bus.emit(ENDED)
        assert heard == [ENDED, ENDED]
