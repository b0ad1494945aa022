"""Seals, keyrings, fingerprints: what opens, what does not, and what never shows."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import re

import pytest
from hypothesis import example, given, strategies as st

from liverouter.errors import SecretError
from liverouter.secrecy import sealing
from liverouter.secrecy.sealing import Keyring, Secret

PLAIN = "sk-ant-plain-text-of-a-key"
OLD, NEW = sealing.generate_key(), sealing.generate_key()


def ring(*keys: str) -> Keyring:
    """Return a keyring of *keys*, newest first."""
    return Keyring.from_text(",".join(keys))


class TestSecret:
    def test_secret_shows_itself_on_demand_alone(self) -> None:
        """No repr, str, format, f-string, exception or container of it holds the value."""
        secret = Secret(PLAIN)
        assert secret.reveal() == PLAIN
        shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", "%s" % secret, repr({"k": [secret]})]  # noqa: UP031
        assert all(PLAIN not in text and sealing.fingerprint(secret) in text for text in shown)

    def test_secret_cannot_be_pickled_nor_written_as_json(self) -> None:
        """It does not leave the process by accident."""
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(Secret(PLAIN))
        with pytest.raises(TypeError):
            json.dumps(Secret(PLAIN))
        assert not hasattr(Secret(PLAIN), "__dict__")

    def test_copy_of_a_secret_is_the_secret(self) -> None:
        """A config that holds secrets can be copied."""
        secret = Secret(PLAIN)
        assert copy.copy(secret) is secret
        assert copy.deepcopy({"k": secret})["k"] is secret

    def test_secrets_are_equal_by_value(self) -> None:
        """Two reads of the same key compare equal; a secret is not its text."""
        assert Secret(PLAIN) == Secret(PLAIN)
        assert Secret(PLAIN) != Secret("another")
        assert Secret(PLAIN) != PLAIN
        assert len({Secret(PLAIN), Secret(PLAIN)}) == 1
        assert not Secret("")


class TestSeal:
    @given(name=st.text(min_size=1, max_size=60), plain=st.text(max_size=5000))
    @example(name="a", plain="not UTF-8: \udcff")
    def test_what_is_sealed_opens_to_itself(self, name: str, plain: str) -> None:
        """Any text, under any name, comes back."""
        keys = ring(NEW)
        assert sealing.open(name, sealing.seal(name, Secret(plain), keys), keys) == Secret(plain)

    def test_envelope_has_version_key_id_nonce_and_ciphertext(self) -> None:
        """The shape that the database checks; a new nonce each time; nothing of the value."""
        keys = ring(NEW, OLD)
        envelopes = {sealing.seal("a", Secret(PLAIN), keys) for _ in range(20)}
        assert len(envelopes) == 20
        for envelope in envelopes:
            assert re.fullmatch(rf"v1:{keys.newest}:[A-Za-z0-9_-]{{16}}:[A-Za-z0-9_-]{{22,}}", envelope)
            assert PLAIN not in envelope

    def test_envelope_of_another_name_does_not_open(self) -> None:
        """A ciphertext swapped to another secret's row is refused, not sent to another provider."""
        keys = ring(NEW)
        envelope = sealing.seal("openai_api_key", Secret(PLAIN), keys)
        with pytest.raises(SecretError) as caught:
            sealing.open("anthropic_api_key", envelope, keys)
        assert caught.value.code == "LR503"
        assert "anthropic_api_key" in str(caught.value)

    @given(position=st.integers(min_value=0, max_value=200))
    def test_changed_envelope_does_not_open(self, position: int) -> None:
        """One changed character anywhere is noticed."""
        keys = ring(NEW)
        envelope = sealing.seal("a", Secret(PLAIN), keys)
        position %= len(envelope) - 1  # the last character of base64 may hold unused bits
        changed = envelope[:position] + ("A" if envelope[position] != "A" else "B") + envelope[position + 1 :]
        with pytest.raises(SecretError) as caught:
            sealing.open("a", changed, keys)
        assert caught.value.code in ("LR502", "LR503")

    @pytest.mark.parametrize("length", range(6))
    def test_one_secret_has_one_spelling(self, length: int) -> None:
        """Bits that base64 does not use tell no second envelope of the same secret, which could be bound elsewhere."""
        keys = ring(NEW)
        envelope = sealing.seal("a", Secret("x" * length), keys)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        for letter in letters.replace(envelope[-1], ""):
            with pytest.raises(SecretError):
                sealing.open("a", envelope[:-1] + letter, keys)

    @given(text=st.text(max_size=200))
    def test_text_that_is_no_envelope_is_an_error_and_not_the_secret(self, text: str) -> None:
        """Ciphertext or plain text is never passed on as if it were the key."""
        with pytest.raises(SecretError):
            sealing.open("a", text, ring(NEW))

    def test_unknown_key_is_named_by_its_id(self) -> None:
        """The error says which key is missing, and which are there."""
        envelope = sealing.seal("a", Secret(PLAIN), ring(OLD))
        with pytest.raises(SecretError) as caught:
            sealing.open("a", envelope, ring(NEW))
        assert caught.value.code == "LR502"
        assert ring(OLD).newest in caught.value.message
        assert ring(NEW).newest in caught.value.message
        assert OLD not in str(caught.value)

    def test_without_a_keyring_nothing_is_sealed_nor_opened(self) -> None:
        """LR501 says how to make a key; of what is sealed already which one opens it, for a new one would not."""
        with pytest.raises(SecretError) as caught:
            sealing.seal("a", Secret(PLAIN), None)
        assert caught.value.code == "LR501"
        assert "liverouter keys generate" in caught.value.hint
        with pytest.raises(SecretError) as caught:
            sealing.open("a", sealing.seal("a", Secret(PLAIN), ring(NEW)), None)
        assert caught.value.code == "LR501"
        assert ring(NEW).newest in caught.value.hint
        assert "generate" not in caught.value.hint

    def test_documents_are_bound_to_their_purpose(self) -> None:
        """What was sealed for one file opens for no other, and for no secret."""
        keys = ring(NEW)
        document = sealing.seal_bytes("snapshot", b"\x00\xff data", keys)
        assert sealing.open_bytes("snapshot", document, keys) == b"\x00\xff data"
        for purpose in ("other", "secret snapshot"):
            with pytest.raises(SecretError):
                sealing.open_bytes(purpose, document, keys)
        with pytest.raises(SecretError):
            sealing.open("snapshot", document.decode(), keys)
        with pytest.raises(SecretError):
            sealing.open_bytes("snapshot", b"\xff\xfe not ascii", keys)

    def test_envelope_of_an_earlier_release_still_opens(self) -> None:
        """The format is a contract: this envelope was made by version 0.1."""
        keys = ring(base64.b64encode(bytes(range(32))).decode())
        assert sealing.open("openai_api_key", FROM_0_1, keys) == Secret("sk-from-0.1")


FROM_0_1 = "v1:630dcd29:pwVse0AC6pxmoZCq:5ciBwsAzU_xsOp1qc2vPHtOFRgdF-QdT8ouJ"


class TestKeyring:
    def test_newest_key_seals_and_every_key_opens(self) -> None:
        """Rotation: put the new key first, keep the old one until nothing needs it."""
        old = sealing.seal("a", Secret(PLAIN), ring(OLD))
        both = ring(NEW, OLD)
        assert sealing.open("a", old, both) == Secret(PLAIN)
        assert sealing.sealed_key_id(sealing.seal("a", Secret(PLAIN), both)) == ring(NEW).newest
        assert both.ids == (ring(NEW).newest, ring(OLD).newest)

    def test_keys_come_in_either_alphabet_with_any_separator(self) -> None:
        """Commas, blanks or lines; standard or URL-safe base64; with or without padding; comments."""
        material = b"\xfb\xff" * 16
        standard = base64.b64encode(material).decode()
        urlsafe = base64.urlsafe_b64encode(material).decode().rstrip("=")
        assert "+" in standard or "/" in standard
        assert ring(standard).ids == ring(urlsafe).ids == Keyring([material]).ids
        text = f"# newest first\n{NEW}  # 2026\n\n{OLD},\n {standard}\n"
        assert Keyring.from_text(text).ids == (*ring(NEW, OLD).ids, *ring(standard).ids)

    def test_key_id_is_the_start_of_the_key_digest(self) -> None:
        """Anybody can compute it from the key, and nobody the key from it."""
        assert Keyring([b"\x00" * 32]).ids == ("66687aad",)

    @pytest.mark.parametrize(
        "text", ["", "  \n# nothing\n", "short", f"{'A' * 43}!", base64.b64encode(b"x" * 16).decode()]
    )
    def test_text_that_holds_no_keys_is_refused_without_repeating_it(self, text: str) -> None:
        """A typo in the variable is an error at the start, and not shown in it."""
        with pytest.raises(SecretError) as caught:
            Keyring.from_text(text)
        assert caught.value.where == "LIVEROUTER_SECRET_KEYS"
        assert not text.strip() or text not in str(caught.value)

    def test_keyring_shows_ids_alone(self) -> None:
        """Neither repr nor pickle gives a key away."""
        keys = ring(NEW)
        assert repr(keys) == f"Keyring({keys.newest})"
        with pytest.raises(TypeError):
            pickle.dumps(keys)
        assert keys.newest in repr(keys._sealing())  # noqa: SLF001 - the part that holds the key
        assert NEW not in repr(keys._sealing())  # noqa: SLF001

    def test_generated_keys_are_new_each_time(self) -> None:
        """256 random bits that a keyring takes."""
        assert len({sealing.generate_key() for _ in range(50)}) == 50


class TestFingerprint:
    def test_fingerprint_is_the_same_everywhere(self) -> None:
        """Eight hex digits that depend on the secret alone: on no key, process or database."""
        assert sealing.fingerprint(Secret("sk-test")) == "5c0e1aaf"
        assert sealing.fingerprint(Secret("sk-test ")) != sealing.fingerprint(Secret("sk-test"))

    @given(plain=st.text(max_size=300))
    @example(plain="\udcff")
    def test_fingerprint_is_eight_hex_digits(self, plain: str) -> None:
        """The database takes no other."""
        assert re.fullmatch("[0-9a-f]{8}", sealing.fingerprint(Secret(plain)))


class TestKeyId:
    def test_key_id_of_an_envelope_is_read_without_a_key(self) -> None:
        """For counting what each key sealed."""
        assert sealing.sealed_key_id(sealing.seal("a", Secret(PLAIN), ring(NEW))) == ring(NEW).newest
        assert sealing.sealed_key_id(PLAIN) is None
