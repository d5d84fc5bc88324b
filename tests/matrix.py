"""The tests on every Python that minicnn supports and this machine has, and with the lowest versions of what it needs.

`make test-matrix`, or `python -m tests.matrix --help`. Each Python gets an environment of its own in build/matrix; a
Python that is not there is named and left out.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13")

NEWEST_ALONE = ("cuda", "gpu", "emulator", "simulator", "onnx_cases")
"""Parts of the names of test files that need one version of a compiler, or of test cases: not run with the lowest."""


def lowest() -> list[str]:
    """The lowest version of each dependency that users may have, as pip takes constraints."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = (
        re.match(r"([\w-]+)>=([\d.]+)", line) for line in project["dependencies"] + extras["onnx"] + extras["parquet"]
    )
    return [f"{match[1]}=={match[2]}" for match in found if match]


def tools(without: list[str]) -> list[str]:
    """What the tests need beside minicnn, but what is in `without`, at any version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {line.partition("==")[0] for line in without}
    return [line for line in project["optional-dependencies"]["dev"] if re.split("[<>=]", line)[0] not in names]


def interpreter(version: str) -> str | None:
    """A Python of this version that runs: a name on the path may stand for one that is not installed."""
    program = shutil.which(f"python{version}")
    if program is None:
        return None
    works = subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode == 0
    return program if works else None


def environment(program: str, folder: Path, constraints: list[str]) -> str:
    """A Python with minicnn and what its tests need in a fresh environment; returns its program."""
    subprocess.run([program, "-m", "venv", "--clear", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    if constraints:
        (folder / "lowest.txt").write_text("\n".join(constraints) + "\n", encoding="utf-8")
        wanted = [*constraints, *tools(constraints), "--constraint", str(folder / "lowest.txt")]
    else:
        wanted = ["--editable", f"{ROOT}[dev]"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def run(title: str, python: str, arguments: list[str]) -> bool:
    """Run the tests; old packages may warn of what is deprecated in newer ones."""
    print(f"{title}: {python}", flush=True)
    command = [python, "-m", "pytest", "-q", "-W", "default::DeprecationWarning", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Exit code 1 where tests fail anywhere, or no Python was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--versions", nargs="+", default=VERSIONS, help="of Python (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix", help="where environments go")
    given, arguments = parser.parse_known_args()
    found = {version: program for version in given.versions if (program := interpreter(version))}
    for version in set(given.versions) - found.keys():
        print(f"Python {version}: not on this machine")
    jobs = [(f"Python {version}, newest versions", version, list[str](), arguments) for version in found]
    if found:
        first = min(found)
        skipped = [f"--ignore-glob=*{part}*" for part in NEWEST_ALONE]
        jobs.append((f"Python {first}, lowest versions", first, lowest(), [*skipped, *arguments]))
    results = {}
    for title, version, constraints, more in jobs:
        place = given.folder / (f"{version}-lowest" if constraints else version)
        results[title] = run(title, environment(found[version], place, constraints), more)
    for title, passed in results.items():
        print(f"{title}: {'passed' if passed else 'FAILED'}")
    return 0 if results and all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
