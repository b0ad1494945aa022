"""Secrets at rest: AES-256-GCM envelopes, the keyring that opens them, fingerprints. Pure: no I/O, no state.

An envelope is ``v1:<key id>:<nonce>:<ciphertext>``. The key id names the key without revealing it; the ciphertext is
bound to what it was sealed for (a secret's name, a file's purpose), so that no envelope can be moved elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn, Self

from liverouter.errors import SecretError
from liverouter.secrecy.leaving import leaves_bare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION: Final = "v1"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # what GCM is specified for; random: 2^32 envelopes per key are safe
_ENVELOPE: Final = re.compile(r"v1:([0-9a-f]{8}):([A-Za-z0-9_-]{16}):([A-Za-z0-9_-]{22,})")
_BETWEEN_KEYS: Final = re.compile(r"[,\s]+")
_FINGERPRINT_LABEL: Final = b"liverouter fingerprint v1"  # public on purpose: see `fingerprint`
_ANY_TEXT: Final = "surrogatepass"  # the environment may hold bytes that are no UTF-8
_TO_STANDARD: Final = str.maketrans("-_", "+/")
_SAME: Final = "Give this process the LIVEROUTER_SECRET_KEYS that sealed what is stored (key {}); a new key opens none"
_GENERATE: Final = "Make one with `liverouter keys generate` and give it as LIVEROUTER_SECRET_KEYS"


class Secret:
    """A credential that shows itself by `reveal` alone; never in a repr, a log line, a pickle or an f-string."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the plain value; the caller hands it to the provider's client and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({fingerprint(self)})"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return format(repr(self), format_spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self), _bytes(other))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied to disk; seal it instead")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class _Key:
    """One key of a ring.

    Attributes:
        id: its `key_id`, which envelopes name.
        material: its 32 bytes, from which the key of each purpose is derived.
    """

    id: str
    material: bytes = field(repr=False)

    def cipher(self, purpose: str) -> AESGCM:
        """Return the cipher for *purpose*, with a key of its own: a leak of one says nothing about another."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 8 MB, which only sealed values need
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = f"liverouter {_VERSION} {purpose}".encode(errors=_ANY_TEXT)
        return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(self.material))


class Keyring:
    """The keys of one process, newest first: the first seals, every one opens what it once sealed."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take raw 32-byte keys, newest first.

        Raises:
            SecretError: there is none (LR501), or one has another length (LR503).
        """
        if not keys:
            raise SecretError("the keyring is empty", code="LR501", where="LIVEROUTER_SECRET_KEYS", hint=_GENERATE)
        if any(len(key) != _KEY_BYTES for key in keys):
            raise SecretError(
                f"a key is not {_KEY_BYTES} bytes long", code="LR503", where="LIVEROUTER_SECRET_KEYS", hint=_GENERATE
            )
        self._keys = {key_id(material): _Key(key_id(material), material) for material in keys}

    @classmethod
    @leaves_bare
    def from_text(cls, text: str) -> Self:
        """Parse base64 keys (either alphabet) separated by commas, spaces or newlines; lines from ``#`` on are ignored.

        Raises:
            SecretError: a key is not base64 of 32 bytes, or there is none.
        """
        words = [word for line in text.splitlines() for word in _BETWEEN_KEYS.split(line.partition("#")[0]) if word]
        return cls([_decoded_key(word, position) for position, word in enumerate(words, start=1)])

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the key ids, newest first."""
        return tuple(self._keys)

    @property
    def newest(self) -> str:
        """Return the id of the key that seals."""
        return next(iter(self._keys))

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keyring cannot be pickled or copied to disk")

    def _sealing(self) -> _Key:
        return next(iter(self._keys.values()))

    def _opening(self, identity: str) -> _Key | None:
        return self._keys.get(identity)


def generate_key() -> str:
    """Return a new random key as base64 text, for LIVEROUTER_SECRET_KEYS."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()


def key_id(material: bytes) -> str:
    """Return the eight hex digits that name a key: the start of its SHA-256. A random key is not revealed by them."""
    return hashlib.sha256(material).hexdigest()[:8]


def fingerprint(secret: Secret) -> str:
    """Return eight hex digits that tell one secret from another.

    HMAC-SHA256 under a public label, so that every process, database and keyring shows the same fingerprint for the
    same credential and "which key runs where" is one comparison. 32 bits are few on purpose: two different keys look
    alike once in four billion, while somebody who guesses secrets learns too little to recognise a provider's key, of
    which 2^100 and more share each fingerprint. A secret that a person could guess is not protected by this.
    """
    return hmac.new(_FINGERPRINT_LABEL, _bytes(secret), hashlib.sha256).hexdigest()[:8]


@leaves_bare
def seal(name: str, secret: Secret, keyring: Keyring | None) -> str:
    """Return *secret* sealed with the newest key, bound to *name*: ``v1:<key id>:<nonce>:<ciphertext>``.

    Raises:
        SecretError: there is no keyring (LR501).
    """
    return seal_bytes(_secret_purpose(name), _bytes(secret), keyring).decode()


@leaves_bare
def open(name: str, sealed: str, keyring: Keyring | None) -> Secret:  # noqa: A001 - sealing.seal and sealing.open
    """Return the secret that was sealed as *name*.

    Raises:
        SecretError: there is no keyring (LR501), the key is not in it (LR502, names the key id), or the envelope is
            damaged or was sealed under another name (LR503).
    """
    return Secret(_opened(_secret_purpose(name), sealed, keyring, where=f"secrets.{name}").decode(errors=_ANY_TEXT))


@leaves_bare
def seal_bytes(purpose: str, data: bytes, keyring: Keyring | None) -> bytes:
    """Return *data* sealed with the newest key, bound to *purpose*; an ASCII envelope that `open_bytes` opens.

    Raises:
        SecretError: there is no keyring (LR501).
    """
    if keyring is None:
        raise no_keyring(purpose)
    key, nonce = keyring._sealing(), os.urandom(_NONCE_BYTES)  # noqa: SLF001 - the keyring's other half
    ciphertext = key.cipher(purpose).encrypt(nonce, data, purpose.encode(errors=_ANY_TEXT))
    return f"{_VERSION}:{key.id}:{_encoded(nonce)}:{_encoded(ciphertext)}".encode()


@leaves_bare
def open_bytes(purpose: str, sealed: bytes, keyring: Keyring | None) -> bytes:
    """Return what `seal_bytes` sealed for *purpose*.

    Raises:
        SecretError: there is no keyring (LR501), the key is not in it (LR502, names the key id), or the envelope is
            damaged or was sealed for another purpose (LR503).
    """
    return _opened(purpose, sealed.decode("ascii", errors="replace"), keyring, where=purpose)


def sealed_key_id(sealed: str) -> str | None:
    """Return which key sealed an envelope, or None where the text is none."""
    found = _ENVELOPE.fullmatch(sealed)
    return found[1] if found else None


def _opened(purpose: str, sealed: str, keyring: Keyring | None, *, where: str) -> bytes:
    """Return what the envelope *sealed* holds; *where* is the place that its errors name.

    Raises:
        SecretError: LR501 without a keyring, LR502 without the key, LR503 for what does not open as *purpose*.
    """
    found = _ENVELOPE.fullmatch(sealed)
    if found is None:
        raise SecretError("this is not a sealed value", code="LR503", where=where, hint=_hint_again(where))
    identity, nonce, ciphertext = found.groups()
    if keyring is None:
        raise no_keyring(where, identity)
    key = keyring._opening(identity)  # noqa: SLF001 - the keyring's other half
    if key is None:
        raise SecretError(
            f"sealed with key {identity}, which is not in the keyring ({', '.join(keyring.ids)})",
            code="LR502",
            where=where,
            hint=f"Add key {identity} to LIVEROUTER_SECRET_KEYS behind the newest one, or store the secret again",
        )
    from cryptography.exceptions import InvalidTag

    try:
        parts = _decoded(nonce), _decoded(ciphertext)
        if tuple(map(_encoded, parts)) != (nonce, ciphertext):
            raise InvalidTag  # noqa: TRY301 - base64 with other padding bits: one envelope has one spelling
        return key.cipher(purpose).decrypt(*parts, purpose.encode(errors=_ANY_TEXT))
    except (InvalidTag, ValueError) as exc:
        raise _damaged(identity, where) from exc


def _damaged(identity: str, where: str) -> SecretError:
    message = f"the value does not open with key {identity}: damaged, or sealed for something else"
    return SecretError(message, code="LR503", where=where, hint=_hint_again(where))


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode(errors=_ANY_TEXT)


def _secret_purpose(name: str) -> str:
    return f"secret {name}"


def no_keyring(where: str, sealed_with: str | None = None) -> SecretError:
    """Return the error of a process without a keyring, whose hint says how to come by one.

    *sealed_with*: the id of the key that sealed what is stored, or whose key that is: a new one opens nothing of it.
    None where nothing is stored.
    """
    hint = _GENERATE if sealed_with is None else _SAME.format(sealed_with)
    return SecretError("this process has no keyring, which seals and opens keys", code="LR501", where=where, hint=hint)


def _hint_again(where: str) -> str:
    """Return how to mend a value that does not open: a secret is stored again, a file is written anew."""
    name = where.removeprefix("secrets.")
    return f"Store it again: liverouter set --secret {name}" if name != where else "Remove it; it is written anew"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _decoded_key(word: str, position: int) -> bytes:
    """Return the 32 bytes of a key in base64, of either alphabet and with or without padding.

    Raises:
        SecretError: it is something else (LR503); *position* is its number in the text, from 1, and all that is told.
    """
    text = word.rstrip("=").translate(_TO_STANDARD)
    try:
        material = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:  # binascii.Error, or letters that are no ASCII
        material = b""
    if len(material) != _KEY_BYTES:
        message = f"key {position} is not base64 of {_KEY_BYTES} bytes"
        raise SecretError(message, code="LR503", where="LIVEROUTER_SECRET_KEYS", hint=_GENERATE)
    return material
