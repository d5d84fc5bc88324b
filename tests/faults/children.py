"""`minicnn` in a process that can be killed at any moment: a fork of this one, which has imported everything already.

So a run of a second takes a second, and two hundred of them can be killed in a few minutes.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from tempfile import TemporaryFile
from typing import IO, NamedTuple, NoReturn

from minicnn.apps import cli

LONGEST = 60.0
"""Seconds after which a program counts as one that hangs."""

PROGRESS = ("training ", "epoch ")
"""How lines of progress begin."""

for _module in ("pandas", "cv2", "safetensors.numpy", "jinja2", "PIL.ImageFont", "matplotlib.backends.backend_agg"):
    import_module(_module)  # what the programs import when they come to need it


class Ended(NamedTuple):
    """What a program left on its streams; its exit code, or less than 0: the signal that ended it."""

    code: int
    out: str
    err: str

    def line(self) -> str:
        """The one line of a program that failed as it should; raises AssertionError where it did not."""
        lines = [line for line in self.err.splitlines() if line and not line.startswith(PROGRESS)]
        assert (self.code, len(lines)) == (1, 1), f"expected exit code 1 and one line, got {self.code} and {self.err!r}"
        assert lines[0].startswith("minicnn: "), lines[0]
        return lines[0]


class Child:
    """A program that runs."""

    def __init__(self, pid: int, out: IO[bytes], err: IO[bytes]) -> None:
        self.pid, self.out, self.err = pid, out, err
        self.ended: Ended | None = None

    def wait(self, seconds: float = LONGEST) -> Ended | None:
        """How it ended, None where it still runs after so many seconds."""
        until = time.monotonic() + seconds
        while self.ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.ended = Ended(os.waitstatus_to_exitcode(status), self._read(self.out), self._read(self.err))
            elif time.monotonic() >= until:
                break
            else:
                time.sleep(0.001)
        return self.ended

    def end(self) -> Ended:
        """Wait for its end; one that hangs is killed, and an AssertionError."""
        ended = self.wait()
        if ended is None:
            self.send(signal.SIGKILL)
            ended = self.wait()
            raise AssertionError(f"it hangs, after {ended and ended.err!r}")
        return ended

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended and its number may be another's."""
        if self.wait(0) is None:
            os.kill(self.pid, number)

    @staticmethod
    def _read(file: IO[bytes]) -> str:
        with file:
            file.seek(0)
            return file.read().decode()


def start(*arguments: object, prepare: Callable[[], object] = lambda: None) -> Child:
    """Start `minicnn` with these arguments; `prepare` is called in its process first."""
    out, err = TemporaryFile(), TemporaryFile()  # noqa: SIM115 - Child closes them
    begun, begins = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.close(begun)
        _become(list(map(str, arguments)), prepare, begins)
    os.close(begins)
    os.read(begun, 1)  # the end of the pipe: from here on a signal meets the program and not this one's copy
    os.close(begun)
    return Child(pid, out, err)


def run(*arguments: object, prepare: Callable[[], object] = lambda: None) -> Ended:
    """Run `minicnn` to its end."""
    return start(*arguments, prepare=prepare).end()


def _become(arguments: list[str], prepare: Callable[[], object], begins: int) -> NoReturn:
    code = 70
    try:
        sys.argv = ["minicnn", *arguments]
        prepare()
        os.close(begins)
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
