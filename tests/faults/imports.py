"""`minicnn data import` that is stopped at any moment: the import before it stays, or the new one is whole."""

import os
import shutil
import signal
import time
import zipfile
from pathlib import Path
from random import Random

from minicnn.data import audit, fer2013, store
from tests.faults import children
from tests.faults.tally import Tally
from tests.programs import write_faces

KILLED = "import killed (SIGKILL)"
INTERRUPTED = "import interrupted (SIGINT)"


def disturb(tally: Tally, folder: Path, random: Random, share: float) -> None:
    """Stop imports, first into an empty folder, then in place of an earlier one."""
    sources = _sources(folder)
    for kind, number, wanted in ((KILLED, signal.SIGKILL, 100), (INTERRUPTED, signal.SIGINT, 60)):
        os.environ["MINICNN_DATA"] = str(folder / number.name)
        begun = time.monotonic()
        assert children.run("data", "import", sources[0]).code == 0
        seconds, hashes = time.monotonic() - begun, [_hash(sources[0])]
        children.run("data", "import", sources[1])
        hashes.append(_hash(sources[1]))
        for count in range(max(2, round(wanted * share))):
            if count % 10 == 0:  # from nothing
                shutil.rmtree(store.folder(), ignore_errors=True)
            with tally.fault(kind, f"import {count}"):
                child = children.start("data", "import", random.choice(sources))
                child.wait(random.uniform(0, 1.2 * seconds))
                _stop(child, number)
                _assert_whole(hashes, leftovers=number == signal.SIGKILL)
        with tally.also(kind, "and again"):
            assert children.run("data", "import", sources[0]).code == 0
            assert fer2013.info()["sha256"] == hashes[0]


def _sources(folder: Path) -> list[Path]:
    """Two copies of the data: a CSV, and a zip archive of another one."""
    plain = write_faces(folder / "faces.csv", training=200)
    other = write_faces(folder / "others.csv", training=150, seed=1)
    with zipfile.ZipFile(folder / "others.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(other, "fer2013.csv")
    return [plain, folder / "others.zip"]


def _hash(source: Path) -> str:
    info = fer2013.info()
    assert info["source"] == str(source)
    return str(info["sha256"])


def _stop(child: children.Child, number: int) -> None:
    child.send(number)
    ended = child.end()
    if ended.code not in (0, -signal.SIGKILL):
        assert ended.line() == "minicnn: interrupted", ended


def _assert_whole(hashes: list[str], leftovers: bool) -> None:
    """There is nothing, or an import that loads and is one of those that were begun."""
    home = store.data_home()
    names = [path.name for path in home.iterdir()] if home.exists() else []
    assert leftovers or not [name for name in names if name.startswith(".")], names
    assert {name for name in names if not name.startswith(".")} <= {"fer2013"}, names
    if fer2013.imported():
        records, info = store.load()
        assert info["sha256"] in hashes
        assert audit.sha256(records.splits()) == info["sha256"]
    else:
        assert not store.folder().exists(), sorted(os.listdir(store.folder()))
