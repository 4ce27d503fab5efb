"""Fuzz every decoder: valid bytes made hostile by chance, then guided by coverage (atheris, where it is installed).

    python tests/fuzz/fuzz.py --inputs 1000000 [--decoder NAME …] [--seed S] [--engine chance|coverage|both]
    python tests/fuzz/fuzz.py --decoder NAME --replay HEX        one input again, and what it brings about
    python tests/fuzz/fuzz.py --decoder NAME --seed S --number N  the N-th input of chance again

Each decoder runs in a process of its own, under a limit of memory and a limit of time for each input, so that a crash,
a hang and a swelling are findings like any other. A finding is one line that replays it. Exit code 1: there are some.
"""

import argparse
import importlib.util
import mmap
import multiprocessing
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit"), str(HERE.parents[1])]

INPUT_CPU_S = 5.0
"""of one input: beyond it, it hangs"""
GROWTH_BYTES_MAX = 192 * 1024 * 1024
"""of a decoder's process over all its inputs; a single one that needs more is refused by the limit of memory"""
ADDRESS_BYTES = 1536 * 1024 * 1024
"""beside what the process has mapped before its first input"""
LOOK_EVERY = 128
BROKEN = "broken"
"""Not among the decoders: what the engine guided by coverage is tried on."""
FINDINGS_MAX = 5
"""of a decoder: then the next one"""
COVERAGE_SHARE = 0.3
"""of the inputs: guided by coverage, and slower"""
COVERAGE_BYTES_MAX = 4_096
REPLAY_BYTES_MAX = 1_024


class HangError(BaseException):
    """One input took longer than any may. No `except Exception` of a decoder holds it up."""


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--decoder", action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("chance", "coverage", "both"), default="both")
    parser.add_argument("--number", type=int)
    parser.add_argument("--replay")
    parser.add_argument("--guided", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.guided:
        guide(asked.decoder[0], asked.guided, asked.seed, Path(asked.corpus))
    import fuzz_targets

    unknown = [name for name in asked.decoder or () if name not in fuzz_targets.TARGETS]
    if unknown:
        parser.error(f"no such decoder: {', '.join(unknown)}; there are {', '.join(fuzz_targets.TARGETS)}")
    names = asked.decoder or list(fuzz_targets.TARGETS)
    if asked.replay is not None or asked.number is not None:
        data = bytes.fromhex(asked.replay) if asked.replay is not None else nth(names[0], asked.seed, asked.number)
        print(f"{names[0]}: {len(data)} bytes: {data[:200]!r}")
        print("accepted" if fuzz_targets.TARGETS[names[0]].run(data) else "refused")
        return 0
    guided = asked.engine != "chance" and has_atheris()
    share = {"chance": 0.0, "coverage": 1.0, "both": COVERAGE_SHARE}[asked.engine] if guided else 0.0
    weights = sum(fuzz_targets.TARGETS[name].weight for name in names)
    findings: list[str] = []
    done = 0
    began = time.monotonic()
    for name in names:
        inputs = -(-asked.inputs * fuzz_targets.TARGETS[name].weight // weights)
        by_coverage = int(inputs * share)
        found, told = by_chance(name, inputs - by_coverage, asked.seed)
        findings += found
        if by_coverage:
            findings += by_guide(name, by_coverage, asked.seed)
        done += inputs
        print(f"{name:24} {inputs:9,} inputs  {told}", flush=True)
    print(f"{done:,} inputs to {len(names)} decoders in {time.monotonic() - began:.0f} s: {len(findings)} findings")
    print("\n".join(findings))
    return 1 if findings else 0


def has_atheris() -> bool:
    """Tell whether atheris is here; where it must be (CI) its absence is an error."""
    if importlib.util.find_spec("atheris") is not None:
        return True
    if os.environ.get("CI"):
        raise SystemExit("atheris is not installed")
    print("guided by coverage: left out, atheris is not installed", file=sys.stderr)
    return False


def nth(name: str, seed: int, number: int) -> bytes:
    """Return the n-th input of chance: the same everywhere."""
    from fuzz_mutations import mutated
    from fuzz_targets import TARGETS

    target = TARGETS[name]
    return mutated(target.seeds, random.Random(f"{name}/{seed}/{number}"), text=target.text)


def replay_line(name: str, data: bytes) -> str:
    """Return the line that runs this input again."""
    if len(data) <= REPLAY_BYTES_MAX:
        return f"python tests/fuzz/fuzz.py --decoder {name} --replay {data.hex() or chr(39) * 2}"
    with tempfile.NamedTemporaryFile(prefix=f"finding-{name}-", delete=False) as kept:
        kept.write(data)
    return f'python tests/fuzz/fuzz.py --decoder {name} --replay "$(xxd -p -c0 {kept.name})"'


# --- by chance ---


def by_chance(name: str, inputs: int, seed: int) -> tuple[list[str], str]:
    """Run so many inputs in a process of their own; return the findings, and a few words."""
    with mmap.mmap(-1, 16) as board:
        receiving, sending = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=_child, args=(name, inputs, seed, board, sending))
        with warnings.catch_warnings():  # the test runner has threads of its own; the child uses none of what they hold
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        sending.close()
        try:
            findings, told = receiving.recv()
        except EOFError:
            child.join()
            (number,) = struct.unpack_from("<q", board)
            line = f"python tests/fuzz/fuzz.py --decoder {name} --seed {seed} --number {number}"
            return [f"{name}: ended the process with {child.exitcode}: {line}"], "died"
        child.join()
        return findings, told


def _child(name: str, inputs: int, seed: int, board: mmap.mmap, sending: Any) -> None:
    from fuzz_targets import TARGETS

    run = TARGETS[name].run
    for data in TARGETS[name].seeds:
        run(data)
    _limit_memory()
    signal.signal(signal.SIGVTALRM, _hang)
    findings: list[str] = []
    accepted = 0
    before = _rss_bytes()
    began = time.process_time()
    for number in range(inputs):
        struct.pack_into("<q", board, 0, number)
        data = nth(name, seed, number)
        signal.setitimer(signal.ITIMER_VIRTUAL, INPUT_CPU_S)
        try:
            accepted += run(data)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
            findings.append(f"{name}: {_short(error)}: {replay_line(name, data)}")
            if len(findings) >= FINDINGS_MAX:
                break
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if number % LOOK_EVERY == 0 and _rss_bytes() - before > GROWTH_BYTES_MAX:
            line = f"python tests/fuzz/fuzz.py --decoder {name} --seed {seed} --number {number}"
            findings.append(
                f"{name}: the process has grown by {_rss_bytes() - before:,} bytes by input {number}: {line}"
            )
            break
    spent = time.process_time() - began
    grown = (_rss_bytes() - before) // 1024 // 1024
    told = (
        f"{accepted / max(inputs, 1):4.0%} accepted, {inputs / max(spent, 1e-9):7,.0f} a second, grown by {grown} MiB"
    )
    sending.send((findings, told))


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise HangError(f"no answer within {INPUT_CPU_S:g} s of CPU")


def _limit_memory() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_BYTES, resource.RLIM_INFINITY))


def _rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _short(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} ({str(error)[:120]!r} at {Path(last.filename).name}:{last.lineno})"


# --- guided by coverage ---


def by_guide(name: str, inputs: int, seed: int) -> list[str]:
    """Let atheris look for inputs that reach new code; return the findings."""
    from fuzz_targets import TARGETS

    with tempfile.TemporaryDirectory(prefix="chargeline-fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for n, data in enumerate((b"seed",) if name == BROKEN else TARGETS[name].seeds):
            (corpus / f"seed-{n}").write_bytes(data)
        command = [sys.executable, str(Path(__file__)), "--decoder", name, "--guided", str(inputs), "--seed", str(seed)]
        done = subprocess.run([*command, "--corpus", str(corpus)], capture_output=True, check=False)
        made = [path.read_bytes() for path in Path(folder).glob("finding-*")]
        if done.returncode == 0 and not made:
            return []
        said = next(
            (line for line in done.stdout.decode().splitlines() if "Error" in line), f"exit code {done.returncode}"
        )
        if not made:
            print(done.stderr.decode()[-2_000:], file=sys.stderr)
        return [f"{name}: {said}: {replay_line(name, data)}" for data in made] or [f"{name}: {said}"]


def guide(name: str, inputs: int, seed: int, corpus: Path) -> None:
    """Run as atheris's process; it ends it."""
    import atheris

    with atheris.instrument_imports(include=["pipeline", "yaml", "fuzz_targets"]):
        import fuzz_targets
    run = fuzz_targets.broken if name == BROKEN else fuzz_targets.TARGETS[name].run
    options = {
        "runs": inputs, "seed": seed, "max_len": COVERAGE_BYTES_MAX, "timeout": 20, "rss_limit_mb": 1_500,
        "detect_leaks": 0, "artifact_prefix": f"{corpus.parent}/finding-",
    }  # fmt: skip
    atheris.Setup(
        [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)],
        lambda data: run(data) and None,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
