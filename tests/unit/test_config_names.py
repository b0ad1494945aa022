"""Named models, parameters and times in rows: each becomes part of one Snapshot, or a Problem at its place."""

from __future__ import annotations

from typing import Any

import pytest

from liverouter.providers import api_of
from liverouter.providers.parameters import fitted
from liverouter.routing.model_map import known_model
from tests.unit.test_config import AZURE, KEYS, PRIMARY, accepted, check, rejected

FAST = {"provider": "openai", "model": "gpt-4o-mini"}


def named(**rows: Any) -> dict[str, Any]:
    """Return the primary's rows and one row ``llm:NAME`` for each of *rows*."""
    return PRIMARY | {f"llm:{name}": row for name, row in rows.items()}


class TestNames:
    def test_all_names_of_a_revision_are_one_snapshot(self) -> None:
        """Each has its own deployments and fallbacks; keys and bases are shared; the default is one of them."""
        rows = named(
            fast=FAST | {"fallbacks": {"provider": "anthropic", "model": "claude-haiku-4-5"}},
            planner={
                "provider": "anthropic",
                "model": "claude-opus-5",
                "fallbacks": [FAST, FAST | {"model": "gpt-4o"}],
            },
        )
        snapshot = accepted(rows | {"openai_api_base": "http://127.0.0.1:9/v1"})
        assert {name: [d.label for d in model.deployments] for name, model in snapshot.models.items()} == {
            "default": ["anthropic/claude-sonnet-4-6"],
            "fast": ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"],
            "planner": ["anthropic/claude-opus-5", "openai/gpt-4o-mini", "openai/gpt-4o"],
        }
        assert [(d.name, d.role, d.order) for d in snapshot.models["planner"].deployments] == [
            ("planner", "primary", 1),
            ("planner", "fallback", 2),
            ("planner", "fallback", 3),
        ]
        assert snapshot.models["fast"].primary.endpoint == "http://127.0.0.1:9/v1"
        assert snapshot.models["fast"].primary.id == snapshot.models["planner"].deployments[1].id
        assert [d.name for d in snapshot.deployments] == ["default", *["fast"] * 2, *["planner"] * 3]

    def test_a_null_row_configures_nothing(self) -> None:
        """As with every setting, null says that there is none."""
        assert set(accepted(named(fast=None)).models) == {"default"}

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            ("text", ("LR103", "settings.llm:fast")),
            ([FAST], ("LR103", "settings.llm:fast")),
            ({"model": "m"}, ("LR100", "settings.llm:fast.provider")),
            (FAST | {"provider": "opnai"}, ("LR101", "settings.llm:fast.provider")),
            (FAST | {"temprature": 1}, ("LR106", "settings.llm:fast.temprature")),
            (FAST | {"order": 2}, ("LR104", "settings.llm:fast.order")),
            (FAST | {"weight": 0}, ("LR104", "settings.llm:fast.weight")),
            (FAST | {"timeout": "1"}, ("LR103", "settings.llm:fast.timeout")),
            (FAST | {"api_key": "hush"}, ("LR110", "settings.llm:fast.api_key")),
            (FAST | {"api_key": {"secret": "none"}}, ("LR102", "settings.llm:fast.api_key")),
            (FAST | {"api_base": "https://elsewhere.example"}, ("LR111", "settings.llm:fast.api_base")),
            (FAST | {"model": "os.environ/HOME"}, ("LR112", "settings.llm:fast.model")),
            (FAST | {"params": {"top_p": 2}}, ("LR104", "settings.llm:fast.params.top_p")),
            (FAST | {"fallbacks": 3}, ("LR103", "settings.llm:fast.fallbacks")),
            (FAST | {"fallbacks": [FAST]}, ("LR108", "settings.llm:fast.fallbacks")),
            (FAST | {"fallbacks": [{"provider": "openai"}]}, ("LR100", "settings.llm:fast.fallbacks[0].model")),
            (FAST | {"fallbacks": FAST | {"x": 1}}, ("LR106", "settings.llm:fast.fallbacks.x")),
            (FAST | {"fallbacks": [FAST] * 21}, ("LR104", "settings.llm:fast.fallbacks")),
        ],
    )
    def test_what_is_wrong_is_told_at_its_place(self, row: object, problem: tuple[str, str]) -> None:
        """One bad name rejects the revision whole, and the Problem says where."""
        assert problem in rejected(named(fast=row))

    @pytest.mark.parametrize(
        ("row", "hint"),
        [
            (FAST | {"fallback": FAST}, "Did you mean 'fallbacks'?"),
            (FAST | {"parms": {}}, "Did you mean 'params'?"),
            (FAST | {"Temperature": 1}, "Did you mean 'temperature'?"),
            (FAST | {"secret": "hush"}, "Store"),
            (FAST | {"zzz": 3}, "fallbacks"),
            (FAST | {"fallbacks": FAST | {"model": "m", "fallbacks": FAST}}, "A openai fallback knows"),
            (FAST | {"fallbacks": {}}, '{"provider"'),
            (FAST | {"fallbacks": "openai/gpt-4o"}, '{"provider"'),
            (FAST | {"fallbacks": [None]}, '{"provider"'),
            (FAST | {"provider": "OpenAI"}, "Did you mean 'openai'?"),
            (FAST | {"model": " "}, "Give it a value"),
            (FAST | {"api_key": "openai_api_key"}, '{"secret": "NAME"}'),
            ("openai/gpt-4o-mini", '{"provider"'),
            ([], '{"provider"'),
        ],
    )
    def test_hint_says_what_to_write(self, row: object, hint: str) -> None:
        """Whatever somebody may have meant."""
        problems = [problem for problem in check(named(fast=row)).problems if problem.severity == "error"]
        assert all(problem.hint for problem in problems)
        assert hint in " ".join(problem.hint for problem in problems)

    def test_what_can_serve_does(self) -> None:
        """No fallbacks, those of the default again, one place by several keys, and as many names as there may be."""
        spare = {"provider": "anthropic", "model": "claude-haiku-4-5"}
        rows = named(
            none=FAST | {"fallbacks": []},
            copy=spare,
            hot=FAST | {"temperature": 2},
            own=FAST | {"api_key": {"secret": "anthropic_api_key"}, "api_base": "http://127.0.0.1:9/v1"},
            **{f"m{number}-{'x' * 28}"[:32]: FAST for number in range(46)},
        )
        models = accepted(rows | {"llm_fallback_config": spare}).models
        assert len(models) == 51
        assert models["copy"].primary.id == models["default"].fallbacks[0].id
        assert models["none"].primary.id == models["hot"].primary.id != models["own"].primary.id
        assert models["hot"].primary.temperature == 2

    @pytest.mark.parametrize("name", ["Fast", "1st", "", "a b", "a" * 33, "fast\n", "ä", "a.b"])
    def test_a_wrong_name_is_told(self, name: str) -> None:
        """A row that nobody could ask for is not accepted and ignored."""
        (problem,) = check(PRIMARY | {f"llm:{name}": FAST}).problems
        assert (problem.code, problem.severity) == ("LR106", "error")
        assert "begins with a-z" in problem.hint

    def test_default_is_no_row(self) -> None:
        """It is what the rows of the primary say."""
        (problem,) = check(named(default=FAST)).problems
        assert (problem.code, problem.where) == ("LR106", "settings.llm:default")
        assert "llm_provider" in problem.hint

    def test_the_logical_name_is_no_other_models(self) -> None:
        """Whoever asks the Router for it could mean either."""
        rows = named(fast=FAST) | {"litellm_model_name": "fast"}
        assert rejected(rows) == [("LR116", "settings.litellm_model_name")]

    def test_hostile_rows_are_bounded(self) -> None:
        """Neither names nor deployments beyond their number are read."""
        many = named(**{f"m{i}": FAST for i in range(51)})
        assert rejected(many) == [("LR104", "settings")]
        crowd = [FAST | {"model": f"m{i}"} for i in range(20)]
        wide = named(**{f"m{i}": FAST | {"fallbacks": crowd} for i in range(10)})
        assert rejected(wide) == [("LR104", "settings")]

    def test_an_azure_deployment_of_the_rows_is_the_defaults_alone(self) -> None:
        """A named model of the same provider has a deployment of its own."""
        rows: dict[str, Any] = {"llm_provider": "azure-openai", "llm_model": "gpt-4o", "azure_openai_endpoint": AZURE}
        rows |= {"azure_openai_deployment": "prod", "llm:fast": {"provider": "azure-openai", "model": "mini"}}
        snapshot = accepted(rows)
        assert [d.settings["azure_openai_deployment"] for d in snapshot.deployments] == ["prod", "mini"]


class TestParameters:
    def test_each_deployment_has_its_own(self) -> None:
        """A fallback takes over what it does not say itself; a named model takes nothing of the default's."""
        rows = named(fast=FAST | {"fallbacks": {"provider": "anthropic", "model": "claude-haiku-4-5"}}) | {
            "llm_provider": "openai",
            "llm_model": "gpt-4o",
            "llm_temperature": 0.5,
            "llm_params": {"top_p": 0.9, "seed": 7, "stop": "end"},
            "llm_fallback_config": [FAST, FAST | {"model": "gpt-4.1", "temperature": 0, "params": {"seed": 8}}],
        }
        own = {"top_p": 0.9, "seed": 7, "stop": ["end"], "temperature": 0.5}
        assert [dict(d.params) for d in accepted(rows).deployments] == [
            own,
            own,
            {"seed": 8, "temperature": 0.0},
            {},
            {},
        ]

    def test_times_and_weights_are_each_deployments_own(self) -> None:
        """What a fallback does not say is the common time, none to its first content, and a share of 1."""
        spare = FAST | {"order": 1, "weight": 0.25, "timeout": 3, "first_token_timeout": 0.5}
        rows = PRIMARY | {
            "llm_weight": 1.5,
            "llm_timeout": 30,
            "llm_first_token_timeout": 2,
            "litellm_timeout": 60,
            "llm_fallback_config": [spare, FAST | {"model": "gpt-4o"}],
        }
        found = [(d.weight, d.timeout_s, d.first_token_timeout_s) for d in accepted(rows).deployments]
        assert found == [(1.5, 30.0, 2.0), (0.25, 3.0, 0.5), (1.0, 60.0, None)]

    @pytest.mark.parametrize(
        ("params", "code", "member"),
        [
            ([1], "LR103", ""),
            ({"top_p": "0.9"}, "LR103", ".top_p"),
            ({"top_p": 1.1}, "LR104", ".top_p"),
            ({"topp": 1}, "LR106", ".topp"),
            ({"temperature": 1}, "LR106", ".temperature"),
            ({"max_output_tokens": 1}, "LR106", ".max_output_tokens"),
            ({"reasoning_effort": "hard"}, "LR104", ".reasoning_effort"),
            ({"reasoning_effort": 3}, "LR103", ".reasoning_effort"),
            ({"thinking": {"type": "enabled"}}, "LR103", ".thinking"),
            ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "LR104", ".thinking.budget_tokens"),
            ({"thinking": {"type": "disabled", "x": 1}}, "LR106", ".thinking"),
            ({"seed": 1.5}, "LR103", ".seed"),
            ({"seed": -1}, "LR104", ".seed"),
            ({"stop": [1]}, "LR103", ".stop"),
            ({"stop": [" "]}, "LR104", ".stop"),
            ({"frequency_penalty": -2.1}, "LR104", ".frequency_penalty"),
            ({"verbosity": "loud"}, "LR104", ".verbosity"),
            ({"service_tier": None, "x": 1}, "LR106", ".x"),
            ({"extra_body": 1}, "LR103", ".extra_body"),
            ({"extra_body": {"model": "other"}}, "LR104", ".extra_body.model"),
            ({"extra_body": {"api_base": "https://elsewhere.example"}}, "LR104", ".extra_body.api_base"),
            ({"extra_body": {"a": 10**400}}, "LR104", ".extra_body"),
            ({"extra_body": {"a": [[[[{"client_secret": "hush"}]]]]}}, "LR110", ""),
            ({"extra_body": {"a": {"secret": "mine"}}}, "LR110", ".extra_body"),
            ({"extra_body": {"session_key": "abcdefgh"}}, "LR110", ".extra_body"),
            ({"extra_headers": ["a"]}, "LR103", ".extra_headers"),
            ({"extra_headers": {"x-team": 1}}, "LR103", ".extra_headers.x-team"),
            ({"extra_headers": {"Host": "elsewhere.example"}}, "LR104", ".extra_headers.Host"),
            ({"extra_headers": {"x-team": "a\r\nhost: b"}}, "LR104", ".extra_headers.x-team"),
            ({"extra_headers": {"Cookie": "a=b"}}, "LR110", ".extra_headers.Cookie"),
            ({"extra_headers": {"x-goog-key": "abc"}}, "LR110", ".extra_headers.x-goog-key"),
            ({"extra_headers": {"x-team": "Token abcdef"}}, "LR110", ".extra_headers.x-team"),
        ],
    )
    def test_what_cannot_be_sent_is_told(self, params: object, code: str, member: str) -> None:
        """In the rows of the default and of a name alike; nothing of a value is repeated."""
        for rows, place in (
            (PRIMARY | {"llm_params": params}, "settings.llm_params"),
            (named(fast=FAST | {"params": params}), "settings.llm:fast.params"),
        ):
            problems = [p for p in check(rows).problems if p.severity == "error"]
            assert any(p.code == code and p.where.startswith(place + member) for p in problems), problems
            assert not any("hush" in str(p) for p in problems)

    @pytest.mark.parametrize("name", ["Authorization", "api-key", "X-API-Key", "x-auth-token", "proxy-authorization"])
    def test_headers_take_no_credential(self, name: str) -> None:
        """Whatever it is called, a plain value where a secret belongs is refused."""
        rows = PRIMARY | {"llm_params": {"extra_headers": {name: "abcdefgh"}}}
        assert {code for code, _ in rejected(rows)} == {"LR110"}

    def test_what_the_model_does_not_take_is_told(self) -> None:
        """Fitted at validation, so that a fallback is not refused when it is wanted; the words are of its provider."""
        rows = PRIMARY | {
            "llm_provider": "openai",
            "llm_model": "gpt-5.1",
            "llm_params": {"reasoning_effort": "max", "top_p": 0.5, "extra_body": {"x": 1}},
            "llm_fallback_config": {"provider": "anthropic", "model": "claude-haiku-4-5"},
        }
        validation = check(rows)
        assert validation.snapshot is not None
        primary, spare = validation.snapshot.deployments
        assert "top_p" not in primary.params
        assert primary.params["extra_body"] == {"x": 1}
        assert spare.params["reasoning_effort"] == "max"
        assert "extra_body" not in spare.params
        told = [(p.code, p.where) for p in validation.problems]
        assert ("LR114", "settings.llm_params.top_p") in told
        assert ("LR114", "settings.llm_params.extra_body") in told

    def test_a_library_gets_no_orders_by_the_body(self) -> None:
        """A library would take members of Claude's body for its own; without litellm they go as they are."""
        rows = PRIMARY | {"llm_params": {"extra_body": {"langsmith_base_url": "http://x", "speed": "fast"}}}
        assert accepted(rows).primary.params["extra_body"] == {"speed": "fast"}
        both = accepted(rows | {"litellm_enable": False}).primary.params["extra_body"]
        assert both == {"langsmith_base_url": "http://x", "speed": "fast"}


PLACES = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-5.1"),
    ("azure-openai", "gpt-4o"),
    ("anthropic", "claude-sonnet-4-6"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-opus-5"),
    ("vertex-ai", "gemini-2.5-flash"),
    ("vertex-ai", "gemini-3-flash-preview"),
    ("vertex-ai", "claude-sonnet-4-6"),
    ("snowflake-cortex", "llama3.1-70b"),
    ("snowflake-cortex", "openai-gpt-5"),
    ("snowflake-cortex", "claude-sonnet-4-6"),
]
WISHES: list[dict[str, Any]] = [
    *({"reasoning_effort": effort} for effort in ("none", "low", "max")),
    {"thinking": {"type": "adaptive"}},
    {"thinking": {"type": "disabled"}},
    {"thinking": {"type": "enabled", "budget_tokens": 200_000}, "top_p": 0.5},
    {"stop": list("abcdefg"), "seed": 7, "service_tier": "default", "verbosity": "low"},
    {"frequency_penalty": 2, "presence_penalty": -2, "extra_headers": {"user-agent": "our own"}},
]


class TestFitted:
    @pytest.mark.parametrize(("provider", "model"), PLACES)
    @pytest.mark.parametrize("enabled", [True, False])
    def test_what_is_kept_of_rows_is_sent_as_the_rows_say(self, provider: str, model: str, *, enabled: bool) -> None:
        """Fitted as rows are read and again with each call, whose own parameters come beside: twice is as once."""
        rows = {"llm_provider": provider, "llm_model": model, "litellm_enable": enabled, "vertex_ai_project_id": "p"}
        rows |= {"azure_openai_endpoint": AZURE, "snowflake_account": "a", "llm_temperature": 0.2}
        for params in WISHES:
            deployment = accepted(rows | {"llm_params": params}).primary
            api, known = api_of(deployment, native=not enabled), known_model(deployment)
            once = fitted(api, {"temperature": 0.2, **params}, known).sent
            assert fitted(api, deployment.params, known).sent == once


class TestStrangers:
    @pytest.mark.parametrize(
        ("row", "hint"),
        [
            ("llm_top_p", "llm_params"),
            ("llm_reasoning_effort", "llm_params"),
            ("litellm_seed", "llm_params"),
            ("llm_modle", "llm_model"),
            ("llm_xyz", "show --settings"),
        ],
    )
    def test_a_row_that_begins_as_ours_and_is_none_is_an_error(self, row: str, hint: str) -> None:
        """Never accepted and ignored."""
        (problem,) = check(PRIMARY | {row: 1}).problems
        assert (problem.code, problem.severity, problem.where) == ("LR106", "error", f"settings.{row}")
        assert hint in problem.hint

    def test_environment_serves_the_new_rows(self) -> None:
        """As it does all others."""
        environ = KEYS | {"LLM_PARAMS": '{"top_k": 1}', "LLM_TIMEOUT": "9"}
        assert rejected(PRIMARY, environ) == [("LR106", "environment LLM_PARAMS.top_k")]
        assert accepted(PRIMARY, KEYS | {"LLM_TIMEOUT": "9"}).primary.timeout_s == 9.0
