"""OpenCV, imported where it is first needed: minicnn itself imports without its system libraries."""

import importlib
from types import ModuleType

from minicnn.errors import UserError


def silence() -> None:
    """Keep OpenCV from writing to stderr of its own accord: our errors say what it would."""
    module = cv2()
    # versions before 4.11 have it in the module itself, later ones do not
    (module.utils.logging if hasattr(module.utils, "logging") else module).setLogLevel(0)


def cv2() -> ModuleType:
    """The `cv2` module.

    Raises:
        UserError: OpenCV cannot be imported; the message names the packages that usually mend it.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise UserError(
            f"OpenCV cannot be imported ({error}). Install it with `pip install 'opencv-python>=4.10,<5'`; "
            "on Debian or Ubuntu it also needs two system libraries: `apt-get install libgl1 libglib2.0-0`"
        ) from error
