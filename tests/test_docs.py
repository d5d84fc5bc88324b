"""The documentation is true: its code runs and prints what it says, its figures and quotations are those of the engine.

Commands, links and files that pages name are checked in test_readme.py.
"""

import ast
import inspect
import io
import re
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from minicnn import functional, nn
from tests.programs import ROOT

DOCS = ROOT / "docs"
sys.path[:0] = [str(DOCS), str(DOCS / "figures")]

import notebooks  # noqa: E402
import style  # noqa: E402

NEEDS_MORE = {
    "how-to/export.md": "a trained network, and the reader's photo",
    "results.md": "FER2013, which cannot be shipped",
}
"""Pages whose code needs what a test does not have. All others are run."""

CHAPTERS = notebooks.tutorials()
FIGURES = sorted(file.stem for file in (DOCS / "figures").glob("*.py") if file.stem not in ("style", "__main__"))
QUOTATION = re.compile(r"^```\{literalinclude\} (\S+)\n:pyobject: (\S+)\n```$", re.MULTILINE)


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


class Run(PythonEvaluator):
    """Runs a block, and keeps what it prints for the block that says so."""

    def __call__(self, example: Example) -> None:
        assert not example.namespace.get("printed"), "the block before this one prints: show what"
        printed = io.StringIO()
        with redirect_stdout(printed):
            super().__call__(example)
        example.namespace["printed"] = printed.getvalue()


def compare(example: Example) -> None:
    assert example.namespace.pop("printed") == example.parsed


PARSERS = Sybil([CodeBlockParser("python", Run()), CodeBlockParser("output", compare)])


def parse(page: Path) -> Document:
    """The page's blocks of code and output; all code of a page shares one namespace."""
    return PARSERS.parse(page)


def blocks(page: Path) -> list[Example]:
    return [example for example in parse(page).examples() if isinstance(example.region.evaluator, Run)]


RUN = [page for page in sorted(DOCS.rglob("*.md")) if name(page) not in NEEDS_MORE and blocks(page)]


@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page: Path) -> None:
    document = parse(page)
    for example in document.examples():
        example.evaluate()
    assert not document.namespace.get("printed"), "the last block prints: show what"
    plt.close("all")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=name)
def test_a_chapter_has_four_blocks_that_run_and_a_figure_that_is_generated(chapter: Path) -> None:
    assert len(blocks(chapter)) >= 4
    shown = re.findall(r"!\[[^\]]+\]\(\.\./images/([\w-]+)\.svg\)", chapter.read_text(encoding="utf-8"))
    assert shown
    assert set(shown) <= set(FIGURES)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=name)
def test_a_chapter_has_every_part(chapter: Path) -> None:
    headings = re.findall(r"^## (.*)$", chapter.read_text(encoding="utf-8"), re.MULTILINE)
    assert {"The idea", "Check", "In the engine", "What it costs", "Exercises"} <= set(headings)
    exercises = chapter.read_text(encoding="utf-8").partition("## Exercises")[2]
    assert exercises.count("<summary>Solution</summary>") >= 3


def test_the_index_lists_the_chapters_that_there_are() -> None:
    index = (DOCS / "tutorials" / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"^\d+\. \[[^\]]+\]\((.*?)\.md\)", index, re.MULTILINE) == [page.stem for page in CHAPTERS]


def test_every_quotation_is_of_something_that_is_there() -> None:
    quotations = [(page, *found) for page in CHAPTERS for found in QUOTATION.findall(page.read_text(encoding="utf-8"))]
    assert quotations
    for page, file, thing in quotations:
        assert notebooks.quoted(page, file, thing), f"{name(page)}: no {thing} in {file}"


def test_every_directive_is_one_that_the_notebooks_know() -> None:
    for page in CHAPTERS:
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^```\{", text, re.MULTILINE)) == len(QUOTATION.findall(text)), name(page)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_what_its_script_draws_now(figure: str) -> None:
    drawn, stamp = style.stamp(import_module(figure).draw)
    plt.close(drawn)
    assert style.stamp_in(DOCS / "images" / f"{figure}.svg") == stamp, "stale: run make figures"


def test_every_figure_is_shown_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    assert [figure for figure in FIGURES if f"images/{figure}.svg" not in text] == []
    assert {file.stem for file in (DOCS / "images").glob("*.svg")} == set(FIGURES)


def test_another_number_makes_a_figure_stale() -> None:
    def stamp(height: float) -> str:
        def draw() -> style.Figure:
            drawn = style.figure(1, 1)
            drawn.add_subplot().plot([0, 1], [0, height])
            return drawn

        drawn, digest = style.stamp(draw)
        plt.close(drawn)
        return digest

    assert stamp(1.0) == stamp(1.0) != stamp(1.1)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=name)
def test_a_notebook_is_valid_and_holds_the_same_code_and_text(chapter: Path) -> None:
    notebook = notebooks.notebook(chapter, ROOT / "build" / "notebooks")
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == [example.parsed.rstrip("\n") for example in blocks(chapter)]
    for source in code:
        ast.parse(source)
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for heading in re.findall(r"^##? .*$", notebooks.BLOCK.sub("", chapter.read_text(encoding="utf-8")), re.MULTILINE):
        assert heading in prose


@pytest.mark.parametrize("chapter", CHAPTERS, ids=name)
def test_links_of_a_notebook_lead_somewhere(chapter: Path) -> None:
    folder = ROOT / "build" / "notebooks"
    for cell in notebooks.notebook(chapter, folder).cells:
        if cell.cell_type == "markdown":
            for target, _ in notebooks.LINK.findall(re.sub(r"^```.*?^```", "", cell.source, flags=re.M | re.S)):
                other = target.endswith(".ipynb") and (DOCS / "tutorials" / target).with_suffix(".md")
                assert (other or folder / target).resolve().exists(), target


# Every operation and layer in its places (CONTRIBUTING.md)


def test_every_operation_is_on_a_page_and_has_a_test_of_its_name() -> None:
    page = (DOCS / "reference" / "functional.md").read_text(encoding="utf-8")
    assert set(functional.__all__) == set(re.findall(r"^\.\. autofunction:: (\w+)$", page, re.MULTILINE))
    files = {Path(str(inspect.getsourcefile(getattr(functional, op)))).stem for op in functional.__all__}
    assert [stem for stem in sorted(files) if not (ROOT / "tests" / f"test_{stem}.py").is_file()] == []


def test_every_layer_is_on_a_page() -> None:
    page = (DOCS / "reference" / "nn.md").read_text(encoding="utf-8")
    assert set(nn.__all__) <= set(re.findall(r"^\.\. autoclass:: minicnn\.nn\.(\w+)$", page, re.MULTILINE))
