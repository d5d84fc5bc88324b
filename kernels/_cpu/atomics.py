"""Numbers that several threads read and write at once, machine code by its address, and arrays by theirs."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels._cpu import vector
from minicnn.kernels._cpu.microkernel import INT
from minicnn.kernels._cpu.parts import part
from minicnn.kernels.arrays import Array


def _atomic(operation: str, arguments: int) -> Any:
    """`operation` on the number at an address; everything written before it is seen by who sees its effect."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        place = builder.inttoptr(args[0], INT.as_pointer())
        if operation == "load":
            return builder.load_atomic(place, "acquire", 8)
        if operation == "store":
            builder.store_atomic(args[1], place, "release", 8)
            return context.get_dummy_value()
        if operation == "add":
            return builder.atomic_rmw("add", place, args[1], "acq_rel")
        swapped = builder.cmpxchg(place, args[1], args[2], "acq_rel", "acquire")
        return builder.zext(builder.extract_value(swapped, 1), INT)

    result = types.void if operation == "store" else types.intp
    if arguments == 1:

        @intrinsic
        def atomic(typing_context, place):  # type: ignore[no-untyped-def]
            return result(types.intp), generate
    elif arguments == 2:

        @intrinsic
        def atomic(typing_context, place, value):  # type: ignore[no-untyped-def]
            return result(types.intp, types.intp), generate
    else:

        @intrinsic
        def atomic(typing_context, place, before, after):  # type: ignore[no-untyped-def]
            return result(types.intp, types.intp, types.intp), generate

    return atomic


load, store, add, swap = _atomic("load", 1), _atomic("store", 2), _atomic("add", 2), _atomic("swap", 3)


@intrinsic
def pause(typing_context):  # type: ignore[no-untyped-def]
    """Tell the core that this is waiting."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if instruction := vector.pause():
            name, numbers = instruction
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)] * len(numbers))
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(function, [ir.IntType(32)(number) for number in numbers])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def call(typing_context, task, arguments, part, slot):  # type: ignore[no-untyped-def]
    """Call the function at address `task`."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.VoidType(), [INT] * 3)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def read(typing_context, place):  # type: ignore[no-untyped-def]
    """The number at an address."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load(builder.inttoptr(args[0], INT.as_pointer()))

    return types.intp(types.intp), generate


@intrinsic
def pointer(typing_context, address):  # type: ignore[no-untyped-def]
    """An address as what `carray` takes."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), generate


@part
def floats(address: int, shape: Any) -> Array:
    """The float32 array at an address."""
    return carray(pointer(address), shape, np.float32)
