"""Docstrings are plain text with `code` in it: keep reStructuredText and napoleon from reading more into them."""

import re
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"`+[^`]+`+")
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):$")

_before: dict[str, list[str]] = {}


def plain(line: str) -> str:
    """Escape `*`, `|` and a final `_`, which reStructuredText takes for markup, outside of `code`."""
    kept = CODE.findall(line)
    rest = [re.sub(r"(\*|\||_(?=\W|$))", r"\\\1", part) for part in CODE.split(line)]
    return "".join(text + code for text, code in zip(rest, [*kept, ""], strict=True))


def translate(lines: list[str]) -> list[str]:
    """Indented paragraphs, such as formulas and tables, stay as they are typed; the rest is plain text."""
    out: list[str] = []
    in_section = literal = False
    for number, line in enumerate(lines):
        if line and not line.startswith(" "):
            in_section, literal = bool(SECTION.match(line)), False
        elif line and not in_section and not literal and (number == 0 or not lines[number - 1]):
            out += ["::", ""]
            literal = True
        out.append(line if literal else plain(line))
    return out


def on_docstring(_app: Sphinx, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Called by autodoc for every docstring, before napoleon reads its sections."""
    lines[:] = translate(lines)
    if what in ("attribute", "data", "property"):
        _before[name] = list(lines)


def after_napoleon(_app: Sphinx, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """To napoleon what stands before a colon in an attribute's docstring is a type; ours are sentences."""
    if what in ("attribute", "data", "property"):
        lines[:] = _before.pop(name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", on_docstring, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    return {"parallel_read_safe": True}
