"""No code runs that came with a file, and every dependency is known by its licence."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import matrix
from tests.programs import ROOT

SOURCES = [file for room in ("minicnn", "apps", "kernels") for file in sorted((ROOT / room).rglob("*.py"))]

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "joblib",
    "cloudpickle",
    "shelve",
    "marshal",
    "yaml",
    "torch",
}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "np.load",
    "numpy.load",
    "np.fromregex",
    "tarfile.extractall",
}
OWN_PROCESS = {"apps/bench/peer_worker.py": {"torch"}}
"""A benchmark's peer runs in a process of its own, in an environment that the user names."""


def name_of(node: ast.expr) -> str:
    """`np.load` for the expression np.load; nothing for what is no name."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) and name_of(node.value) else ""


def dangers(source: str) -> Iterator[str]:
    """What in a program could run code that is in its data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in FORBIDDEN_MODULES)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in FORBIDDEN_MODULES:
            yield str(node.module)
        if isinstance(node, ast.Call):
            given = {word.arg: word.value for word in node.keywords}
            plain = {name for name, value in given.items() if isinstance(value, ast.Constant) and value.value is False}
            called = name_of(node.func)
            if called in FORBIDDEN_CALLS and "allow_pickle" not in plain:
                yield called
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("extractall", "unpack_archive"):
                yield node.func.attr
            yield from (
                f"{name}={ast.unparse(given[name])}" for name in ("shell",) if name in given and name not in plain
            )


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_in_a_file_or_message_is_ever_run(file: Path) -> None:
    allowed = OWN_PROCESS.get(str(file.relative_to(ROOT)), set())
    assert set(dangers(file.read_text(encoding="utf-8"))) - allowed == set()


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from yaml import load",
        "def f(x): return eval(x)",
        "exec('1')",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
        "archive.extractall(folder)",
    ],
)
def test_what_would_run_code_is_noticed(code: str) -> None:
    assert list(dangers(code)) != []


def test_methods_of_that_name_are_no_danger() -> None:
    assert list(dangers("model.eval(); np.load(file, allow_pickle=False)")) == []


# Dependencies

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "reference" / "dependencies.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]*)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def required(group: str) -> set[tuple[str, str]]:
    """Name and range of every requirement of the base install, or of an extra."""
    lines = PROJECT["dependencies"] if group == "base" else PROJECT["optional-dependencies"][group]
    found = (re.match(r"([\w-]+(?:\[\w+\])?)(.*)", line) for line in lines)
    return {(match[1], match[2]) for match in found if match}


def listed(group: str) -> list[tuple[str, str, str, str]]:
    """The rows of a group's table on the page: name, range, reason, licence."""
    _, _, rest = PAGE.partition(f"## {group}\n")
    return ROW.findall(rest.partition("\n## ")[0])


@pytest.mark.parametrize("group", ["base", *PROJECT["optional-dependencies"]])
def test_the_page_of_dependencies_lists_those_of_the_project(group: str) -> None:
    assert {(name, versions) for name, versions, _, _ in listed(group)} == required(group)


def test_every_dependency_has_its_reason_and_licence() -> None:
    rows = [row for group in ("base", *PROJECT["optional-dependencies"]) for row in listed(group)]
    assert len(rows) > 30
    assert [name for name, _, reason, licence in rows if not reason.strip() or not licence.strip()] == []


def test_every_dependency_of_the_base_install_has_a_free_licence() -> None:
    licences = {word for *_, licence in listed("base") for word in re.split(r",? and |, ", licence.strip())}
    assert licences <= {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "MIT-CMU", "PSF-based"}


def test_the_lowest_versions_that_are_tried_are_of_all_that_users_install() -> None:
    tried = {line.partition("==")[0] for line in matrix.lowest()}
    assert tried == {name for group in ("base", "onnx", "parquet") for name, _ in required(group)}


def test_the_readme_says_which_versions_there_may_be() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## What it runs on")[2]
    assert re.search(r"\| Python \| (.*) \|", table)[1] == ", ".join(matrix.VERSIONS)  # type: ignore[index]
    versions = dict(required("base"))
    for name, lowest in (("numpy", "2.0"), ("numba", "0.61"), ("pandas", "2.2.2"), ("opencv-python", "4.10")):
        assert versions[name].startswith(f">={lowest}")
        assert f"{lowest} to" in table.partition("\n\n`make")[0]


def test_the_security_policy_names_no_address_that_is_not_there() -> None:
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "@" not in policy
    assert "report a vulnerability" in policy.lower()
