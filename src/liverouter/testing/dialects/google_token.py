"""Google's token endpoint and throw-away service accounts, so that no test holds a real credential."""

from __future__ import annotations

import base64
import functools
import json
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

from liverouter.testing.standin.wire import HttpReply, Incoming, JsonObject

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

TOKEN_PATH = "/token"  # noqa: S105 - a path
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_KEY_ID = "standin-throw-away-key"
_EMAIL = "standin@standin-project.iam.gserviceaccount.com"
_LIFETIME_S = 3600  # the longest that an assertion and an access token last
_SKEW_S = 60  # by which the signer's clock may be ahead
_BASE64 = re.compile(r"[A-Za-z0-9_-]+")  # of URLs and without padding, as RFC 7515 writes it


@functools.cache
def _throw_away_key() -> RSAPrivateKey:
    """Return this process's key; making one costs about 100 ms."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def service_account_json(base_url: str, *, project: str = "standin-project") -> str:
    """Return a service account's JSON whose `token_uri` is the stand-in at *base_url*.

    The key is made once per process and opens nothing but stand-ins of this process. A stand-in may get its tokens from
    another one: name that one's *base_url* here.
    """
    from cryptography.hazmat.primitives import serialization

    pem = _throw_away_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": _KEY_ID,
        "private_key": pem.decode(),
        "client_email": _EMAIL,
        "client_id": "100000000000000000000",
        "token_uri": base_url.rstrip("/") + TOKEN_PATH,
    }
    return json.dumps(account)


class TokenDesk:
    """Trades signed JWTs for access tokens and remembers which were given, here or at another desk of this process.

    Libraries keep a token by its service account, and know that by where its desk listens: a port comes again.
    """

    _issued: ClassVar[set[str]] = set()

    def vouches_for(self, token: str) -> bool:
        """Whether *token* was given by a desk of this process."""
        return token in self._issued

    def serve(self, request: Incoming) -> HttpReply:
        """Answer a JWT grant (RFC 7523) with an access token, or 400 `invalid_grant`."""
        form = {name: values[-1] for name, values in parse_qs(request.content.decode("utf-8", "replace")).items()}
        if form.get("grant_type") != _GRANT:
            return _refused("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
        try:
            claims = _verified_claims(form.get("assertion", ""))
        except ValueError as error:
            return _refused("invalid_grant", str(error))
        if not _is_short_lived(claims):
            return _refused(
                "invalid_grant", "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe."
            )
        if claims.get("iss") != _EMAIL:
            return _refused("invalid_grant", "Invalid grant: account not found")
        token = f"ya29.standin-{secrets.token_hex(8)}"
        self._issued.add(token)
        body = {"access_token": token, "expires_in": _LIFETIME_S - 1, "token_type": "Bearer"}
        return HttpReply(200, json.dumps(body).encode())


def _refused(error: str, description: str) -> HttpReply:
    return HttpReply(400, json.dumps({"error": error, "error_description": description}).encode())


def _verified_claims(assertion: str) -> JsonObject:
    """Return the claims of a JWT that this process's throw-away key signed.

    A stand-in in a process of its own does not have that key: it checks the form and the signer's name only.

    Raises:
        ValueError: it is no JWT, or the signature is not right.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        head, claims, signature = assertion.split(".")
        header = _decoded(head)
        content = _decoded(claims)
        signed = _unpadded(signature)
    except ValueError as error:
        raise ValueError("Bad Request: the assertion is no JWT") from error
    if header.get("alg") != "RS256" or header.get("kid") != _KEY_ID:
        raise ValueError("Invalid JWT Signature.")
    if _throw_away_key.cache_info().currsize:
        try:
            _throw_away_key().public_key().verify(
                signed, f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature as error:
            raise ValueError("Invalid JWT Signature.") from error
    return content


def _is_short_lived(claims: JsonObject) -> bool:
    """Whether an assertion is issued by now, not expired, and lasts an hour at most; unix seconds."""
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        return False
    now = time.time()
    return issued <= now + _SKEW_S and now < expires <= issued + _LIFETIME_S


def _unpadded(text: str) -> bytes:
    """Return the bytes of one part of a JWT; raises ValueError for what is no base64 of URLs without padding."""
    if not _BASE64.fullmatch(text):
        raise ValueError("no base64 of URLs")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _decoded(text: str) -> dict[str, Any]:
    """Return the JSON object in one part of a JWT; raises ValueError for anything else."""
    value = json.loads(_unpadded(text))
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for everything malformed
    return value
