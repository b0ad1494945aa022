"""The text of a failed call: what the provider said, without what nobody may read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast, get_args

import pytest

from liverouter.call import Call
from liverouter.chat.errors import translate
from liverouter.chat.health import in_words
from liverouter.generation import Generation, ServedModel
from liverouter.revision import Deployment, Snapshot
from liverouter.routing.causes import Kind, kind_of
from liverouter.routing.cooldowns import Cooldowns
from tests.kit.deployments import deployment

KINDS = (
    *("API", "Authentication", "Connection", "InvalidRequest", "NotFound"),
    *("PermissionDenied", "RateLimit", "Refusal", "Timeout"),
)


def generation(secret: str, *others: Deployment) -> Generation:
    """Return a generation of one deployment with *secret*, and of *others*, ready for errors alone."""
    all_of_it = (deployment(secrets={"openai_api_key": secret}), *others)
    snapshot = Snapshot("e", 1, "c", datetime(2026, 11, 23, tzinfo=UTC), all_of_it)
    model = ServedModel(snapshot.models["default"], {d.id: cast("Any", object()) for d in all_of_it}, {}, {})
    return Generation(1, snapshot, {"default": model}, None, Cooldowns())


class TestWords:
    def test_every_kind_of_failure_is_in_words(self) -> None:
        """What an operator reads in `problems`: no class of a library's, of whatever kind it is or of none."""
        names = ["ContextOverflowError", *(f"Model{kind}Error" for kind in KINDS), "Whatever"]
        errors = [
            type(name, (RuntimeError,), {"status_code": status})("") for name in names for status in (400, 429, 503)
        ]
        assert {kind_of(error) for error in errors} == set(get_args(Kind))
        assert [words for error in errors if not (words := in_words(error)) or type(error).__name__ in words] == []


class TestText:
    @pytest.mark.parametrize("secret", ["", " ", "\n"])
    def test_secret_without_content_leaves_the_text_alone(self, secret: str) -> None:
        """An empty secret is in every text, between any two letters: none of it is blanked."""
        error = translate(RuntimeError("no key was sent\nat all"), Call(generation(secret)))
        assert str(error) == "no key was sent\nat all"

    def test_secret_is_blanked(self) -> None:
        """A provider that repeats the key gives nothing away."""
        error = translate(RuntimeError("key made-up-key is wrong"), Call(generation("made-up-key")))
        assert str(error) == "key *** is wrong"

    def test_library_s_text_is_told_under_its_deployment(self) -> None:
        """Also where a name stands in it that begins like that of the deployment."""
        call = Call(generation("k", deployment(model="n")))
        kind = type("InternalServerError", (Exception,), {"__module__": "openai", "status_code": 500})
        call.failures = [(d.id, kind("no openai/mini here")) for d in call.generation.deployments]
        told = str(translate(call.failures[-1][1], call))
        assert "failed: openai/m: InternalServerError" in told
        assert told.count("openai/mini") == 2
