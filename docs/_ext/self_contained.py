"""No page may ask another host for anything: a warning, hence an error, for every address that one would load."""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|icon|preconnect|dns-prefetch))[^>]*href=["']?(?:https?:)?//[^>]+"""
    r"""|(?:@import|url\()\s*["']?(?:https?:)?//[^"')\s]+""",
    re.IGNORECASE,
)


def check(app: Sphinx, failure: Exception | None) -> None:
    """Read every page and style sheet that was written."""
    if failure is not None or app.builder.format != "html":
        return
    for file in sorted(Path(app.outdir).rglob("*")):
        if file.suffix in (".html", ".css"):
            for found in LOADS.findall(file.read_text(encoding="utf-8")):
                logging.getLogger(__name__).warning("%s loads something from elsewhere: %s", file, found)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
