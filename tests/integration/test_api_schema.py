"""Whatever is sent to the API, its answer is one that the OpenAPI document announces, and never an accident."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import hypothesis
import pytest
import schemathesis
from fastapi.routing import APIRoute
from schemathesis import GenerationMode
from schemathesis.checks import negative_data_rejection, positive_data_acceptance

from liverouter.daemon import api_config, api_fleet, api_process
from liverouter.daemon.auth import AdminToken, LoginLimiter
from liverouter.daemon.request_guard import Policy
from liverouter.secrecy.sealing import generate_key
from liverouter.testing import StandIn
from tests.kit.http import PATIENCE_S, Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from schemathesis import Case

KEY: Final = "sk-test-0123456789abcdef"
TOKEN: Final = "a-long-random-admin-token-0123456789"
AUTHORIZED: Final = {"Authorization": f"Bearer {TOKEN}"}


def _policy() -> Policy:
    """Return what admits the token, and counts no wrong one for long: many are tried."""
    return Policy(
        admin_token=AdminToken(TOKEN),
        login_limiter=LoginLimiter(clock=itertools.count(0.0, 60.0).__next__),
        any_host=False,
    )


@pytest.fixture(scope="module")
def served(new_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[Api]:
    """The API with a live config, so that every route can do its work."""
    with (
        new_database("schema") as dsn,
        StandIn("openai") as openai,
        Api(dsn, secret_keys=generate_key(), policy=_policy()) as api,
    ):
        api.client.headers.update(AUTHORIZED)
        rows = {"llm_provider": "openai", "llm_model": "gpt-4o", "openai_api_base": openai.api_base}
        api.save(settings=rows, secrets={"openai_api_key": KEY})
        yield api


@pytest.fixture(scope="module")
def document(served: Api) -> Any:
    """The API's own description."""
    return schemathesis.openapi.from_url(f"{served.url}/api/openapi.json", timeout=PATIENCE_S)


ROUTES: Final = [
    (method, route.path)
    for module in (api_config, api_fleet, api_process)
    for route in module.router.routes
    if isinstance(route, APIRoute) and route.include_in_schema
    for method in sorted(route.methods or ())
    if route.path != "/api/events"  # never ends; tested elsewhere
]


def test_every_operation_is_tried(document: Any) -> None:
    """What the document lists is what is tried below, all but the stream."""
    listed = {(method.upper(), path) for path, item in document.raw_schema["paths"].items() for method in item}
    assert listed == {*ROUTES, ("GET", "/api/events")}


# schemathesis draws what it learned from former answers
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part)
def test_every_answer_is_announced(document: Any, method: str, path: str, mode: GenerationMode) -> None:
    """No 5xx, no status, type, header or shape that the document does not have; what is invalid is refused.

    Nor is any route answered that is said to want a token, and was sent none or another.
    """
    operation = document[path][method]
    takes = operation.body or operation.query or operation.path_parameters
    # Whether names are settings, and whether a revision is the newest, no document can say.
    judged_by_content = [positive_data_acceptance] if method in ("POST", "PUT") else []

    @hypothesis.settings(
        max_examples=6 if takes else 2, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        answer = case.call(headers=AUTHORIZED, timeout=PATIENCE_S)
        too_long = [negative_data_rejection] if answer.status_code == 413 else []  # refused before it is read
        case.validate_response(answer, headers=AUTHORIZED, excluded_checks=judged_by_content + too_long)

    if takes or mode is GenerationMode.POSITIVE:  # else there is nothing that could be wrong
        check()
