"""No bytes crash, hang or swell a decoder: a few hundred of each here, a million in `make soak`; and what was found."""

import os
import random
import signal
import tracemalloc

import fuzz as runner
import pytest
from fuzz_mutations import mutated
from fuzz_targets import TARGETS, Target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])
TARIFF = TARGETS["catalogue"].seeds[0]
MIB = 1024 * 1024


@pytest.mark.parametrize("name", TARGETS)
@given(chance=st.randoms(use_true_random=False))
@SLOW
def test_any_bytes(name, chance):
    """Valid bytes made hostile: accepted within bounds, or refused by the decoder's own word."""
    target = TARGETS[name]
    target.run(mutated(target.seeds, chance, text=target.text))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=200))
@SLOW
def test_noise(name, data):
    """Bytes that nobody meant as anything."""
    TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_valid(name):
    """Fuzzing begins with bytes that are accepted: most of them for each decoder."""
    assert TARGETS[name].run(TARGETS[name].seeds[0])


def bomb(levels):
    lines = [b"a: &a [x,x,x,x,x,x,x,x,x]\n"]
    lines += [b"%c: &%c [" % (c, c) + b",".join([b"*%c" % (c - 1)] * 9) + b"]\n" for c in range(98, 98 + levels)]
    return b"".join(lines)


def deep(data):
    return b'{"a":' * data + b"1" + b"}" * data


USAGE = TARGETS["avro-usage_record"].seeds[0]
FOUND = {
    "brackets without end ended the process in C": ("catalogue", b"a: " + b"[" * 100_000),
    "brackets that close": ("catalogue", b"a: " + b"[" * 900 + b"]" * 900),
    "aliases that multiply": ("catalogue", bomb(20)),
    "an alias of itself": ("catalogue", b"a: &a [*a]\n"),
    "two documents": ("catalogue", TARIFF + b"---\n" + TARIFF),
    "a band that begins at no hour": ("catalogue", TARIFF.replace(b"'08:00'", b"':00'")),
    "a file name with a zero byte": ("catalogue", TARIFF.replace(b"decks/world.csv", b'"a\\0b"')),
    "a file name too long": ("catalogue", TARIFF.replace(b"decks/world.csv", b"a" * 5_000)),
    "a zone's name too long": ("catalogue", TARIFF.replace(b"Asia/Shanghai", b"a" * 5_000)),
    "half a surrogate": ("catalogue", b'operator: "\\uD800"\n' + TARIFF),
    "a quantity of 5000 digits": ("catalogue", TARIFF.replace(b"quantity: 100", b"quantity: " + b"9" * 5_000)),
    "a field beyond the CSV reader's limit": ("price-list", b"code,rate\n" + b"1" * 200_000 + b",1\n"),
    "a range of 5000 digits": ("price-list", b"code,rate\n1-" + b"9" * 5_000 + b",1\n"),
    "half a surrogate as a key of usage": ("usage-json", TARGETS["usage-json"].seeds[0][:-1] + b', "\\ud800": 1}'),
    "half a surrogate as a key of a command": ("command-json", TARGETS["command-json"].seeds[0][:-1] + b', "\\ud800": 1}'),
    "usage nested too deep": ("usage-json", deep(20_000)),
    "a command nested too deep": ("command-json", deep(8_000)),
    "a registry's answer nested too deep": ("registry", deep(100_000)),
    "an int of more than 32 bits": (
        "avro-usage_record",
        bytes.fromhex(
            "c301644aaf5df179a0e0047233086d736331000200021c2b3836313339303030303030303100000080befbe1bd68000080897afeffffffff"
            "ffffffff010100000000000000"
        ),
    ),
    "a start in the year 119286493": (
        "charge-usage",
        bytes.fromhex(
            "75c301d7ed5b1fee740823047234086d736331000400021c2b383631333930303030303030310000020a313030383680bea8c3f3fbe1bd68"
            "000000020100000000000000026180f8b2e5bd6806726177000000"
        ),
    ),
    "a command given in the year 933912": (
        "charge-command",
        bytes.fromhex(
            "63c30152d4db7d5f0bd5550c046331026180f8f8f8b2e5bd6808746573740000000000000000000202780000000000000000"
        ),
    ),
    "a string of 2^60 bytes": ("usage", USAGE[:10] + b"\x80" * 8 + b"\x20" + USAGE[11:]),
    "a list of 2^60 nothings": ("avro-account_command", TARGETS["avro-account_command"].seeds[0][:40] + b"\x80" * 8 + b"\x20"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), FOUND.values(), ids=FOUND)
def test_what_was_found_stays_mended(name, data):
    """Inputs that once brought a decoder down, or that bring down others of its kind, and the memory they take."""
    target = TARGETS[name]
    target.run(target.seeds[0])  # what is made once is not the input's
    tracemalloc.start()
    try:
        target.run(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB + 64 * len(data), f"{peak:,} bytes for an input of {len(data):,}"


def explode(_data):
    raise ZeroDivisionError


def hang(_data):
    while True:
        pass


HELD: list[bytes] = []


def swell(_data):
    HELD.append(bytes(random.randbytes(1) * MIB))
    return False


def die(_data):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("decoder", "told"),
    [(explode, "ZeroDivisionError"), (hang, "HangError"), (swell, "has grown by"), (die, "ended the process with -9")],
)
def test_the_runner_finds_a_broken_decoder(decoder, told, monkeypatch):
    """A crash, a hang, a swelling and a death are findings, each with the line that replays it."""
    calls = []

    def sound_at_first(data):
        calls.append(data)
        return decoder(data) if len(calls) > 1 else True

    monkeypatch.setitem(TARGETS, "broken", Target((b"seed",), sound_at_first, False, 1))
    monkeypatch.setattr(runner, "INPUT_CPU_S", 0.2)
    monkeypatch.setattr(runner, "FINDINGS_MAX", 1)
    findings, _ = runner.by_chance("broken", 1_000, 7)
    assert len(findings) == 1
    assert told in findings[0]
    assert "python tests/fuzz/fuzz.py --decoder broken --" in findings[0]


@pytest.mark.skipif(not runner.has_atheris(), reason="atheris is not installed")
def test_coverage_guides_to_a_broken_decoder(tmp_path):
    """The other engine runs a decoder, and what it finds is told with a line that replays it."""
    assert runner.by_guide("detect-format", 2_000, 1) == []
    (found,) = runner.by_guide("broken", 200_000, 1)
    assert "ZeroDivisionError" in found
    data = bytes.fromhex(found.rpartition(" ")[2])
    assert data.startswith(b"ab")


def test_a_number_is_one_input():
    """The line that replays a finding brings about the same bytes in any process."""
    assert runner.nth("usage", 3, 11) == runner.nth("usage", 3, 11)
    assert len({runner.nth("usage", 3, n) for n in range(50)}) > 40
