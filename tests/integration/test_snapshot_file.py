"""The snapshot file is replaced whole or not at all, and is believed only when it is certainly ours and right."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from liverouter.config.environment import Environment
from liverouter.config.validate import validate
from liverouter.engine.snapshot_file import read_snapshot_file, write_snapshot_file
from liverouter.errors import LiveRouterError
from liverouter.revision import Rows, SealedSecret
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key, open_bytes, seal, seal_bytes

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = "db.example:5432/app"
KEYRING = Keyring.from_text(generate_key())
PLAIN = "sk-do-not-find-me"
RAW = Rows(
    epoch="e1",
    revision=7,
    change_id="c7",
    committed_at=datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC),
    age_ms=3.0,
    settings={
        "llm_provider": "openai",
        "openai_api_base": "https://now.internal/v1",
        "llm_fallback_config": [{"provider": "anthropic", "model": "ü"}],
        "x": None,
    },
    secrets={
        "openai_api_key": SealedSecret(
            seal("openai_api_key", Secret(PLAIN), KEYRING), fingerprint(Secret(PLAIN)), ("https://gw.internal",)
        )
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is not there yet, in a folder that is not there yet."""
    return tmp_path / "not yet" / "last.snapshot"


def _written(path: Path) -> Path:
    write_snapshot_file(path, RAW, KEYRING, database=DATABASE)
    return path


def _refusal(path: Path, keyring: Keyring | None = KEYRING, database: str = DATABASE) -> LiveRouterError:
    with pytest.raises(LiveRouterError) as caught:
        read_snapshot_file(path, keyring, database=database)
    assert caught.value.code == "LR504"
    assert str(path) in caught.value.where
    assert caught.value.hint
    return caught.value


class TestWrite:
    def test_read_returns_what_was_written(self, path: Path) -> None:
        """Everything comes back but the age, which is what it is by now."""
        found = read_snapshot_file(_written(path), KEYRING, database=DATABASE)
        assert replace(found, age_ms=RAW.age_ms) == RAW
        assert found.age_ms > RAW.age_ms

    def test_file_of_an_older_version_binds_to_what_was_live_too(self, path: Path) -> None:
        """Secrets went where its rows say, whatever that version bound them to: to a base, to a vendor of litellm's."""
        keys = {"api_key": {"secret": "mine"}}
        rows = {"llm_provider": "litellm", "llm_model": "groq/m", "litellm_params": keys}
        mine = SealedSecret(seal("mine", Secret(PLAIN), KEYRING), "f", ())
        vendor = replace(RAW, settings=rows, secrets={"mine": mine})
        for written, former, bound in (
            (RAW, None, ["https://now.internal"]),
            (RAW, {"openai_api_key": ["https://gw.internal"]}, ["https://gw.internal", "https://now.internal"]),
            (vendor, {"mine": []}, ["https://api.groq.com"]),
        ):
            write_snapshot_file(path, written, KEYRING, database=DATABASE)
            head, _, sealed = path.read_bytes().partition(b"\n")
            content = json.loads(open_bytes("snapshot file 1", sealed.strip(), KEYRING))
            del content["bound"]
            content |= {"origins": former} if former is not None else {}
            older = seal_bytes("snapshot file 1", json.dumps(content).encode(), KEYRING)
            path.write_bytes(head + b"\n" + older + b"\n")
            found = read_snapshot_file(path, KEYRING, database=DATABASE)
            assert [list(secret.origins) for secret in found.secrets.values()] == [bound]
            if written is vendor:
                assert validate(found, keyring=KEYRING, environment=Environment({})).problems == ()

    def test_nothing_of_the_content_is_readable(self, path: Path) -> None:
        """Neither a secret, nor a row, nor which secrets exist shows in the file."""
        data = _written(path).read_bytes()
        for word in (PLAIN, "openai", "anthropic", "llm_provider", "db.example", "v1:"):
            assert word.encode() not in data.partition(b"\n")[2].removeprefix(b"v1:")

    def test_only_the_owner_may_read_it_and_nothing_is_left_beside(self, path: Path) -> None:
        """Mode 600, whatever the umask, and no temporary file."""
        former = os.umask(0)
        try:
            _written(path)
        finally:
            os.umask(former)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_link_is_followed(self, path: Path, tmp_path: Path) -> None:
        """Where the path is a symbolic link, its target is replaced and the link stays."""
        link = tmp_path / "link"
        link.symlink_to(path)
        write_snapshot_file(link, RAW, KEYRING, database=DATABASE)
        assert link.is_symlink()
        assert read_snapshot_file(path, KEYRING, database=DATABASE).revision == 7

    def test_without_a_keyring_nothing_is_written(self, path: Path) -> None:
        """An unsealed snapshot is never written."""
        with pytest.raises(LiveRouterError, match="no keyring") as caught:
            write_snapshot_file(path, RAW, None, database=DATABASE)
        assert caught.value.code == "LR504"
        assert not path.exists()

    def test_full_disk_keeps_the_former_file(self, path: Path) -> None:
        """No room is reported, and harms neither the former file nor the folder."""
        _written(path)
        script = """
            import json, resource, signal, sys
            from datetime import UTC, datetime
            from pathlib import Path
            from liverouter.errors import LiveRouterError
            from liverouter.revision import Rows
            from liverouter.secrecy.sealing import Keyring
            from liverouter.engine.snapshot_file import write_snapshot_file
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            raw = Rows("e", 8, "c", datetime.now(UTC), 0.0, {"big": "x" * 100_000}, {})
            try:
                write_snapshot_file(Path(sys.argv[1]), raw, Keyring([b"k" * 32]), database="d")
            except LiveRouterError as exc:
                print(json.dumps([exc.code, exc.message]))
        """
        code, message = json.loads(_python(script, str(path)))
        assert code == "LR504"
        assert "cannot be written: File too large" in message
        assert read_snapshot_file(path, KEYRING, database=DATABASE).revision == 7
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_loop_of_links_is_reported(self, tmp_path: Path) -> None:
        """Two links that lead to each other are a path as bad as any."""
        one, two = tmp_path / "one", tmp_path / "two"
        one.symlink_to(two)
        two.symlink_to(one)
        assert "cannot be read" in _refusal(one).message
        if sys.version_info < (3, 13):  # from then on the link is replaced
            with pytest.raises(LiveRouterError, match="cannot be written") as caught:
                write_snapshot_file(one, RAW, KEYRING, database=DATABASE)
            assert caught.value.code == "LR504"

    def test_unwritable_folder_is_reported(self, tmp_path: Path) -> None:
        """A folder that cannot be used is named with the system's reason."""
        (tmp_path / "file").write_text("")
        with pytest.raises(LiveRouterError, match="cannot be written: File exists") as caught:
            write_snapshot_file(tmp_path / "file" / "x", RAW, KEYRING, database=DATABASE)
        assert caught.value.code == "LR504"

    def test_reader_finds_the_former_or_the_new_one_whole(self, path: Path) -> None:
        """While one process writes all the time, another never reads half a file."""
        _written(path)
        key = generate_key()
        script = """
            import itertools, select, sys
            from datetime import UTC, datetime
            from pathlib import Path
            from liverouter.revision import Rows
            from liverouter.secrecy.sealing import Keyring
            from liverouter.engine.snapshot_file import write_snapshot_file
            keyring = Keyring.from_text(sys.argv[2])
            for revision in itertools.count():
                if select.select([sys.stdin], [], [], 0)[0]:
                    break  # the reader has seen enough
                raw = Rows("e", revision, "c", datetime.now(UTC), 0.0, {"pad": str(revision) * 20_000}, {})
                write_snapshot_file(Path(sys.argv[1]), raw, keyring, database="d")
        """
        keyring = Keyring.from_text(key)
        write_snapshot_file(path, replace(RAW, settings={"pad": ""}), keyring, database="d")
        argv = [sys.executable, "-c", textwrap.dedent(script), str(path), key]
        seen: set[int] = set()
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as writer:
            while writer.poll() is None and len(seen) < 30:
                found = read_snapshot_file(path, keyring, database="d")
                assert found.settings["pad"] in ("", str(found.revision) * 20_000)
                seen.add(found.revision)
            writer.communicate()
        assert writer.returncode == 0


class TestRefuse:
    def test_missing_file(self, path: Path) -> None:
        """No file is no snapshot."""
        assert "does not exist" in _refusal(path).message

    @pytest.mark.parametrize("position", [25, 60, -2])
    def test_flipped_bit(self, path: Path, position: int) -> None:
        """One changed bit anywhere in the sealed part is damage."""
        data = bytearray(_written(path).read_bytes())
        data[position] ^= 1
        path.write_bytes(data)
        message = _refusal(path).message
        assert "damaged" in message or "not in the keyring" in message

    @pytest.mark.parametrize("keep", [22, 40, 200, -10])
    def test_truncated_file(self, path: Path, keep: int) -> None:
        """A file that was cut is damage, wherever it was cut."""
        data = _written(path).read_bytes()
        path.write_bytes(data[:keep])
        assert "damaged" in _refusal(path).message

    def test_empty_file(self, path: Path) -> None:
        """An empty file is no snapshot of ours."""
        _written(path).write_bytes(b"")
        assert "not a liverouter snapshot" in _refusal(path).message

    @pytest.mark.parametrize("content", [b"{}", b"\x00\xff" * 100, b"PK\x03\x04", b"liverouter\n"])
    def test_foreign_file(self, path: Path, content: bytes) -> None:
        """Somebody else's file is named, and left alone."""
        _written(path).write_bytes(content)
        assert "not a liverouter snapshot" in _refusal(path).message
        assert path.read_bytes() == content

    def test_other_format(self, path: Path) -> None:
        """A file of another version says which."""
        data = _written(path).read_bytes()
        path.write_bytes(data.replace(b"snapshot 1\n", b"snapshot 2\n"))
        assert "is of format 2, this liverouter reads 1" in _refusal(path).message

    def test_other_format_cannot_be_relabelled(self, path: Path) -> None:
        """The format is sealed in: another one's content does not open as this one's."""
        _written(path)
        path.write_bytes(b"liverouter snapshot 1\n" + seal_bytes("snapshot file 2", b"{}", KEYRING))
        assert "damaged" in _refusal(path).message

    def test_sealed_secret_in_its_place(self, path: Path) -> None:
        """A secret's envelope, though sealed with the right key, is no snapshot."""
        _written(path)
        path.write_bytes(b"liverouter snapshot 1\n" + RAW.secrets["openai_api_key"].sealed.encode())
        assert "damaged" in _refusal(path).message

    @pytest.mark.parametrize(
        "content",
        [
            *(b"\xff", b"{", b"null", b"[]", b"[" * 100_000, b"{}"),
            *({"settings": []}, {"settings": None}, {"secrets": ["x"]}, {"secrets": {"x": []}}, {"bound": {}}),
            *({"committed_at": 5}, {"committed_at": "2026-11-01T12:00:00"}),
        ],
        ids=lambda content: str(content)[:40],
    )
    def test_sealed_content_of_another_shape(self, path: Path, content: bytes | dict[str, object]) -> None:
        """What another version sealed with the right key, as this format, is told and no stranger error."""
        head, _, sealed = _written(path).read_bytes().partition(b"\n")
        if isinstance(content, dict):
            written = json.loads(open_bytes("snapshot file 1", sealed.strip(), KEYRING))
            content = json.dumps(written | content).encode()
        path.write_bytes(head + b"\n" + seal_bytes("snapshot file 1", content, KEYRING) + b"\n")
        assert "holds no revision that this liverouter can read" in _refusal(path).message

    def test_unknown_key(self, path: Path) -> None:
        """A file sealed with a key this process does not have names the key, not the content."""
        error = _refusal(_written(path), Keyring.from_text(generate_key()))
        assert KEYRING.newest in error.message

    def test_no_keyring(self, path: Path) -> None:
        """Without a keyring nothing opens."""
        assert "no keyring" in _refusal(_written(path), None).message

    def test_rotated_key_opens(self, path: Path) -> None:
        """A file sealed with an older key of the keyring is good."""
        old = generate_key()
        write_snapshot_file(path, RAW, Keyring.from_text(old), database=DATABASE)
        keyring = Keyring.from_text(f"{generate_key()},{old}")
        assert read_snapshot_file(path, keyring, database=DATABASE).revision == 7

    def test_other_database(self, path: Path) -> None:
        """A file that was copied from another environment does not configure this one."""
        assert DATABASE in _refusal(_written(path), database="db.example:5432/staging").message

    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
    def test_file_that_others_may_write(self, path: Path, mode: int) -> None:
        """Others could put an old revision back: refused."""
        _written(path).chmod(mode)
        assert "written by other users" in _refusal(path).message

    def test_file_of_another_user(self, path: Path) -> None:
        """The same where the file belongs to somebody else."""
        if os.geteuid() != 0:
            pytest.skip("needs root, to give a file away")
        os.chown(_written(path), 12345, -1)
        assert "written by other users" in _refusal(path).message

    def test_unreadable_file(self, path: Path) -> None:
        """A folder in the file's place, or a file without the right to read, is named with the system's reason."""
        path.mkdir(parents=True)
        assert "not a plain file" in _refusal(path).message or "cannot be read" in _refusal(path).message
        assert not _is_open(path)

    def test_pipe_does_not_hang(self, path: Path) -> None:
        """A named pipe in the file's place is refused at once."""
        path.parent.mkdir()
        os.mkfifo(path, 0o600)
        assert "not a plain file" in _refusal(path).message

    def test_file_unconfirmed_for_long(self, path: Path) -> None:
        """What no database has confirmed for 30 days is stale."""
        old = _written(path).stat().st_mtime - 31 * 86_400
        os.utime(path, (old, old))
        assert "31 days ago" in _refusal(path).message


def _is_open(path: Path) -> bool:
    """Whether this process has a descriptor of *path*."""
    found = path.stat()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - names, of which that of the listing itself is gone by now
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(int(name)), found):
                return True
    return False


def _python(script: str, *arguments: str) -> str:
    argv = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=150).stdout
