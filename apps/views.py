"""What `minicnn camera` was asked for: checked before a camera is opened, and started."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from minicnn.apps import window
from minicnn.apps.camera import Camera, print_line
from minicnn.apps.face_options import make_reader
from minicnn.apps.faces import MARGINS, Reader, make_detector
from minicnn.apps.live import Shrinking, Watcher
from minicnn.apps.recorder import check_path
from minicnn.apps.sources import open_source
from minicnn.data.dataset import IMAGE_SIZE
from minicnn.errors import UserError

VIEWS = ("window", "web", "no-window")
"""Where faces are shown: on the desktop, on a page in the browser, nowhere (as lines of JSON)."""


@dataclass(frozen=True)
class Settings:
    """The options of `minicnn camera` but for those of minicnn.apps.face_options; None for what was not given."""

    source: str | None
    record: Path | None
    explain: bool
    as_json: bool
    port: int

    @classmethod
    def of(cls, given: dict[str, Any]) -> Self:
        """Take these options out of `given`."""
        return cls(**{field.name: given.pop(field.name) for field in fields(cls)})


def choose(given: list[str]) -> str:
    """The view that was asked for, or the window where there is a display.

    Raises:
        ValueError: two were asked for.
        UserError: none was, and there is no display.
    """
    if len(given) > 1:
        raise ValueError(f"{' and '.join(f'--{view}' for view in given)} are two views: choose one")
    if given:
        return given[0]
    if not window.has_display():
        raise UserError(f"there is no display here, so choose: {window.ELSEWHERE}")
    return "window"


def check(view: str, settings: Settings) -> None:
    """Raise ValueError where options do not go together."""
    if view == "web":
        for option, given in (("source", settings.source), ("record", settings.record), ("json", settings.as_json)):
            if given:
                raise ValueError(f"--{option} is not for --web: the page shows the browser's camera, and keeps nothing")
    elif view == "no-window" and settings.explain and settings.record is None:
        raise ValueError("--explain shows heat maps, and --no-window shows nothing: add --record FILE")
    if settings.record is not None and settings.source and settings.record.resolve() == Path(settings.source).resolve():
        raise ValueError(f"--record {settings.record} is the source itself: name another file")


def start(view: str, settings: Settings, given: dict[str, Any], say: Callable[[str], None]) -> None:
    """Show faces until the source ends or the user does.

    Args:
        view: one of VIEWS.
        settings: what was asked for, as `check` lets through.
        given: the options of minicnn.apps.face_options, as face_options.make_reader takes them.
        say: takes lines of progress.

    Raises:
        UserError: the network, the source or the display is not there; the camera has gone.
    """
    if view == "web":
        _serve(settings, given, say)
    else:
        _watch(view, settings, given, say)


def _serve(settings: Settings, given: dict[str, Any], say: Callable[[str], None]) -> None:
    from minicnn.apps.web.server import Service, serve_page

    # photos may take their time: they are searched as by `minicnn predict`
    thorough = make_detector(given["detector"], given["detector_model"], neighbors=given["neighbors"])
    reader = _ready(given)
    serve_page(Service(reader, Shrinking(reader.detector), thorough), settings.port, say)


def _watch(view: str, settings: Settings, given: dict[str, Any], say: Callable[[str], None]) -> None:
    name = settings.source or "0"
    if settings.record is not None:
        try:
            check_path(settings.record)
        except UserError as error:
            raise UserError(f"--record {error}") from error
    with ExitStack() as stack:
        screen = stack.enter_context(window.Window()) if view == "window" else None
        source = open_source(name)
        stack.callback(source.close)
        reader = _ready(given)
        camera = Camera(
            source,
            Watcher(reader, Shrinking(reader.detector)),
            screen=screen,
            record=settings.record,
            out=print_line if settings.as_json or view == "no-window" else None,
            mirrored=name.isdecimal() and screen is not None,
            explain=settings.explain,
        )
        count = camera.run()
    rate = count.frames / count.seconds if count.seconds > 0 else 0.0
    say(f"{name}: {count.frames} frames in {count.seconds:.1f} s, {rate:.1f} frames/s")
    if settings.record is not None and count.frames:
        say(f"recorded: {settings.record}")


def _ready(given: dict[str, Any]) -> Reader:
    """The reader, with its kernels compiled: that takes seconds, once, and would else stop the picture at a face."""
    reader = make_reader(given)
    reader.find(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8))  # a detector's model that is none is told of here
    for faces in (1, 8):  # few faces and many are read by different kernels
        reader.read_crops(np.zeros((faces, len(MARGINS), IMAGE_SIZE, IMAGE_SIZE), np.uint8))
    return reader
