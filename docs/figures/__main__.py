"""`make figures`: draw every figure of the documentation, or those named, into docs/images."""

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import style  # noqa: E402


def names() -> list[str]:
    """The scripts that have a `draw`, which are all but this one and the style."""
    return sorted(file.stem for file in HERE.glob("*.py") if file.stem not in ("style", "__main__"))


if __name__ == "__main__":
    for name in sys.argv[1:] or names():
        file = HERE.parent / "images" / f"{name}.svg"
        style.save(import_module(name).draw, file)
        print(file)
