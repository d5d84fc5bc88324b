"""Data sets: FER2013 in every form it travels in, and drawn faces for when it is not there."""

from minicnn.data.dataset import CLASSES, Dataset, Split

__all__ = ["CLASSES", "Dataset", "Split", "load"]

PROTOCOLS = ("official", "paper")
"""How FER2013 is split: see minicnn.data.fer2013."""


def load(name: str | None = None, protocol: str = "official") -> Dataset:
    """The data set called `name`: "fer2013" (imported before), "synthetic", or the path of a copy of FER2013.

    None takes FER2013 where it has been imported, else the synthetic faces. Raises DataError where the data is
    missing or damaged. The synthetic faces have one way to be split, whatever the protocol.
    """
    from minicnn.data import fer2013, synthetic

    if name is None:
        name = "fer2013" if fer2013.imported() else "synthetic"
    if name == "synthetic":
        return synthetic.load()
    return fer2013.load(protocol, path=None if name == "fer2013" else name)
