"""Links to files of the tree lead to a page that shows the file, as they do on a forge."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[2]

INCLUDED = {"kernels/conv2d/README.md": "explanation/conv2d-ladder"}
"""Files that a page of the site includes, and that page."""


class SourceLinks(SphinxTransform):
    """MyST makes a link to any file that is no page a download; make it a link to the file's page."""

    default_priority = 870  # before the event at 880, at which Sphinx copies downloads

    def apply(self, **_: Any) -> None:
        """Replace the downloads of a page."""
        for link in list(self.document.findall(addnodes.download_reference)):
            _, path = self.env.relfn2path(link["reftarget"], self.env.docname)
            self._lead(link, Path(path))
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link.get("refdomain") == "doc" and Path(link["reftarget"]).is_absolute():  # Markdown beside the code
                self._lead(link, Path(f"{link['reftarget']}.md"))

    def _lead(self, link: nodes.Element, path: Path) -> None:
        """Make a link lead to the page of a file."""
        file = path.resolve().relative_to(ROOT)
        page = INCLUDED.get(str(file), f"source/{file}")
        if page.startswith("source/"):
            self.env.app.source_files.add(file)
        up = "../" * self.env.docname.count("/")
        link.replace_self(nodes.reference("", "", *link.children, refuri=f"{up}{page}.html", internal=True))


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file that is linked to."""
    for file in sorted(app.source_files):
        try:
            lexer = get_lexer_for_filename(file.name)
        except ClassNotFound:
            lexer = TextLexer()
        code = highlight((ROOT / file).read_text(encoding="utf-8"), lexer, HtmlFormatter(nowrap=False))
        body = f"<h1><code>{file}</code></h1>\n<div class='highlight-python notranslate'>{code}</div>"
        yield f"source/{file}", {"title": str(file), "body": body, "parents": []}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.source_files = set()
    app.add_transform(SourceLinks)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": False}
