"""What happens to a run of pixels side by side, some channels of each: copied, cleared or added up.

Compilers vectorize the innermost loop, which for a handful of channels is all overhead. Here the loop over the pixels
is inside, once for each vector of channels and once for each channel left over. It is written out in LLVM's
intermediate language, so that what does not change from pixel to pixel stays in a register.

Addresses are integers in bytes; steps, from one pixel to the next, are in numbers and may be 0.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels._cpu.microkernel import FLOAT, INT, VECTOR, WIDTH
from minicnn.kernels._cpu.parts import part


def _loop(kind: Any, operation: str) -> Any:
    """`operation` for pixels of one vector or one number."""

    @intrinsic
    def loop(typing_context, source, source_step, target, target_step, count):  # type: ignore[no-untyped-def]
        signature = types.void(*[types.intp] * 5)

        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            source, source_step, target, target_step, count = args

            def place(address: Any, step: Any, pixel: Any) -> Any:
                pointer = builder.inttoptr(address, FLOAT.as_pointer())
                return builder.bitcast(builder.gep(pointer, [builder.mul(pixel, step)]), kind.as_pointer())

            zero = FLOAT(0.0) if kind is FLOAT else VECTOR([0.0] * WIDTH)
            total = cgutils.alloca_once_value(builder, zero)
            with cgutils.for_range(builder, count) as pixels:
                value = zero
                if operation != "clear":
                    value = builder.load(place(source, source_step, pixels.index), align=4)
                if operation == "add_up":
                    builder.store(builder.fadd(builder.load(total), value), total)
                else:
                    builder.store(value, place(target, target_step, pixels.index), align=4)
            if operation == "add_up":
                last = place(target, target_step, INT(0))
                builder.store(builder.fadd(builder.load(last, align=4), builder.load(total)), last, align=4)
            return context.get_dummy_value()

        return signature, generate

    return loop


_copy_vector, _copy_number = _loop(VECTOR, "copy"), _loop(FLOAT, "copy")
_clear_vector, _clear_number = _loop(VECTOR, "clear"), _loop(FLOAT, "clear")
_add_vector, _add_number = _loop(VECTOR, "add_up"), _loop(FLOAT, "add_up")


@intrinsic
def address(typing_context, array):  # type: ignore[no-untyped-def]
    """Where an array's numbers begin. Numba's `array.ctypes.data` is unsigned, and sums with it become floats."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, INT)

    return types.intp(array), generate


@part
def copy(source: int, source_step: int, target: int, target_step: int, pixels: int, channels: int) -> None:
    """target[p, c] = source[p, c]."""
    vectors = channels - channels % WIDTH
    for c in range(0, 4 * vectors, 4 * WIDTH):
        _copy_vector(source + c, source_step, target + c, target_step, pixels)
    for c in range(4 * vectors, 4 * channels, 4):
        _copy_number(source + c, source_step, target + c, target_step, pixels)


@part
def clear(target: int, target_step: int, pixels: int, channels: int) -> None:
    """target[p, c] = 0."""
    vectors = channels - channels % WIDTH
    for c in range(0, 4 * vectors, 4 * WIDTH):
        _clear_vector(0, 0, target + c, target_step, pixels)
    for c in range(4 * vectors, 4 * channels, 4):
        _clear_number(0, 0, target + c, target_step, pixels)


@part
def add_up(source: int, source_step: int, total: int, pixels: int, channels: int) -> None:
    """total[c] += sum over p of source[p, c]."""
    vectors = channels - channels % WIDTH
    for c in range(0, 4 * vectors, 4 * WIDTH):
        _add_vector(source + c, source_step, total + c, 0, pixels)
    for c in range(4 * vectors, 4 * channels, 4):
        _add_number(source + c, source_step, total + c, 0, pixels)


@part
def inside(offset: int, step: int, size: int, count: int) -> tuple[int, int]:
    """Which i of 0 to `count` have 0 <= offset + i * step < size: those from the first result to the second."""
    low = min(max(0, -(offset // step)), count)
    return low, max(min(count, (size - 1 - offset) // step + 1), low)
