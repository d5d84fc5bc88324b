"""The house: which way imports point, what `import minicnn` costs, and that packages, ladders and tree agree."""

import ast
import inspect
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from minicnn import functional, kernels, nn

ROOT = Path(__file__).parent.parent
ROOMS = {"minicnn": "minicnn", "kernels": "minicnn.kernels", "apps": "minicnn.apps"}
"""The folders and the names that they are imported by."""


def folders(top: str) -> Iterator[tuple[Path, list[str]]]:
    """Every folder in `top` with its files; the links from minicnn/ to the other rooms are not followed."""
    for folder, inside, files in os.walk(ROOT / top):
        inside[:] = [name for name in inside if name != "__pycache__"]
        yield Path(folder), files


def sources(*tops: str) -> Iterator[tuple[Path, str]]:
    """Every Python file, with the dotted name of the package that it is in."""
    for top in tops:
        for folder, files in folders(top):
            package = ".".join([ROOMS.get(top, top), *folder.relative_to(ROOT / top).parts])
            yield from ((folder / name, package) for name in files if name.endswith(".py"))


def imports(path: Path, package: str) -> Iterator[str]:
    """The dotted names that a file imports, wherever in it: for `from a import b` that is a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


# Imports point one way: apps -> minicnn -> kernels


def test_the_walk_finds_the_files_of_every_room() -> None:
    found = {(str(path.relative_to(ROOT)), package) for path, package in sources(*ROOMS)}
    assert ("kernels/conv2d/im2col.py", "minicnn.kernels.conv2d") in found
    assert ("minicnn/ops/conv2d.py", "minicnn.ops") in found
    assert ("apps/__init__.py", "minicnn.apps") in found
    assert not any(name.startswith(("minicnn/kernels", "minicnn/apps")) for name, _ in found)


def test_kernels_import_nothing_of_minicnn_but_kernels() -> None:
    wrong = [
        (str(path), name)
        for path, package in sources("kernels")
        for name in imports(path, package)
        if is_in(name, "minicnn") and not is_in(name, "minicnn.kernels")
    ]
    assert wrong == []


def test_the_framework_imports_no_app() -> None:
    wrong = [
        (str(path), name)
        for path, package in sources("minicnn", "kernels")
        for name in imports(path, package)
        if is_in(name, "minicnn.apps")
    ]
    assert wrong == []


def test_nobody_imports_the_folders_by_their_own_names() -> None:
    wrong = [
        (str(path), name)
        for path, package in sources(*ROOMS, "tests", "docs")
        for name in imports(path, package)
        if is_in(name, "kernels") or is_in(name, "apps")
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ["kernels", "apps"])
def test_the_rooms_are_linked_into_the_package(room: str) -> None:
    link = ROOT / "minicnn" / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../{room}"
    assert import_module(f"minicnn.{room}").__name__ == f"minicnn.{room}"


def test_every_file_of_ops_is_reached_from_functional() -> None:
    files = {path.stem for path in (ROOT / "minicnn" / "ops").glob("*.py")} - {"__init__"}
    reached = {getattr(functional, name).__module__.removeprefix("minicnn.ops.") for name in functional.__all__}
    assert files == reached


def test_functional_offers_all_that_it_imports() -> None:
    imported = {name for name, value in vars(functional).items() if inspect.isfunction(value)}
    assert imported == set(functional.__all__)


PLAIN = {
    *("add", "concatenate", "div", "exp", "getitem", "log", "matmul", "max", "mean", "mul", "neg", "pad", "pow"),
    *("reshape", "sub", "sum", "transpose"),
}
"""Operations that formulas are written with; all others are what networks are built of, and have a layer."""

COLD = {
    *("flatten", "gelu", "global_avg_pool2d", "leaky_relu", "log_softmax", "nll_loss", "relu", "sigmoid"),
    *("softmax", "tanh"),
}
"""Layers that take too little of a step to have a ladder: a pass of array code, or what a fused block does instead."""


@pytest.mark.parametrize("operation", sorted(set(functional.__all__) - PLAIN))
def test_an_operation_that_networks_are_built_of_has_a_layer(operation: str) -> None:
    stem = operation.replace("_", "")
    assert any(name.lower().startswith(stem) for name in nn.__all__)


@pytest.mark.parametrize("operation", sorted(set(functional.__all__) - PLAIN))
def test_a_layer_has_a_folder_of_kernels_where_it_is_hot(operation: str) -> None:
    assert (operation in kernels.LADDERS) != (operation in COLD)


# What `import minicnn` costs


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_import_minicnn_loads_numpy_alone_and_says_nothing() -> None:
    code = """
import sys
before = set(sys.modules)
import minicnn
files = {name for name in set(sys.modules) - before if getattr(sys.modules[name], "__file__", None)}
loaded = {name.partition(".")[0] for name in files} - set(sys.stdlib_module_names)
sys.exit(0 if loaded == {"minicnn", "numpy"} else f"loaded {sorted(loaded)}")
"""
    result = run_python(code)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_import_minicnn_changes_no_thread_and_no_random_state() -> None:
    code = """
import random, threading
import numpy as np
np.random.seed(0), random.seed(0)
before = str(np.random.get_state()), random.getstate(), threading.active_count()
import minicnn
assert before == (str(np.random.get_state()), random.getstate(), threading.active_count())
"""
    assert run_python(code).stderr == ""


# The packages


@pytest.fixture(scope="module")
def setuptools_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    return table


def packages() -> dict[str, Path]:
    """Every folder of Python files, by its import name."""
    return {package: path.parent for path, package in sources(*ROOMS)}


def test_the_packages_of_the_wheel_are_those_of_the_tree(setuptools_table: dict[str, Any]) -> None:
    assert setuptools_table["packages"] == sorted(setuptools_table["packages"])
    assert set(setuptools_table["packages"]) == set(packages())


def test_every_folder_of_python_files_is_a_package() -> None:
    assert [name for name, folder in packages().items() if not (folder / "__init__.py").exists()] == []


def test_every_other_file_goes_into_the_wheel(setuptools_table: dict[str, Any]) -> None:
    """All but README.md, which is for those who read the repository."""
    data: dict[str, list[str]] = setuptools_table["package-data"]
    named = set(packages())
    left_out = []
    for top, room in ROOMS.items():
        for folder, files in folders(top):
            parts = folder.relative_to(ROOT / top).parts
            depth = max(k for k in range(len(parts) + 1) if ".".join([room, *parts[:k]]) in named)
            package, inside = ".".join([room, *parts[:depth]]), "/".join(parts[depth:])
            for name in files:
                path = f"{inside}/{name}" if inside else name
                taken = any(fnmatch(path, pattern) for pattern in data["*"] + data.get(package, []))
                if not taken and not name.endswith((".py", ".pyc")) and name != "README.md":
                    left_out.append((package, path))
    assert left_out == []


def test_package_data_names_packages_and_files_that_exist(setuptools_table: dict[str, Any]) -> None:
    for package, patterns in setuptools_table["package-data"].items():
        for pattern in patterns:
            homes = packages().values() if package == "*" else [packages()[package]]
            assert any(list(home.glob(pattern)) for home in homes), (package, pattern)


# The ladders of kernels


def test_every_operation_with_a_folder_has_a_ladder() -> None:
    inside = {path.name for path in (ROOT / "kernels").iterdir() if path.is_dir()} - {"__pycache__"}
    assert {name for name in inside if not name.startswith("_")} == set(kernels.LADDERS)


@pytest.mark.parametrize("operation", kernels.LADDERS)
def test_the_rungs_of_a_ladder_are_the_files_of_its_folder(operation: str) -> None:
    files = {path.stem for path in (ROOT / "kernels" / operation).iterdir() if path.suffix in (".py", ".cu")}
    assert files - {"__init__"} == set(kernels.LADDERS[operation])


def test_every_ladder_starts_at_the_reference() -> None:
    assert {ladder[0] for ladder in kernels.LADDERS.values()} == {"reference"}


def test_every_choice_but_fast_is_a_rung() -> None:
    named = {"numba": "cuda_numba"}
    rungs = {rung for ladder in kernels.LADDERS.values() for rung in ladder}
    assert {named.get(choice, choice) for choice in kernels.CHOICES} - {"fast"} <= rungs


def functions(module: ModuleType) -> dict[str, list[tuple[str, Any, Any]]]:
    """The public functions that a module defines, each with its parameters' names, kinds and defaults."""
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(value).parameters.values()]
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


@pytest.mark.parametrize("operation", kernels.LADDERS)
def test_every_rung_has_the_functions_of_the_reference(operation: str) -> None:
    """With the same parameters; a rung may have more, for other kernels to build on."""
    reference, *others = (
        functions(import_module(f"minicnn.kernels.{operation}.{rung}")) for rung in kernels.LADDERS[operation]
    )
    assert reference != {}
    for other in others:
        assert {name: other.get(name) for name in reference} == reference
