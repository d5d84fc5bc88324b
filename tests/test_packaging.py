"""The wheel: it holds the modules of the tree, nothing else, and works where the checkout is not."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import minicnn
from tests.programs import ROOT

PACKAGES = {"minicnn": "minicnn", "kernels": "minicnn/kernels", "apps": "minicnn/apps"}
"""The folders of the tree, and where the wheel has them."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that was made from it, not from the checkout."""
    copy, dist = tmp_path_factory.mktemp("source") / "minicnn", tmp_path_factory.mktemp("dist")
    junk = shutil.ignore_patterns("__pycache__")
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=junk)
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=junk)  # which must stay out of the wheel
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(copy)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dist


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def tree(pattern: str) -> set[str]:
    """Files of the tree under the names that the wheel gives them; READMEs are for those who read the tree."""
    return {
        f"{there}/{path.relative_to(ROOT / here).as_posix()}"
        for here, there in PACKAGES.items()
        for path in (ROOT / here).rglob(pattern)
        if path.is_file()
        and path.suffix != ".md"
        and not {"__pycache__", "kernels", "apps"} & set(path.relative_to(ROOT / here).parts[:-1])
    }


def test_the_modules_of_the_wheel_are_those_of_the_tree(names: set[str]) -> None:
    modules = {name for name in names if name.endswith(".py")}
    assert modules == tree("*.py")
    assert {"minicnn/__init__.py", "minicnn/kernels/conv2d/im2col.py", "minicnn/apps/cli.py"} <= modules


def test_the_other_files_of_the_wheel_are_those_of_the_tree(names: set[str]) -> None:
    inside = {name for name in names if name.startswith("minicnn/")}
    assert inside == tree("*")
    assert {"minicnn/py.typed", "minicnn/apps/templates/report.html"} <= inside


def test_nothing_else_is_at_top_level(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names} == {"minicnn", f"minicnn_fer-{minicnn.__version__}.dist-info"}


def test_the_metadata_names_the_distribution_its_version_and_extras(metadata: Message) -> None:
    assert metadata["Name"] == "minicnn-fer"
    assert metadata["Version"] == minicnn.__version__
    assert set(metadata.get_all("Provides-Extra", [])) == {"gpu", "gpu-cuda12", "dev", "docs", "onnx", "parquet"}
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_base_install_brings_neither_cupy_nor_a_framework(metadata: Message) -> None:
    base = {
        re.split(r"[^\w-]", requirement)[0]
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    }
    assert {"numpy", "click", "pandas", "opencv-python", "safetensors"} <= base
    assert not {name for name in base if name.startswith(("cupy", "torch", "tensorflow", "onnx", "pytest"))}


def test_opencv_is_below_5_which_has_no_face_detector(metadata: Message) -> None:
    (requirement,) = (line for line in metadata.get_all("Requires-Dist", []) if line.startswith("opencv-python"))
    assert "<5" in requirement
    assert ">=4.10" in requirement


def test_the_source_distribution_holds_licence_readme_and_the_rooms_of_the_tree(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= inside
    for room in PACKAGES:
        modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / room).glob("*.py")}
        assert modules <= inside


def test_the_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, its modules import each other and the report finds its template."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import pathlib, sys\n"
        "sys.path.insert(0, 'site')\n"
        "import minicnn\n"
        "from minicnn import kernels\n"
        "from minicnn.apps import cli, report\n"
        "assert pathlib.Path(minicnn.__file__).is_relative_to(pathlib.Path('site').absolute()), minicnn.__file__\n"
        "assert (pathlib.Path(report.__file__).parent / 'templates' / 'report.html').is_file()\n"
        "for name in kernels.LADDERS:\n"
        "    assert 'site' in pathlib.Path(kernels.get(name).__file__).parts\n"
        "cli.cli(['gradcheck', '--help'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_command_is_minicnn(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        entries = archive.read(name).decode()
    assert entries.split() == ["[console_scripts]", "minicnn", "=", "minicnn.apps.cli:main"]


def test_the_version_is_written_in_two_places_that_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == minicnn.__version__
