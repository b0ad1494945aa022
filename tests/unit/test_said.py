"""What a provider says in the place of an answer, read from whatever shape its error has."""

from __future__ import annotations

import json
import time

import pytest

from liverouter.routing.said import Said, error_in_answer, error_in_events, said_by

OPENAI = {"error": {"message": "no such thing", "type": "invalid_request_error", "param": None, "code": "odd"}}
ANTHROPIC = {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}}
AZURE = {"error": {"code": "403", "message": "no such thing", "innererror": {"code": "Odd"}}}
GOOGLE = {
    "error": {"code": 400, "message": "no such thing", "status": "INVALID_ARGUMENT", "details": [{"reason": "ODD"}]}
}
SNOWFLAKE = {"code": "390142", "message": "no such thing", "request_id": "1", "error_code": "390142"}


def body(document: object) -> bytes:
    """Return *document* as JSON."""
    return json.dumps(document).encode()


class TestError:
    @pytest.mark.parametrize(
        ("document", "codes"),
        [
            (OPENAI, {"invalid_request_error", "odd"}),
            (ANTHROPIC, {"invalid_request_error", "error"}),
            (AZURE, {"403", "Odd"}),
            (GOOGLE, {"INVALID_ARGUMENT", "ODD"}),
            ([GOOGLE], {"INVALID_ARGUMENT", "ODD"}),
            (SNOWFLAKE, {"390142"}),
        ],
    )
    def test_codes_and_message_are_found_in_every_provider_s_shape(self, document: object, codes: set[str]) -> None:
        """Its status is that of the response, whatever the body calls a code."""
        assert said_by(418, body(document)) == Said(418, frozenset(codes), "no such thing")

    @pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'"no"', b"[" * 5_000, b"null"])
    def test_body_that_is_no_object_says_nothing(self, content: bytes) -> None:
        """Its status remains."""
        assert said_by(500, content) == Said(500, frozenset(), "")

    def test_text_in_the_place_of_the_object_is_the_message(self) -> None:
        """As some gateways write it; of a long one the beginning is kept."""
        assert said_by(400, b'{"error": "no"}').message == "no"
        assert len(said_by(400, body({"message": "n" * 5_000})).message) == 300


class TestPause:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry-after": "7"}, 7.0),
            ({"retry-after": "1.5"}, 1.5),
            ({"retry-after": "-3"}, 0.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "nan"}, None),
            ({"retry-after": "3, 5"}, None),
            ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
            ({"retry-after": "Mon, 01 Jan 2020 00:00:00 +99999999999999999999"}, None),
            ({"retry-after-ms": "1500"}, 1.5),
            ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
            ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ],
    )
    def test_header_is_read_as_seconds(self, headers: dict[str, str], seconds: float | None) -> None:
        """A number, milliseconds, a date that is past, and nonsense; whatever body comes along."""
        for content in (b"", body(OPENAI)):
            assert said_by(429, content, headers).retry_after_s == seconds

    def test_date_in_the_future_is_that_far_away(self) -> None:
        """A date counts from now."""
        seconds = said_by(429, b"", {"retry-after": "Fri, 21 Oct 2095 07:28:00 GMT"}).retry_after_s
        assert seconds is not None
        assert seconds > 60 * 60 * 24 * 365

    def test_date_without_a_zone_is_in_utc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever the machine stands: so C's asctime writes it, which HTTP takes."""
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("TZ", "JST-9")
            time.tzset()
            dates = ("Fri, 21 Oct 2095 07:28:00 GMT", "Fri Oct 21 07:28:00 2095", "Fri, 21 Oct 2095 07:28:00 -0000")
            seconds = [said_by(429, b"", {"retry-after": date}).retry_after_s for date in dates]
        time.tzset()
        assert seconds == [pytest.approx(seconds[0], abs=60)] * 3

    @pytest.mark.parametrize(("delay", "seconds"), [("34s", 34.0), ("1.5s", 1.5), ("1m", None), (5, None), ("s", None)])
    def test_google_says_it_in_the_body(self, delay: object, seconds: float | None) -> None:
        """Among the details of its error; a header wins."""
        details = [{"reason": "QUOTA"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
        content = body({"error": {"code": 429, "message": "m", "details": details}})
        assert said_by(429, content).retry_after_s == seconds
        assert said_by(429, content, {"retry-after": "2"}).retry_after_s == 2


class TestCalledASuccess:
    @pytest.mark.parametrize(
        ("document", "status"),
        [(OPENAI, 400), (ANTHROPIC, 400), (AZURE, 403), (GOOGLE, 400), (SNOWFLAKE, 500), ({"error": "no"}, 500)],
    )
    def test_error_has_the_status_that_it_names(self, document: object, status: int) -> None:
        """As a whole answer and as an event; 500 where it names none."""
        for said in (error_in_answer(body(document)), error_in_events(b"event: x\ndata: " + body(document) + b"\n\n")):
            assert said is not None
            assert (said.status, said.message) == (status, "no" if document == {"error": "no"} else "no such thing")

    @pytest.mark.parametrize(
        "document",
        [
            {"choices": [{"message": {"content": '{"error": "no"}'}}]},
            {"choices": [], "error": {}},
            {"content": [{"type": "tool_use", "input": {"error": "no"}}]},
            {"candidates": [{"content": {"parts": [{"functionCall": {"args": {"error": "no"}}}]}}]},
            {"type": "content_block_start", "content_block": {"input": {"error": "no"}}},
            {"id": "1", "error": None},
        ],
    )
    def test_answer_that_speaks_of_an_error_is_none(self, document: object) -> None:
        """A model may say what it likes."""
        assert error_in_answer(body(document)) is None
        assert error_in_events(b"data: " + body(document) + b"\n\n") is None

    def test_error_beside_an_answer_is_one(self) -> None:
        """Gateways tell of it beside what they have, or by the reason of the end alone."""
        for document in (
            {"choices": [], "error": {"message": "no"}},
            {"choices": [{"finish_reason": "error"}]},
            {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]},
        ):
            assert error_in_answer(body(document)) is not None
            assert error_in_events(b"data: " + body(document) + b"\n\n") is not None

    def test_error_among_other_events_is_found(self) -> None:
        """An event that ends early is none."""
        events = b'data: {"error": {"mess\n\ndata: {"choices": []}\n\ndata: ' + body(ANTHROPIC) + b"\n\n"
        said = error_in_events(events)
        assert said is not None
        assert said.status == 400
