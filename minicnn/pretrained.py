"""The network that ships in the package, for programs that are given no other."""

from importlib.resources import files
from pathlib import Path

from minicnn.errors import CheckpointError


def default_weights() -> Path:
    """Its weights file, for `minicnn.checkpoint.load_model`; raises CheckpointError where the package has none."""
    path = Path(str(files("minicnn"))) / "weights" / "default.safetensors"
    if not path.is_file():
        raise CheckpointError("no pretrained network in this package yet: --weights FILE, or train one (minicnn train)")
    return path
