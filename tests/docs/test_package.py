"""What is uploaded: the wheel and the source distribution, as an index and its readers see them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from typing import TYPE_CHECKING, Final

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from trove_classifiers import classifiers

from deploy.long_description import linked
from tests.kit import pages

if TYPE_CHECKING:
    from pathlib import Path

RELATIVE: Final = re.compile(r"\]\((?!https?://|#)[^)]*\)")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with both, built from the checkout."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    """Return the wheel."""
    (found,) = built.glob("*.whl")
    return zipfile.ZipFile(found)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Metadata:
    """Return what the wheel says of itself; whatever an index refuses raises here."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Metadata.from_email(wheel.read(name), validate=True)


class TestWheel:
    def test_wheel_brings_licence_types_page_and_migrations(self, wheel: zipfile.ZipFile) -> None:
        """What is not code comes along, and nothing of the tests."""
        names = wheel.namelist()
        assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
        assert {"liverouter/py.typed", "liverouter/daemon/page/index.html", "liverouter/_migrations/env.py"} <= {*names}
        assert {name.split("/")[0].split("-")[0] for name in names} == {"liverouter"}

    def test_wheel_says_what_an_index_shows(self, metadata: Metadata) -> None:
        """Licence, Python, and classifiers that exist."""
        assert metadata.license_expression == "Apache-2.0"
        assert metadata.license_files == ["LICENSE"]
        assert {*(metadata.classifiers or ())} <= classifiers
        assert metadata.requires_python == ">=3.11"

    def test_all_asks_for_what_every_extra_asks_for(self, metadata: Metadata) -> None:
        """No extra is left out of `[all]`."""
        asked = {
            str(extra): {
                (one.name, *sorted(one.extras))
                for one in map(Requirement, map(str, metadata.requires_dist or ()))
                if one.marker and one.marker.evaluate({"extra": extra})
            }
            for extra in metadata.provides_extra or ()
        }
        everything = asked.pop("all")
        assert everything == set().union(*asked.values())
        assert all(asked.values())


class TestLongDescription:
    def test_no_link_leads_nowhere(self, metadata: Metadata) -> None:
        """Relative links, which only a checkout has a target for, are gone; their words are there."""
        text = metadata.description or ""
        assert metadata.description_content_type == "text/markdown"
        assert RELATIVE.findall(text) == []
        assert "goes on from here" in text

    def test_links_are_absolute_where_the_project_has_an_address(self) -> None:
        """Each leads to a file that the checkout has, a picture to its bytes."""
        readme = pages.README.read_text(encoding="utf-8")
        text = linked(readme, "https://example.com/o/liverouter/", "v9.9.9")
        assert RELATIVE.findall(text) == []
        found = re.findall(
            r"(!?)\[[^\]]*\]\(https://example\.com/o/liverouter/(raw|blob)/v9\.9\.9/([^)#]*)[^)]*\)", text
        )
        assert len(found) == len(RELATIVE.findall(readme)) > 20
        assert [path for *_, path in found if not (pages.ROOT / path).is_file()] == []
        assert {kind for mark, kind, _ in found if mark} == {"raw"}
        assert {kind for mark, kind, _ in found if not mark} == {"blob"}


class TestSource:
    def test_source_brings_what_the_pages_name(self, built: Path) -> None:
        """Licence, documentation, examples, and what builds it."""
        (found,) = built.glob("*.tar.gz")
        with tarfile.open(found) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        assert {"LICENSE", "README.md", "docs/tutorial.md", "examples/requirements.txt", "pyproject.toml"} <= names
        hatch = tomllib.loads((pages.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
        assert hatch["metadata"]["hooks"]["custom"]["path"] in names


class TestExamples:
    def test_requirements_name_what_the_examples_import(self) -> None:
        """Whoever installs them can run each example."""
        lines = (pages.ROOT / "examples" / "requirements.txt").read_text(encoding="utf-8").splitlines()
        named = {Requirement(line).name.lower() for line in lines}
        imported = {
            str(node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
            for file in (pages.ROOT / "examples").glob("*.py")
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
        } - sys.stdlib_module_names
        assert imported
        assert imported <= named
