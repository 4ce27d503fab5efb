"""Makes one mistake at a time in a copy of the source and sees which test finds it: run it, or let pytest.

python tests/mutants/mutants.py [part of a name]
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
COPIED: Final = ("pipeline", "consumers", "deploy", "schemas", "tests", "docs", "pyproject.toml", "README.md")
SIMULATION: Final = "tests/simulation/test_simulation_1.py"
"""tried last of all, where it is there"""
AT_ONCE: Final = 2
TRY_MAX_S: Final = 240
FAILED: Final = re.compile(r"^FAILED (\S+?)(?:\[.*?)?(?: - (.*))?$", re.MULTILINE)
WRONG: Final = re.compile(r"\b(SyntaxError|IndentationError|ImportError|ModuleNotFoundError|NameError)\b")


class Mutant(NamedTuple):
    """One mistake; see mutants.yaml."""

    name: str
    costs: str
    file: str
    old: str
    new: str
    kills: list[str]


class Outcome(NamedTuple):
    """What became of it. `killer` None: it lives, or it never was a fair one, and `why` says how."""

    mutant: Mutant
    killer: str | None
    why: str
    seconds: float


def mutants() -> list[Mutant]:
    """Read the list."""
    return [Mutant(**entry) for entry in yaml.safe_load((Path(__file__).with_name("mutants.yaml")).read_text("utf-8"))]


def mutated(mutant: Mutant) -> str:
    """Return the file with the mistake; it must be possible to make in exactly one place, and to read."""
    text = (ROOT / mutant.file).read_text("utf-8")
    assert text.count(mutant.old) == 1, f"{mutant.name}: found {text.count(mutant.old)} times in {mutant.file}"
    text = text.replace(mutant.old, mutant.new)
    if mutant.file.endswith(".py"):
        compile(text, mutant.file, "exec")
    return text


class Copy:
    """A copy of the source tree, pure Python, in which one mistake lives at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("*.so", "__pycache__", ".hypothesis")
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python on the copy, and on nothing else of ours."""
        env = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=TRY_MAX_S,
            check=False,
        )

    def test(self, paths: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run these tests up to the first failure, the same way each time."""
        return self.python(
            "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:randomly",
            "--hypothesis-seed=0", "--tb=line", *paths,
        )  # fmt: skip

    def try_out(self, mutant: Mutant) -> Outcome:
        """Make the mistake, see who finds it, and take it back."""
        begun = time.monotonic()
        file = self.folder / mutant.file
        right = file.read_text("utf-8")
        file.write_text(mutated(mutant), "utf-8")
        try:
            killer, why = self._killer(mutant)
        except subprocess.TimeoutExpired:
            killer, why = None, f"no end within {TRY_MAX_S} s"
        finally:
            file.write_text(right, "utf-8")
        return Outcome(mutant, killer, why, time.monotonic() - begun)

    def _killer(self, mutant: Mutant) -> tuple[str | None, str]:
        if mutant.file.endswith(".py"):
            module = mutant.file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            said = self.python("-c", f"import {module}; print({module}.__file__)")
            if said.stdout.strip() != str(self.folder / mutant.file):
                return None, f"it cannot be imported: {said.stdout}{said.stderr[-300:]}"
        paths = [*mutant.kills, *([SIMULATION] if (self.folder / SIMULATION).exists() else [])]
        for path in paths:
            said = self.test([path])
            found = FAILED.search(said.stdout)
            if said.returncode == 1 and found is not None:
                why = found.group(2) or ""
                if WRONG.search(why):
                    return None, f"it fails for the wrong reason: {why}"
                return found.group(1), why
            if said.returncode != 0:
                return None, f"pytest ended with {said.returncode}: {said.stdout[-600:]}"
        return None, "it lives"


def hunt(wanted: Sequence[Mutant], folder: Path) -> list[Outcome]:
    """Try all of them, two at a time. First the tests must pass where nothing is wrong."""
    copies: SimpleQueue[Copy] = SimpleQueue()
    made = [Copy(folder / str(n)) for n in range(AT_ONCE)]
    said = made[0].test(sorted({path for mutant in wanted for path in mutant.kills}))
    assert said.returncode == 0, f"the tests fail without any mistake:\n{said.stdout[-3_000:]}"
    for copy in made:
        copies.put(copy)

    def one(mutant: Mutant) -> Outcome:
        copy = copies.get()
        try:
            outcome = copy.try_out(mutant)
            print(f"{mutant.name}: {outcome.killer or outcome.why}", flush=True)
            return outcome
        finally:
            copies.put(copy)

    slow_first = sorted(wanted, key=lambda mutant: "contract" not in mutant.kills[0])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, slow_first))


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """One line a mutant: what was wrong, and who found it."""
    lines = []
    for mutant, killer, why, seconds in sorted(outcomes, key=lambda outcome: outcome.mutant.name):
        lines.append(f"{mutant.name:42} {killer or 'SURVIVED: ' + why}  ({seconds:.0f} s)")
    dead = sum(outcome.killer is not None for outcome in outcomes)
    return [*lines, f"{dead} of {len(outcomes)} mutants killed"]


def main() -> int:
    """Hunt those whose name holds the word given, or all."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    with tempfile.TemporaryDirectory(prefix="chargeline-mutants-") as folder:
        outcomes = hunt([mutant for mutant in mutants() if word in mutant.name], Path(folder))
    print("\n".join(table(outcomes)))
    return any(outcome.killer is None for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
