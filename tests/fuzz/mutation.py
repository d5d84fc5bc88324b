"""Inputs that are nearly right: whole files with mistakes in them, as attackers and bad disks make them."""

import re
from collections.abc import Callable, Sequence
from random import Random

LARGEST = 1 << 16
"""Bytes of an input: what is worth finding is found in small ones, and they are quick."""

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 100_000, 2**31 - 1, 2**31, 2**32 - 1, 2**32)
_HUGE = (2**53, 2**60, 2**63 - 1, 2**63, 2**64 - 1, 10**400, -1, -512, -(2**31), -(2**63))
_WORDS = (b"", b"nan", b"inf", b"-inf", b"1e999", b"null", b"true", b"0x1", b"1_000", b"'", b'"', b"\0", b"\x1b[2J")
_REPEATED = (b"[", b"{", b'{"a":', b"(", b"a.", b"<a>", b"\xff", b"\0", b"9", b'"', b",", b" ", b"\n", b"\xff\xc0")


def mutated(random: Random, seeds: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """One of the seeds with a few mistakes; sometimes with none, sometimes nothing but noise."""
    if random.random() < 0.01:
        return random.randbytes(random.randrange(300))
    data = bytearray(random.choice(seeds))
    for _ in range(min(8, int(random.expovariate(0.5)))):
        random.choice(_MISTAKES)(random, data)
        if tokens and random.random() < 0.3:
            _put(random, data, random.choice(tokens))
        if random.random() < 0.05:
            _splice(random, data, random.choice(seeds))
        del data[LARGEST:]
    return bytes(data)


def _place(random: Random, data: bytearray) -> int:
    """Anywhere, but headers more often than what follows them."""
    return random.randrange(min(len(data), random.choice((16, 64, 512, len(data) or 1))) + 1)


def _put(random: Random, data: bytearray, token: bytes) -> None:
    at = _place(random, data)
    data[at : at + random.choice((0, len(token)))] = token


def _flip(random: Random, data: bytearray) -> None:
    if data:
        at = min(_place(random, data), len(data) - 1)
        data[at] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray) -> None:
    _put(random, data, bytes([random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))]))


def _binary_number(random: Random, data: bytearray) -> None:
    size = random.choice((1, 2, 4, 8))
    value = random.choice(_NUMBERS + _HUGE) % (1 << 8 * size)
    at = _place(random, data)
    data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def _written_number(random: Random, data: bytearray) -> None:
    """In place of a number in digits."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[: 1 << 14]))
    if found:
        start, end = random.choice(found).span()
        data[start:end] = random.choice((str(random.choice(_NUMBERS + _HUGE)).encode(), random.choice(_WORDS)))


def _cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


def _remove(random: Random, data: bytearray) -> None:
    at = _place(random, data)
    del data[at : at + random.choice((1, 2, 4, 16, 512, random.randrange(1000)))]


def _copy(random: Random, data: bytearray) -> None:
    first, to = _place(random, data), _place(random, data)
    data[to:to] = data[first : first + random.choice((1, 2, 16, 100, 512, 2000))]


def _noise(random: Random, data: bytearray) -> None:
    _put(random, data, random.randbytes(random.choice((1, 2, 4, 8, 64))))


def _word(random: Random, data: bytearray) -> None:
    _put(random, data, random.choice(_WORDS))


def _repeat(random: Random, data: bytearray) -> None:
    if random.random() < 0.2:
        _put(random, data, random.choice(_REPEATED) * random.choice((3, 100, 2000, 20_000)))


def _splice(random: Random, data: bytearray, other: bytes) -> None:
    start = random.randrange(len(other) + 1)
    data[_place(random, data) :] = other[start:]


_MISTAKES: tuple[Callable[[Random, bytearray], None], ...] = (
    _flip,
    _set,
    _binary_number,
    _written_number,
    _cut,
    _remove,
    _copy,
    _noise,
    _word,
    _repeat,
)
