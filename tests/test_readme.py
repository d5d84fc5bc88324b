"""What README and docs say is so: the code runs, commands and options exist, links lead somewhere."""

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest

from minicnn.apps import cli
from tests.programs import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "kernels").rglob("*.md")),
]
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [code for name, code in FENCE.findall(text) if name == language]


def commands(page: Path) -> list[str]:
    """The `minicnn ...` lines of a page: in its blocks, and between backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(text, "") + blocks(text, "sh") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return [line.partition("#")[0].strip() for line in lines if re.match(r"minicnn [a-z]", line)]


def anchors(page: Path) -> set[str]:
    """The names that a page's headings can be linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def resolve(words: list[str]) -> list[tuple[click.Command, list[str]]]:
    """The commands that `data import|info PATH` stands for, and the words that are left."""
    found: list[tuple[click.Command, list[str]]] = []
    for name in words[0].split("|"):
        inside = cli.cli.commands[name]
        if isinstance(inside, click.Group) and len(words) > 1:
            found += [(inside.commands[leaf], words[2:]) for leaf in words[1].split("|")]
        else:
            found.append((inside, words[1:]))
    return found


@pytest.mark.parametrize("code", blocks(README, "python"), ids=lambda code: code.splitlines()[-1])
def test_python_in_the_readme_runs(code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "readme.py").write_text(code, encoding="utf-8")
    runpy.run_path(str(tmp_path / "readme.py"))
    assert "ConvBlock(1→8" in capsys.readouterr().out


def test_the_readme_shows_python() -> None:
    assert len(blocks(README, "python")) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line)[1:]
        for command, rest in resolve(words):
            known = {name for parameter in command.params for name in parameter.opts}
            assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, line


def test_the_readme_names_the_commands_that_there_are() -> None:
    named = {line.split()[1] for line in commands(ROOT / "README.md")}
    assert named == set(cli.cli.commands)


def test_every_target_of_make_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(blocks(README, "") + re.findall(r"`[^`\n]+`", FENCE.sub("", README)))
    named = set(re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere: whether the web has it is not for a test to ask
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.relative_to(ROOT)}: {target}"
        assert path.is_relative_to(ROOT), f"{page.relative_to(ROOT)}: {target}"
        assert not anchor or anchor in anchors(path), f"{page.relative_to(ROOT)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_tree_that_a_page_names_exists(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for name in re.findall(r"`((?:minicnn|kernels|apps|tests|docs)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), f"{page.relative_to(ROOT)}: {name}"
