"""Valid bytes made hostile: one seed of chance, one input. The same number makes the same input anywhere."""

import random
from collections.abc import Sequence
from typing import Final

INPUT_BYTES_MAX: Final = 200_000


def zigzag(value: int) -> bytes:
    """Write a number as Avro does, of however many bytes it takes."""
    rest = (value << 1) ^ (value >> 200)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


LENGTHS: Final = [
    zigzag(n) for n in (-1, 1, 63, -64, 255, 257, 2**31 - 1, 2**31, -(2**31) - 1, 2**40, 2**53, 2**60, 2**62, 2**63 - 1)
]
BINARY: Final = [
    *LENGTHS, b"\xc3\x01", b"\x00\x00\x00\x00\x01", b"\x80" * 10, b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x82\x00",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\x00", b"\x01", b"\x02", b"\x03", b"\xfe\xff\xff\xff\x0f",
    b"\x01\x02", b"\x00" * 64, b"\x02" * 64,
]  # fmt: skip
TEXT: Final = [
    b"0", b"-0", b"-1", b"1e999", b"NaN", b"Infinity", b"9" * 5_000, b"9" * 30, b"0." + b"0" * 30 + b"1", b"null",
    b"true", b"{", b"}", b"[", b"]", b'"', b"''", b",", b":", b": ", b"\n", b"\r", b"\t", b"\0", b" ", b"#", b"&a ",
    b"*a", b"<<: *a", b"!!python/object:os.system ", b"!!binary ", b"--- ", b"...", b"%YAML 9.9\n", b"|", b">", b"@",
    b"\\u0000", b"\\ud800", b"\\ude00", b"\\u2028", b"\xef\xbb\xbf", b"\xff", b"\xc3\x28", b"\xe2\x80\xae", b"+", b"-",
    b"T24:00:00Z", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"2026-02-30", b"2026-W01-1", b":00",
    b"24:00", b"/", b"../../etc/passwd", b"a" * 5_000, b"[" * 5_000, b"{a: " * 500, b'{"a":' * 2_000, b"- " * 400,
    b"+86", b"*#", b"1-9999", b"1-" + b"9" * 5_000, b";" * 300, b'"' * 301, b"\xd9\xa1\xd9\xa2", b"type", b"__class__",
]  # fmt: skip


def mutated(seeds: Sequence[bytes], chance: random.Random, *, text: bool) -> bytes:
    """Return one input: mostly a seed with a few things done to it, now and then noise."""
    kind = chance.random()
    if kind < 0.03:
        return chance.randbytes(chance.randrange(64))
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 5, 9))):
        _mutate(data, seeds, chance, text=text)
    return bytes(data[:INPUT_BYTES_MAX])


def _mutate(data: bytearray, seeds: Sequence[bytes], chance: random.Random, *, text: bool) -> None:
    at = chance.randrange(len(data) + 1)
    to = min(len(data), at + chance.choice((1, 1, 2, 4, 8, 32)))
    match chance.randrange(9):
        case 0:
            if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
        case 1:
            del data[at:to]
        case 2:
            data[at:at] = data[at:to] * chance.choice((1, 2, 50))
        case 3:
            del data[at:]
        case 4:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        case 5:
            other = chance.choice(seeds)
            begin = chance.randrange(len(other) + 1)
            data[at:to] = other[begin : begin + chance.randrange(1, 65)]
        case 6 if text and data:
            _replace_word(data, at % len(data), chance)
        case 7:
            data[at:to] = chance.choice(TEXT if text else BINARY)
        case _:
            data[at:at] = chance.choice(TEXT if text else BINARY)


def _replace_word(data: bytearray, at: int, chance: random.Random) -> None:
    """Put something else where a word, a number or a quoted text stands."""
    begin = end = at
    while begin > 0 and (data[begin - 1 : begin].isalnum() or data[begin - 1] in b"+-._"):
        begin -= 1
    while end < len(data) and (data[end : end + 1].isalnum() or data[end] in b"+-._"):
        end += 1
    data[begin:end] = chance.choice(TEXT)
