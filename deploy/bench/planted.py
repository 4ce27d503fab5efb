"""Whether `bench-check` sees a slow-down: it is run over a copy of the sources in which charge is slowed down by 30 %.

python -m deploy.bench.planted [arguments of deploy.bench.check]      exit 0: it was seen

In the copy each batch of charge costs 1 / 0.7 of the processor time that it takes here. Nothing of this checkout is
changed, and the copy is removed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy.bench.results import BASELINE, CHECKOUT

PACKAGES: Final = ("pipeline", "consumers", "deploy", "schemas")
SLOWED: Final = "pipeline/charge/worker.py"
STEP: Final = "records = owner.step()\n"
SLOW_STEP: Final = """\
cpu = time.thread_time()
            records = owner.step()
            cpu = (time.thread_time() - cpu) / 0.7 - (time.thread_time() - cpu) + time.thread_time()
            while time.thread_time() < cpu:
                pass
"""


def plant(into: Path) -> None:
    """Copy the sources, what is compiled of them included, and slow charge down in the copy."""
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, into / package, ignore=shutil.ignore_patterns("__pycache__"))
    for shared in CHECKOUT.glob("*__mypyc*.so"):
        shutil.copy(shared, into)
    (into / "bench").mkdir()
    if BASELINE.exists():
        shutil.copy(BASELINE, into / "bench")
    source = (into / SLOWED).read_text()
    assert source.count(STEP) == 1, f"{SLOWED} does not call a batch as it used to; say here how it does"
    (into / SLOWED).write_text(source.replace(STEP, SLOW_STEP))


def main() -> int:
    """Plant, check, and say whether the check failed as it should."""
    with tempfile.TemporaryDirectory(prefix="chargeline-planted-") as folder:
        plant(Path(folder))
        command = [sys.executable, "-m", "deploy.bench.check", *sys.argv[1:]]
        done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": folder}, check=False)
    seen = done.returncode == 1
    sys.stderr.write("the slow-down was seen\n" if seen else f"not seen: exit code {done.returncode}\n")
    return 0 if seen else 1


if __name__ == "__main__":
    sys.exit(main())
