"""The tests on every Python that minicnn supports and this machine has, and with the lowest versions of what it needs.

`make test-matrix`, or `python -m tests.matrix --help`. Each Python gets an environment of its own in build/matrix,
which is taken again as long as it asks for the same; a Python that is not there is named and left out. Other arguments
are given to pytest.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13")

NEWEST_ALONE = ("cuda", "gpu", "emulator", "simulator", "onnx_cases")
"""Parts of the names of test files that need one version of a compiler, or of test cases: not run with the lowest."""

STAMP = "made-for.json"
"""In an environment that is whole: what it was made for."""


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


def candidates(version: str) -> Iterator[Path]:
    """Where a Python of this version may be: on the path, or kept by pyenv, whose names there run but one of them."""
    for folder in os.get_exec_path():
        yield Path(folder, f"python{version}")
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    releases = (release for release in kept.glob(f"{version}.*") if release.name.rpartition(".")[2].isdecimal())
    for release in sorted(releases, key=lambda release: int(release.name.rpartition(".")[2]), reverse=True):
        yield release / "bin" / f"python{version}"


def interpreter(version: str) -> str | None:
    """A Python of this version that runs and can make environments: a name may stand for one that is not installed."""
    asked = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for program in candidates(version):
        if program.is_file() and os.access(program, os.X_OK):
            done = subprocess.run([program, "-c", asked], capture_output=True, text=True, check=False)
            found, _, itself = done.stdout.strip().partition(" ")
            if done.returncode == 0 and found == version:
                return itself
    return None


def wanted(constraints: list[str]) -> list[str]:
    """What pip is to install: the lowest versions with the tools, or minicnn with the newest of all."""
    return [*constraints, *tools(constraints)] if constraints else ["--editable", f"{ROOT}[dev]"]


def asked_for(program: str, constraints: list[str]) -> str:
    """All that decides what is in an environment, but the day on which it was made."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return json.dumps([program, wanted(constraints), project])


def environment(program: str, folder: Path, constraints: list[str]) -> str:
    """A Python with minicnn and what its tests need, made unless there is one that asks for the same."""
    python, stamp, asked = str(folder / "bin" / "python"), folder / STAMP, asked_for(program, constraints)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == asked:
        made = time.strftime("%d %B %Y", time.gmtime(stamp.stat().st_mtime))
        print(f"{folder.name}: the environment of {made} again, with its versions; --fresh makes a new one", flush=True)
        return python
    subprocess.run([program, "-m", "venv", "--clear", str(folder)], check=True)
    arguments = wanted(constraints)
    if constraints:
        (folder / "lowest.txt").write_text("\n".join(constraints) + "\n", encoding="utf-8")
        arguments += ["--constraint", str(folder / "lowest.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)
    stamp.write_text(asked, encoding="utf-8")
    return python


def run(title: str, python: str, arguments: list[str]) -> bool:
    """Run the tests; old packages may warn of what is deprecated in newer ones."""
    print(f"{title}: {python}", flush=True)
    command = [python, "-m", "pytest", "-q", "-W", "default::DeprecationWarning", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


@dataclass(frozen=True)
class Job:
    """The tests on one Python, with the newest versions or with the ones that are to be its constraints."""

    version: str
    program: str
    constraints: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """As the table has it."""
        return f"Python {self.version}, {'lowest' if self.constraints else 'newest'} versions"

    def done(self, folder: Path, arguments: list[str], fresh: bool) -> str:
        """What came of it, with how long it took: an environment that cannot be made keeps no other from its turn."""
        place, started = folder / (f"{self.version}-lowest" if self.constraints else self.version), time.monotonic()
        skipped = [f"--ignore-glob=*{part}*" for part in NEWEST_ALONE] if self.constraints else []
        if fresh:
            (place / STAMP).unlink(missing_ok=True)
        try:
            python = environment(self.program, place, self.constraints)
        except subprocess.CalledProcessError:
            return "NO ENVIRONMENT"
        passed = run(self.title, python, [*skipped, *arguments])
        return f"{'passed' if passed else 'FAILED'} ({(time.monotonic() - started) / 60:.0f} min)"


def jobs(versions: Sequence[str]) -> list[Job]:
    """Every Python that is here, and the first of them once more with the lowest versions."""
    found = [Job(version, program) for version in versions if (program := interpreter(version))]
    return [*found, *(Job(job.version, job.program, lowest()) for job in found[:1])]


def main() -> int:
    """Exit code 1 where tests fail anywhere, or no Python was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--versions", nargs="+", default=VERSIONS, help="of Python (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "matrix", help="where environments go")
    parser.add_argument("--fresh", action="store_true", help="make all environments anew, with what is newest today")
    given, arguments = parser.parse_known_args()
    results = {job.title: job.done(given.folder, arguments, given.fresh) for job in jobs(given.versions)}
    for version in given.versions:
        if not any(title.startswith(f"Python {version},") for title in results):
            print(f"{f'Python {version}':30} not on this machine")
    for title, result in results.items():
        print(f"{title:30} {result}")
    return 0 if results and all(result.startswith("passed") for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
