"""Compiles CUDA sources for real GPUs with NVIDIA's run-time compiler, which needs no GPU and comes as a wheel."""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from cuda.bindings import nvrtc

from minicnn.kernels._gpu.sources import HEADERS
from tests.emulator import build

_PROPERTIES = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers",
    re.DOTALL,
)


class Kernel(NamedTuple):
    """What the compiler says of one kernel.

    Attributes:
        name: of the function.
        registers: that each thread takes.
        local_bytes: of local memory that each thread takes: arrays that are not in registers, and spilled registers.
        threads: that a block may have at most.
    """

    name: str
    registers: int
    local_bytes: int
    threads: int


def compiled(source: build.Compilable, architecture: str) -> list[Kernel]:
    """Compile a source down to machine code, for "sm_90" and the like; a log of it is kept on disk.

    Raises build.CompileError with the compiler's first message.
    """
    key = hashlib.sha256(f"{source.digest()} {architecture} {nvrtc.nvrtcVersion()} {_OPTIONS}".encode()).hexdigest()
    kept = build.cache_folder() / f"{source.operation}-{architecture}-{key[:16]}.log"
    if not kept.exists():
        kept.write_text(_compile(source.path, architecture))
    return _kernels(kept.read_text())


_OPTIONS = ("--std=c++17", f"--include-path={HEADERS}", "--ptxas-options=-v")


def _compile(path: Path, architecture: str) -> str:
    """The PTX and what was said about turning it into machine code."""
    program = _checked(nvrtc.nvrtcCreateProgram(path.read_bytes(), str(path).encode(), 0, [], []))
    options = [option.encode() for option in (f"--gpu-architecture={architecture}", *_OPTIONS)]
    status = nvrtc.nvrtcCompileProgram(program, len(options), options)[0]
    log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        first = next((line for line in log.splitlines() if "error" in line), log or str(status))
        raise build.CompileError(first)
    return _text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program) + log


def _kernels(text: str) -> list[Kernel]:
    most = dict(re.findall(r"\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+)", text))
    return [
        Kernel(name, int(registers), max(map(int, local)), int(most.get(name, 1024)))
        for name, *local, registers in _PROPERTIES.findall(text)
    ]


def _text(size_of: Any, read: Any, program: Any) -> str:
    buffer = b" " * _checked(size_of(program))
    _checked(read(program, buffer))
    return buffer.rstrip(b"\0").decode()


def _checked(answer: tuple[Any, ...]) -> Any:
    if answer[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC says {answer[0].name}")
    return answer[1] if len(answer) > 1 else None
