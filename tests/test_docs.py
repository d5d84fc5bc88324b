"""The documentation is true: its code runs and prints what it says, its figures and quotations are those of the engine.

Commands, links and files that pages name are checked in test_readme.py.
"""

import ast
import inspect
import io
import re
import shutil
import subprocess
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

import minicnn
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


# The how-to "add a layer", carried out in a copy of the tree: each of its blocks in the file that the page names


@pytest.fixture(scope="module")
def with_prelu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy, with PReLU as the page adds it."""
    copy, page = tmp_path_factory.mktemp("tree"), DOCS / "how-to" / "add-a-layer.md"
    for room in ("minicnn", "kernels", "apps"):
        shutil.copytree(ROOT / room, copy / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))

    def append(file: str, text: str) -> None:
        with (copy / file).open("a", encoding="utf-8") as end:
            end.write(f"\n\n{text}\n")

    operation, layer, *_ = (example.parsed for example in blocks(page))
    cases = re.findall(r"^\* `((?:Layer)?Case\(.*\))`$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(cases) == 2
    append("minicnn/ops/prelu.py", operation)
    append("minicnn/functional.py", "from minicnn.ops.prelu import prelu\n__all__ += ['prelu']")
    append(
        "minicnn/nn/activations.py", layer.replace("PReLULayer", "PReLU").replace("return prelu(", "return F.prelu(")
    )
    append("minicnn/nn/__init__.py", "from minicnn.nn.activations import PReLU\n__all__ += ['PReLU']")
    append("apps/gradcheck_cases.py", f"CASES += [{', '.join(cases)}]")
    return copy


def check_prelu(tree: Path) -> subprocess.CompletedProcess[str]:
    code = """
from minicnn import functional, nn
from minicnn.apps.gradcheck_cases import CASES
for case in CASES:
    if case.name in ("prelu", "nn.PReLU"):
        case.check()
        print(case.name, "is right")
"""
    return subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False)


def test_the_layer_that_the_how_to_adds_passes_the_gradient_checker(with_prelu: Path) -> None:
    assert check_prelu(with_prelu).stdout == "prelu is right\nnn.PReLU is right\n"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("grad_x = xp.where(x > 0, grad, grad * _beside_channels(slope, x))", "grad_x = xp.where(x > 0, grad, 0.0)"),
        (".sum(axis=used_for)", ".sum(axis=used_for) / len(x)"),
    ],
    ids=["of x", "of the slope"],
)
def test_a_wrong_gradient_in_the_layer_that_the_how_to_adds_is_found(with_prelu: Path, right: str, wrong: str) -> None:
    file = with_prelu / "minicnn" / "ops" / "prelu.py"
    text = file.read_text(encoding="utf-8")
    assert text.count(right) == 1
    try:
        file.write_text(text.replace(right, wrong), encoding="utf-8")
        result = check_prelu(with_prelu)
    finally:
        file.write_text(text, encoding="utf-8")
    assert "GradientError" in result.stderr
    assert result.stdout == ""


# Every operation and layer in its places (CONTRIBUTING.md)


def test_every_operation_is_on_a_page_and_has_a_test_of_its_name() -> None:
    page = (DOCS / "reference" / "functional.md").read_text(encoding="utf-8")
    assert set(functional.__all__) == set(re.findall(r"^\.\. autofunction:: (\w+)$", page, re.MULTILINE))
    files = {Path(str(inspect.getsourcefile(getattr(functional, op)))).stem for op in functional.__all__}
    assert [stem for stem in sorted(files) if not (ROOT / "tests" / f"test_{stem}.py").is_file()] == []


def test_every_layer_is_on_a_page() -> None:
    page = (DOCS / "reference" / "nn.md").read_text(encoding="utf-8")
    assert set(nn.__all__) <= set(re.findall(r"^\.\. autoclass:: minicnn\.nn\.(\w+)$", page, re.MULTILINE))


def test_every_public_name_of_the_package_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^(?:#|\.\. auto\w+::) minicnn\.(\w+)$", text, re.MULTILINE))
    assert set(minicnn.__all__) <= shown


SHAPES = re.compile(r"\((N|\.\.\.)|\bshapes?\b")


@pytest.mark.parametrize("name", functional.__all__)
def test_an_operation_says_its_shapes_its_errors_and_its_source(name: str) -> None:
    text = inspect.getdoc(getattr(functional, name)) or ""
    assert SHAPES.search(text)
    assert re.search(r"\b[Rr]aises|\berrors\b", text)
    assert re.search(r"\b[Ss]ources?\b", text)


@pytest.mark.parametrize("name", sorted(set(nn.__all__) - {"Module", "Parameter", "Sequential"}))
def test_a_layer_says_its_shapes(name: str) -> None:
    """Its errors and its source are those of the operation that it calls: the page of the layers says so."""
    layer = getattr(nn, name)
    assert SHAPES.search(f"{inspect.getdoc(layer)} {inspect.getdoc(getattr(layer, 'forward', None))}")
