"""`make notebooks`: each tutorial as a Jupyter notebook in build/notebooks, with the same text and the same code."""

import ast
import os
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

DOCS = Path(__file__).parent
BLOCK = re.compile(
    r"^```(python|output|\{literalinclude\} (\S+)\n:pyobject: (\S+))\n(.*?)^```\n", re.MULTILINE | re.DOTALL
)
DETAILS = re.compile(r"^</?details>\n", re.MULTILINE)  # a cell cannot fold the cells after it
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def tutorials() -> list[Path]:
    """The chapters, in order."""
    return sorted((DOCS / "tutorials").glob("[0-9]*.md"))


def quoted(page: Path, name: str, thing: str) -> str:
    """The source of a class or function `thing` in the file that `page` calls `name`."""
    source = (page.parent / name).read_text(encoding="utf-8")
    found = [node for node in ast.walk(ast.parse(source)) if getattr(node, "name", None) == thing]
    return ast.get_source_segment(source, found[0]) or ""


def notebook(page: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook of a page, for a place in `folder`, from where its links must lead."""
    cells, end, text = [], 0, page.read_text(encoding="utf-8")
    for block in [*BLOCK.finditer(text), None]:
        prose = DETAILS.sub("", text[end : block.start() if block else None]).strip()
        prose = prose.replace("<summary>Solution</summary>", "**Solution**")
        if prose:
            cells.append(new_markdown_cell(LINK.sub(lambda link: _moved(link, page, folder), prose)))
        if block is None:
            break
        end = block.end()
        if block[1] == "python":
            cells.append(new_code_cell(block[4].rstrip("\n")))
        elif block[2]:
            cells.append(new_markdown_cell(f"```python\n{quoted(page, block[2], block[3])}\n```"))
        # what a block prints is left out: the notebook shows it when it is run
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # nbformat would draw them at random
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells, metadata=about)


def _moved(link: re.Match[str], page: Path, folder: Path) -> str:
    target = (page.parent / link[1]).resolve()
    if target in tutorials():
        return f"]({target.stem}.ipynb)"
    return f"]({os.path.relpath(target, folder)}{link[2] or ''})"


if __name__ == "__main__":
    folder = DOCS.parent / "build" / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    for page in tutorials():
        file = folder / f"{page.stem}.ipynb"
        nbformat.write(notebook(page, folder), file)
        print(file)
