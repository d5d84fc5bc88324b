"""Whether the newest report of a GPU machine is of the kernels as they are.

    python -m minicnn.apps.bench.gpu.freshness docs/benchmarks

It only tells: changing a kernel where there is no GPU is no mistake, but whoever reads the figures should know.
"""

import json
import sys
from pathlib import Path

from minicnn.kernels._gpu.sources import all_sources


def freshness(folder: Path) -> str:
    """One line about the reports in `folder`, whose names begin with their date."""
    reports = sorted(folder.glob("*.json"))
    if not reports:
        return f"GPU: no report in {folder}: the GPU backend has not run on hardware"
    newest = reports[-1]
    try:
        then = json.loads(newest.read_text(encoding="utf-8"))["gpu"]["sources"]
    except (ValueError, KeyError, TypeError):
        return f"GPU: {newest.name} is no report of `minicnn bench gpu`"
    now = {source.operation: source.digest() for source in all_sources()}
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if changed:
        return f"GPU: not verified on hardware since {newest.name}: {', '.join(changed)} changed"
    return f"GPU: {newest.name} is of the kernels as they are"


if __name__ == "__main__":
    print(freshness(Path(sys.argv[1])))
