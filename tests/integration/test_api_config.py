"""The config through the API: read, checked, changed, taken back, tried. Real database, HTTP and stand-in providers."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.secrecy.sealing import generate_key
from liverouter.testing import Failure
from tests.kit.admin import Admin
from tests.kit.http import PATIENCE_S, Api, parsed
from tests.kit.leaks import LEDGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from liverouter.testing import StandIn

KEY: Final = "sk-test-0123456789abcdef"
OTHER: Final = "sk-test-fedcba9876543210"
AWS = "correct/horse+battery/staple/of/another1"  # which looks like no key
URL: Final = "https://user:sesame@gateway.example.org/v1"


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """What the stand-ins are made with: each knows one key."""
    return {"accept_keys": [KEY]}


@pytest.fixture
def fresh(dsn: str) -> Iterator[Api]:
    """The API on a database of this test's own, which never held a config."""
    with Api(dsn, secret_keys=generate_key()) as api:
        yield api


@pytest.fixture(scope="module")
def admin(new_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[Admin]:
    """Somebody in psql, at the database that the tests in here share."""
    with new_database("api_config") as dsn, contextlib.closing(Admin(dsn)) as admin:
        yield admin


@pytest.fixture(scope="module")
def served(admin: Admin) -> Iterator[Api]:
    """The API on that database."""
    with Api(admin.dsn, secret_keys=generate_key()) as api:
        yield api


@pytest.fixture
def api(served: Api, admin: Admin) -> Api:
    """The same without settings and secrets; of former tests a history is left, and a generation in force."""
    admin.execute("DELETE FROM liverouter.settings")
    admin.execute("DELETE FROM liverouter.secrets")
    return served


def revision(api: Api) -> int:
    """Return the revision of the config."""
    return int(api.get("/api/config")["revision"])


def first(openai: StandIn, **settings: Any) -> dict[str, Any]:
    """Return a first config that serves."""
    rows = {"llm_provider": "openai", "llm_model": "gpt-5.4", "openai_api_base": openai.api_base}
    return {"settings": rows | settings, "secrets": {"openai_api_key": KEY}}


class TestRead:
    def test_empty_config_says_what_to_set(self, fresh: Api) -> None:
        """An empty database reads as revision 0, with a Problem and a hint per missing setting."""
        config = fresh.get("/api/config")
        assert (config["revision"], config["settings"], config["secrets"]) == (0, {}, {})
        assert {p["where"]: p["code"] for p in config["problems"]} == {
            "settings.llm_provider": "LR100",
            "settings.llm_model": "LR100",
        }
        assert all(p["hint"] for p in config["problems"])

    def test_etag_is_the_revision(self, api: Api, openai: StandIn) -> None:
        """The ETag of the config is what If-Match wants."""
        revision = api.save(**first(openai))
        assert api.client.get("/api/config").headers["ETag"] == f'"{revision}"'

    def test_secret_reads_as_a_fingerprint(self, api: Api, openai: StandIn) -> None:
        """Of a secret come back fingerprint, time, author and login; never itself, sealed or plain."""
        api.save(**first(openai), author="anna")
        answer = api.client.get("/api/config")
        stored = answer.json()["secrets"]["openai_api_key"]
        assert stored["opens"] is True
        assert (stored["updated_by"], stored["role"]) == ("anna", "postgres")
        assert (answer.json()["author"], answer.json()["role"]) == ("anna", "postgres")
        assert len(stored["fingerprint"]) == 8
        assert KEY not in answer.text
        assert "v1:" not in answer.text

    def test_rows_of_other_software_are_not_shown(self, api: Api, admin: Admin) -> None:
        """A key that is no setting of ours may hold anything, so it is not shown."""
        admin.set(theme="dark", llm_model="m")
        assert api.get("/api/config")["settings"] == {"llm_model": "m"}

    def test_environment_is_told_by_source(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the daemon's environment gives is shown with its source; of a secret only the source."""
        monkeypatch.setenv("LLM_TEMPERATURE", "0.5")
        monkeypatch.setenv("OPENAI_API_KEY", OTHER)
        answer = api.client.get("/api/config")
        assert answer.json()["environment"] == {
            "llm_temperature": {"source": "environment LLM_TEMPERATURE", "value": 0.5},
            "openai_api_key": {"source": "environment OPENAI_API_KEY", "value": None},
        }
        assert OTHER not in answer.text

    def test_plain_secret_in_the_environment_is_blanked(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key or a password where none may stand, even in a URL or as a reference, is not repeated."""
        monkeypatch.setenv("LLM_FALLBACK_CONFIG", json.dumps([
            {"provider": "openai", "model": "m", "api_key": OTHER},
            {"provider": "openai", "model": "m", "api_key": {"secret": OTHER}},
            {"provider": "openai", "model": "m", "api_key": {"secret": "openai_api_key_2"}, "api_base": URL},
        ]))  # fmt: skip
        aws = {"aws_secret_access_key": AWS, "aws_session_token": {"secret": "aws_session"}}
        monkeypatch.setenv("LITELLM_PARAMS", json.dumps(aws))
        monkeypatch.setenv("LLM_PARAMS", json.dumps({"seed": 7, "extra_headers": {"x-auth-token": AWS}}))
        monkeypatch.setenv("OPENAI_API_BASE", URL)
        answer = api.client.get("/api/config")
        shown = answer.json()["environment"]
        assert [entry["api_key"] for entry in shown["llm_fallback_config"]["value"]] == [
            "***",
            {"secret": "***"},
            {"secret": "openai_api_key_2"},
        ]
        assert (shown["llm_fallback_config"]["value"][2]["api_base"], shown["openai_api_base"]["value"]) == (
            "***",
            "***",
        )
        assert shown["litellm_params"]["value"] == aws | {"aws_secret_access_key": "***"}
        assert shown["llm_params"]["value"] == {"seed": 7, "extra_headers": {"x-auth-token": "***"}}
        assert OTHER not in answer.text
        assert "sesame" not in answer.text


class TestSave:
    def test_settings_and_secrets_are_one_revision(self, api: Api, openai: StandIn) -> None:
        """A first config of rows and a key is one revision, live in this process, and answers a call."""
        before = revision(api)
        assert api.save(**first(openai)) == before + 1
        assert api.live.chat_model().invoke("hi").text == "gpt-5.4 says: hi"

    def test_what_is_not_named_stays(self, api: Api, openai: StandIn) -> None:
        """A change of one setting leaves the others, and the secrets, as they are."""
        api.save(**first(openai))
        api.save(settings={"llm_temperature": 0.2})
        config = api.get("/api/config")
        assert config["settings"]["llm_model"] == "gpt-5.4"
        assert config["settings"]["llm_temperature"] == 0.2
        assert "openai_api_key" in config["secrets"]

    def test_null_removes(self, api: Api, openai: StandIn) -> None:
        """A null removes the row or the secret."""
        api.save(**first(openai, llm_temperature=1))
        answer = api.put(settings={"llm_temperature": None}, secrets={"openai_api_key": None})
        config = api.get("/api/config")
        assert "llm_temperature" not in config["settings"]
        assert config["secrets"] == {}
        assert [p["code"] for p in answer.json()["problems"]] == ["LR102"]

    def test_if_match_is_required(self, api: Api) -> None:
        """A write that does not say which revision it edits is 428, and changes nothing."""
        before = revision(api)
        answer = api.put(None, settings={"llm_model": "m"})
        assert (answer.status_code, answer.json()["code"]) == (428, "LR608")
        assert revision(api) == before

    def test_if_match_without_a_revision_is_refused(self, api: Api) -> None:
        """Anything but one quoted number or a star is 400."""
        for tag in ("7", 'W/"7"', '"seven"', '""', '"1", "2"'):
            answer = api.put(tag, settings={"llm_model": "m"})
            assert (answer.status_code, answer.json()["where"]) == (400, "header If-Match"), tag

    def test_lost_update_is_refused(self, api: Api, openai: StandIn) -> None:
        """Who edits a revision that is no longer the newest gets 412: who came first, and what they changed."""
        revision = api.save(**first(openai))
        assert api.put(revision, settings={"llm_temperature": 0.7}, author="anna", comment="bolder").status_code == 200
        answer = api.put(revision, settings={"llm_temperature": 0.1}, author="bert")
        said = answer.json()
        assert (answer.status_code, said["code"]) == (412, "LR211")
        assert answer.headers["ETag"] == f'"{revision + 1}"'
        assert said["current"]["revision"] == revision + 1
        assert (said["current"]["author"], said["current"]["comment"]) == ("anna", "bolder")
        assert said["current"]["role"] == "postgres"
        assert said["changes"] == [{"object": "setting", "key": "llm_temperature", "old": None, "new": 0.7}]
        assert api.get("/api/config")["settings"]["llm_temperature"] == 0.7

    def test_star_overwrites(self, api: Api) -> None:
        """If-Match: * takes whatever revision there is."""
        first = api.put("*", settings={"llm_model": "a"}).json()["revision"]
        assert api.put("*", settings={"llm_model": "b"}).json()["revision"] == first + 1

    def test_nothing_different_makes_no_revision(self, api: Api, openai: StandIn) -> None:
        """Saving what is stored already, the same secret included, makes no revision."""
        saved = api.save(**first(openai))
        assert api.put(**first(openai)).json() == {"revision": saved, "changed": False, "problems": []}

    def test_unknown_setting_is_refused_with_the_nearest_name(self, api: Api) -> None:
        """A name that no setting has is 422 and says which one was meant."""
        answer = api.put(settings={"llm_modle": "m"})
        assert (answer.status_code, answer.json()["code"]) == (422, "LR106")
        assert answer.json()["hint"] == "Did you mean 'llm_model'?"

    def test_row_of_no_setting_can_be_removed(self, api: Api, admin: Admin) -> None:
        """A misspelt row that stands there already can be removed."""
        written = admin.set(llm_modle="m")
        assert api.put(settings={"llm_modle": None}).json()["revision"] == written + 1

    def test_secret_among_the_settings_is_refused(self, api: Api) -> None:
        """A secret sent as a setting is 422, is not stored, and is not repeated."""
        answer = api.put(settings={"openai_api_key": OTHER})
        assert (answer.status_code, answer.json()["code"]) == (422, "LR110")
        assert OTHER not in answer.text

    def test_plain_secret_in_a_fallback_is_refused(self, api: Api) -> None:
        """A key inside llm_fallback_config is refused with its place, and not repeated."""
        entry = {"provider": "openai", "model": "m", "api_key": OTHER}
        answer = api.put(settings={"llm_fallback_config": [entry]})
        assert (answer.status_code, answer.json()["code"]) == (422, "LR110")
        assert answer.json()["where"] == "settings.llm_fallback_config[0].api_key"
        assert OTHER not in answer.text

    def test_key_as_a_name_is_refused(self, api: Api) -> None:
        """A key sent where the name of a setting or a secret belongs is 422 and not repeated."""
        for part in ("settings", "secrets"):
            body = {part: {OTHER: "x"}}
            for answer in (
                api.client.put("/api/config", json=body, headers={"If-Match": "*"}),
                api.client.post("/api/check", json=body),
            ):
                assert (answer.status_code, answer.json()["code"]) == (422, "LR110")
                assert OTHER not in answer.text

    def test_lost_keyring_is_asked_for(self, api: Api, openai: StandIn, admin: Admin) -> None:
        """A daemon without a key stores no secret, and says how to make one.

        Where secrets are stored, a new keyring would open none of them: the one that sealed them is asked for.
        """
        with Api(admin.dsn) as other:
            assert other.get("/api/config")["can_seal"] is False
            answer = other.put(secrets={"openai_api_key": KEY})
            assert (answer.status_code, answer.json()["code"]) == (409, "LR501")
            assert "liverouter keys generate" in answer.json()["hint"]
            api.put(**first(openai))
            (stored,) = api.get("/api/config")["secrets"].values()
            refused = other.put(secrets={"openai_api_key": OTHER}).json()
            (unopened,) = other.get("/api/config")["problems"]
        for problem in (refused, unopened):
            assert (problem["code"], problem["where"]) == ("LR501", "secrets.openai_api_key")
            assert stored["key_id"] in problem["hint"]
            assert "generate" not in problem["hint"]

    def test_what_cannot_be_stored_is_refused(self, api: Api) -> None:
        """Text that PostgreSQL cannot hold, names and shapes that fit nothing are 422, with the place."""
        bodies: tuple[Any, ...] = (
            {"settings": {"llm_model": "nul \0"}},
            {"settings": {"llm_fallback_config": [{"provider": {"\0": 1}}]}},
            {"settings": {"llm model": 1}},
            {"secrets": {"openai_api_key": "  "}},
            {"secrets": {"openai_api_key": 7}},
            {"secrets": {"../x": "y"}},
            {"unknown": 1},
            [],
        )
        for body in bodies:
            answer = api.client.put("/api/config", json=body, headers={"If-Match": "*"})
            assert (answer.status_code, answer.json()["code"]) == (422, "LR603"), body
            assert answer.json()["where"].startswith("body")

    def test_invalid_secret_is_not_repeated(self, api: Api) -> None:
        """An answer about a secret of the wrong shape does not hold it."""
        answer = api.put(secrets={"openai_api_key": {"value": OTHER}})
        assert answer.status_code == 422
        assert OTHER not in answer.text

    def test_numbers_must_be_finite(self, api: Api) -> None:
        """NaN, which Python's JSON takes, is 422."""
        body = b'{"settings": {"llm_temperature": NaN}}'
        headers = {"If-Match": "*", "Content-Type": "application/json"}
        assert api.client.put("/api/config", content=body, headers=headers).status_code == 422

    def test_half_a_surrogate_pair_is_refused(self, api: Api) -> None:
        """JSON can escape half of a pair, which no encoding holds: 422."""
        body = b'{"comment": "\\ud800"}'
        headers = {"If-Match": "*", "Content-Type": "application/json"}
        assert api.client.put("/api/config", content=body, headers=headers).status_code == 422

    def test_deep_nesting_is_refused(self, api: Api) -> None:
        """A value nested beyond reason is 422, however deep."""
        for depth in (20, 100_000):
            body = b'{"settings": {"llm_profile": ' + b"[" * depth + b"]" * depth + b"}}"
            headers = {"If-Match": "*", "Content-Type": "application/json"}
            assert api.client.put("/api/config", content=body, headers=headers).status_code in (400, 422)


class TestHistory:
    def test_revisions_name_author_and_comment(self, api: Api, openai: StandIn) -> None:
        """The history says who changed what, through which application, and why."""
        api.save(**first(openai), author="anna", comment="first")
        newest = api.get("/api/revisions", limit=1)[0]
        assert (newest["author"], newest["comment"], newest["application"]) == ("anna", "first", "liverouter serve")
        assert newest["role"] == "postgres"
        assert "secret openai_api_key" in newest["changed"]

    def test_roll_back_brings_settings_and_secrets_back(self, api: Api, openai: StandIn) -> None:
        """A roll back is a new revision with the old content, secrets included."""
        saved = api.save(**first(openai))
        before = api.get("/api/config")
        api.save(settings={"llm_model": "other"}, secrets={"openai_api_key": OTHER})
        assert api.post("/api/rollback", revision=saved, comment="it was better")["revision"] == saved + 2
        after = api.get("/api/config")
        assert after["settings"] == before["settings"]
        assert after["secrets"]["openai_api_key"]["fingerprint"] == before["secrets"]["openai_api_key"]["fingerprint"]
        assert after["comment"] == "it was better"

    def test_diff_shows_fingerprints(self, api: Api, openai: StandIn) -> None:
        """A difference of secrets shows fingerprints."""
        saved = api.save(**first(openai))
        (change,) = api.get("/api/diff", a=saved, b=api.save(secrets={"openai_api_key": OTHER}))
        assert (change["object"], change["key"]) == ("secret", "openai_api_key")
        assert len(change["old"]) == len(change["new"]) == 8

    def test_unknown_revision_is_not_found(self, api: Api) -> None:
        """A revision that the history does not hold is 404, to roll back to as well."""
        for answer in (
            api.client.get("/api/diff", params={"a": 1, "b": 10**9}),
            api.client.get(f"/api/rollout/{10**9}"),
            api.client.post("/api/rollback", json={"revision": 10**9}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "LR213")

    @pytest.mark.parametrize("revision", [True, "0", 0.0, None])
    def test_what_is_no_revision_is_not_rolled_back_to(self, api: Api, revision: object) -> None:
        """Not even where Python takes it for a number."""
        newest = api.put(settings={"llm_model": "a"}).json()["revision"]
        assert api.client.post("/api/rollback", json={"revision": revision}).status_code == 422
        assert api.get("/api/config")["revision"] == newest

    def test_roll_back_heeds_if_match(self, api: Api) -> None:
        """A roll back that names the revision it looked at is refused when another came first."""
        newest = api.put(settings={"llm_model": "a"}).json()["revision"]
        answer = api.client.post("/api/rollback", json={"revision": 0}, headers={"If-Match": f'"{newest - 1}"'})
        assert (answer.status_code, answer.json()["current"]["revision"]) == (412, newest)


class TestCheck:
    def test_draft_is_judged_and_not_stored(self, api: Api) -> None:
        """A draft's Problems come back with their places; the stored config stays as it was."""
        before = revision(api)
        found = api.post("/api/check", settings={"llm_provider": "opnai", "llm_model": "m"})
        assert found["ok"] is False
        assert [(p["code"], p["where"], p["hint"]) for p in found["problems"]] == [
            ("LR101", "settings.llm_provider", "Did you mean 'openai'?")
        ]
        assert revision(api) == before

    @pytest.mark.parametrize(
        ("settings", "where"),
        [
            ({"llm_model": OTHER}, "settings.llm_model"),
            ({"llm_provider": OTHER}, "settings.llm_provider"),
            ({"openai_api_base": f"https://h/v1?api_key={OTHER}"}, "settings.openai_api_base"),
            ({"litellm_model_name": OTHER}, "settings.litellm_model_name"),
            (
                {"llm_fallback_config": [{"provider": "openai", "model": OTHER}]},
                "settings.llm_fallback_config[0].model",
            ),
        ],
    )
    def test_plain_secret_in_a_draft_is_refused_as_saving_refuses_it(
        self, api: Api, openai: StandIn, settings: dict[str, Any], where: str
    ) -> None:
        """A key in a plain setting is the same Problem at its place in a check and in a save; nobody repeats it."""
        draft, before = first(openai), revision(api)
        draft["settings"] |= settings
        checked = api.client.post("/api/check", json=draft | {"live": True})
        found = checked.json()
        assert (checked.status_code, found["ok"], found["deployments"], found["calls"]) == (200, False, [], [])
        assert [(p["code"], p["where"]) for p in found["problems"]] == [("LR110", where)]
        saved = api.put(**draft)
        assert (saved.status_code, saved.json()["problems"]) == (422, found["problems"])
        assert OTHER not in checked.text + saved.text
        assert revision(api) == before

    def test_live_check_calls_each_deployment(self, api: Api, openai: StandIn) -> None:
        """A live check with a wrong key says which deployment does not answer, and what to look at."""
        draft = first(
            openai,
            llm_fallback_config=[
                {"provider": "openai", "model": "gpt-5.4-mini", "api_key": {"secret": "openai_api_key_2"}}
            ],
        )
        draft["secrets"] |= {"openai_api_key": OTHER, "openai_api_key_2": KEY}
        before = revision(api)
        answer = api.client.post("/api/check", json=draft | {"live": True})
        found = answer.json()
        assert found["ok"] is False
        primary, fallback = found["calls"]
        assert (primary["problem"]["code"], primary["credential_source"]) == ("LR323", "secret openai_api_key")
        assert primary["problem"]["hint"] == "Check secret openai_api_key, and what it may use"
        assert fallback["problem"] is None
        assert fallback["answered_by"] == "gpt-5.4-mini"
        assert OTHER not in answer.text
        assert revision(api) == before

    def test_empty_draft_checks_what_is_stored(self, api: Api, openai: StandIn) -> None:
        """Without a draft the stored config is checked."""
        saved = api.save(**first(openai))
        found = api.post("/api/check")
        assert (found["ok"], found["revision"], found["deployments"]) == (True, saved, ["openai/gpt-5.4"])

    def test_draft_can_take_a_setting_out(self, api: Api, openai: StandIn) -> None:
        """A null in the draft is as if the row were not there."""
        api.save(**first(openai))
        found = api.post("/api/check", settings={"llm_model": None}, secrets={"openai_api_key": None})
        assert {p["code"] for p in found["problems"]} == {"LR100"}


class TestEmptiedHistory:
    def test_config_without_a_history_says_how_to_mend_it(self, api: Api, admin: Admin, openai: StandIn) -> None:
        """As somebody deleted it by hand; nobody has to read a log for it."""
        api.save(**first(openai))
        admin.execute("DELETE FROM liverouter.revision_log")
        for path in ("/api/config", "/api/instances"):
            answer = api.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "LR214"), path
            assert answer.json()["hint"] == "Make the rows a revision: liverouter repair"
        admin.execute("DELETE FROM liverouter.settings WHERE false")  # which is what it does
        assert api.client.get("/api/config").status_code == 200


class TestTry:
    def test_answer_names_who_served(self, api: Api, openai: StandIn) -> None:
        """A prompt is answered by the live model, and the answer says by which deployment."""
        revision = api.save(**first(openai))
        said = api.post("/api/try", prompt="hello")
        assert said["answer"] == "gpt-5.4 says: hello"
        assert (said["provider"], said["role"], said["revision"]) == ("openai", "primary", revision)
        assert said["failed_over"] is False

    def test_without_a_config_the_reasons_come_at_once(self, fresh: Api) -> None:
        """While nothing is live, a prompt is 503 with every reason, and does not wait."""
        answer = fresh.client.post("/api/try", json={"prompt": "hello"})
        assert answer.status_code == 503
        assert [p["where"] for p in answer.json()["problems"]] == ["settings.llm_provider", "settings.llm_model"]

    def test_failing_provider_is_a_bad_gateway(self, api: Api, openai: StandIn) -> None:
        """A provider that refuses is 502, with its reason and without the key."""
        api.save(**{**first(openai), "secrets": {"openai_api_key": OTHER}})
        answer = api.client.post("/api/try", json={"prompt": "hello"})
        assert answer.status_code == 502
        assert OTHER not in answer.text

    def test_no_answer_in_time_is_said_so(self, api: Api, openai: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        """A try that takes too long is 502, and says how long that was."""
        api.save(**first(openai))
        api.post("/api/try", prompt="what a first call loads is loaded")
        monkeypatch.setattr("liverouter.daemon.trial._LIMIT_S", 0.25)
        with openai.hold():
            answer = api.client.post("/api/try", json={"prompt": "hi"})
        assert (answer.status_code, answer.json()["detail"]) == (502, "no answer within 0.25 s"), answer.text

    def test_answer_comes_as_it_is_said(self, api: Api, openai: StandIn) -> None:
        """As events: texts, which make the answer, and the answer with who served it, last."""
        api.save(**first(openai))
        told = list(streamed(api, prompt="hello"))
        texts = [data["text"] for kind, data in told[:-1] if kind == "text"]
        assert len(texts) == len(told) - 1 > 1
        kind, said = told[-1]
        assert (kind, said["answer"], "".join(texts)) == ("answer", "gpt-5.4 says: hello", "gpt-5.4 says: hello")
        assert (said["name"], said["role"], said["failed_over"]) == ("default", "primary", False)

    def test_stream_that_breaks_off_ends_in_its_error(self, api: Api, openai: StandIn) -> None:
        """What fails before any text is an answer with its status; what fails later is the last event."""
        api.save(**first(openai))
        openai.fail(Failure.EOF, after_chunks=2)
        told = list(streamed(api, prompt="hello"))
        assert told[-1][0] == "error"
        assert told[-1][1]["code"].startswith("LR3")
        openai.heal()
        openai.fail(Failure.SERVER_ERROR)
        answer = api.client.post("/api/try", json={"prompt": "hello", "stream": True})
        assert (answer.status_code, answer.json()["code"]) == (502, "LR302")

    def test_who_hears_no_more_of_a_stream_ends_it(self, api: Api, openai: StandIn) -> None:
        """A page that is closed in the middle of an answer lets the provider go."""
        api.save(**first(openai))
        with openai.hold(after_chunks=1):
            with api.client.stream("POST", "/api/try", json={"prompt": "hi", "stream": True}) as answer:
                next(answer.iter_lines())
            openai.wait_disconnects(1, PATIENCE_S)


def streamed(api: Api, **body: Any) -> Iterator[tuple[str, Any]]:
    """Yield the events of a try."""
    with api.client.stream("POST", "/api/try", json=body | {"stream": True}) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield from parsed(answer.iter_lines())


class TestNames:
    def test_names_are_read_saved_checked_and_tried(self, api: Api, openai: StandIn) -> None:
        """Rows of named models are settings like any other; a check may call one name alone, and a try asks it."""
        row = {"provider": "openai", "model": "gpt-4o-mini", "fallbacks": [{"provider": "openai", "model": "gpt-4.1"}]}
        api.save(**first(openai, **{"llm:fast": row}))
        assert api.get("/api/config")["settings"]["llm:fast"] == row
        checked = api.post("/api/check", live=True, name="fast")
        assert [(c["name"], c["model"]) for c in checked["calls"]] == [("fast", "gpt-4o-mini"), ("fast", "gpt-4.1")]
        assert {c["name"] for c in api.post("/api/check", live=True)["calls"]} == {"default", "fast"}
        said = api.post("/api/try", prompt="hi", name="fast")
        assert (said["name"], said["answer"]) == ("fast", "gpt-4o-mini says: hi")
        assert api.post("/api/try", prompt="hi", name="nobody")["name"] == "default"

    def test_renamed_in_one_revision(self, api: Api, openai: StandIn) -> None:
        """A null for the old name and a row for the new one are one change."""
        row = {"provider": "openai", "model": "gpt-4o-mini"}
        saved = api.save(**first(openai, **{"llm:fast": row}))
        assert api.save(settings={"llm:fast": None, "llm:quick": row}) == saved + 1
        assert {"llm:quick"} == {key for key in api.get("/api/config")["settings"] if key.startswith("llm:")}

    def test_problem_of_a_name_has_its_place(self, api: Api, openai: StandIn) -> None:
        """A wrong member is told where it stands, and a plain key is neither stored nor shown."""
        row = {
            "provider": "openai",
            "model": "m",
            "fallbacks": [{"provider": "openai", "model": "gpt-4o", "wieght": 1}],
        }
        found = api.post("/api/check", **first(openai, **{"llm:fast": row}))
        assert [p["where"] for p in found["problems"]] == ["settings.llm:fast.fallbacks[0].wieght"]
        answer = api.put(settings={"llm:fast": {"provider": "openai", "model": "m", "api_key": OTHER}})
        assert (answer.status_code, answer.json()["where"]) == (422, "settings.llm:fast.api_key")
        assert OTHER not in answer.text

    def test_what_can_be_no_name_is_refused(self, api: Api) -> None:
        """As a setting that nobody knows."""
        for row in ("llm:", "llm:Fast", "llm:default", "llm:a.b"):
            answer = api.put(settings={row: {"provider": "openai", "model": "m"}})
            assert (answer.status_code, answer.json()["code"]) == (422, "LR106"), row

    def test_deployment_is_asked_alone(self, api: Api, openai: StandIn) -> None:
        """Its failure is the answer: nobody stands in. One that the name does not have is not found."""
        row = {"provider": "openai", "model": "gpt-4o-mini", "fallbacks": [{"provider": "openai", "model": "gpt-4.1"}]}
        api.save(**first(openai, **{"llm:fast": row}))
        own = {(d["name"], d["model"]): d for d in api.get("/api/status")["deployments"]}
        assert set(own) == {("default", "gpt-5.4"), ("fast", "gpt-4o-mini"), ("fast", "gpt-4.1")}
        last = own["fast", "gpt-4.1"]["deployment_id"]
        assert api.post("/api/try", prompt="hi", name="fast", deployment_id=last)["role"] == "fallback"
        openai.fail(Failure.SERVER_ERROR, times=1)
        answer = api.client.post("/api/try", json={"prompt": "hi", "name": "fast", "deployment_id": last})
        assert answer.status_code == 502
        missing = api.client.post("/api/try", json={"prompt": "hi", "deployment_id": last})
        assert (missing.status_code, missing.json()["where"]) == (404, "body.deployment_id")


class TestCatalog:
    def test_parameters_are_those_of_the_provider(self, api: Api) -> None:
        """Each provider says which it takes, and each parameter what."""
        catalog = api.get("/api/providers")
        takes = {p["name"]: p["params"] for p in catalog["providers"]}
        assert "thinking" in takes["anthropic"]
        assert "frequency_penalty" not in takes["anthropic"]
        assert "frequency_penalty" in takes["openai"]
        verbosity = next(p for p in catalog["params"] if p["name"] == "verbosity")
        assert (verbosity["kind"], verbosity["words"]) == ("text", ["low", "medium", "high"])

    def test_providers_tell_their_fields(self, api: Api) -> None:
        """Each provider comes with its fields, labels and what it needs at least."""
        catalog = api.get("/api/providers")
        azure = next(p for p in catalog["providers"] if p["name"] == "azure-openai")
        assert azure["needs"] == [["azure_openai_endpoint"], ["azure_openai_api_key", "azure_openai_ad_token"]]
        assert {s["name"] for s in catalog["settings"]} >= {"llm_provider", "litellm_timeout", "snowflake_token"}

    def test_models_are_those_of_the_provider(self, api: Api, openai: StandIn) -> None:
        """The list of litellm gives each provider's model names, as the settings spell them."""
        api.save(**first(openai))
        found = api.get("/api/models")
        assert "claude-sonnet-4-6" in found["models"]["anthropic"]
        assert "gpt-5.4" in found["models"]["openai"]
        assert set(found["models"]) == {p["name"] for p in api.get("/api/providers")["providers"]}
        assert not any("#" in name or name.startswith("ft:") for names in found["models"].values() for name in names)


class TestRoles:
    def test_three_roles_are_enough(self, login: Callable[..., str], openai: StandIn) -> None:
        """A daemon whose login is client, writer and inspector can do all that the page offers; it owns nothing."""
        url = login("liverouter_client", "liverouter_writer", "liverouter_inspector")
        with Api(url, secret_keys=generate_key()) as api:
            assert api.save(**first(openai)) == 1
            assert api.save(settings={"llm_model": "gpt-5.4-mini"}) == 2
            assert api.post("/api/rollback", revision=1)["revision"] == 3
            assert api.post("/api/check", live=True)["ok"] is True
            assert [row["revision"] for row in api.get("/api/revisions")] == [3, 2, 1, 0]
            assert "liverouter_database_up 1.0" in api.client.get("/metrics").text
            for path in (
                "/api/diff?a=1&b=2",
                "/api/rollout/3",
                "/api/instances",
                "/api/serving",
                "/api/problems",
                "/api/usage",
            ):
                assert api.client.get(path).status_code == 200, path
            assert api.get("/api/config")["secrets"]["openai_api_key"]["opens"] is True


def test_no_view_shows_what_was_saved(admin: Admin) -> None:
    """All that the tests above have left, history included, holds none of their secrets."""
    LEDGER.hide(KEY, OTHER, "sesame")
    LEDGER.tell_database(admin.dsn)
    assert LEDGER.leaks() == []
