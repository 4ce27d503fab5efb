"""Every command of the README works as it stands, in its order, in a fresh copy."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_HERE = {"make demo\n": "the system tests of the command line run the demo", "make test\n": "that is this very run"}

pytestmark = pytest.mark.system


def blocks() -> list[str]:
    """Return the shell blocks in order, but for those that other tests run."""
    found = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert set(NOT_HERE) <= set(found)
    return [block for block in found if block not in NOT_HERE]


def test_every_block_runs_as_it_stands(tmp_path):
    """A reader who copies the commands one after the other sees each of them succeed, and what the README shows."""
    bin_directory = tmp_path / ".venv" / "bin"
    bin_directory.mkdir(parents=True)
    for name in ("chargeline", "python3"):
        (bin_directory / name).symlink_to(ROOT / ".venv" / "bin" / name)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHARGELINE_")}
    environment["XDG_DATA_HOME"] = str(tmp_path / "data")
    script = "set -euo pipefail\n" + "\n".join(blocks())
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        chargeline = [str(ROOT / ".venv" / "bin" / "chargeline"), "down"]
        subprocess.run(chargeline, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    shown = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("  2 x 1 min at")]
    assert shown
    for line in (*shown, "charge quote: 0.24 CNY", "1 records sent: 1 CHARGED", "1 records sent: 1 DUPLICATE"):
        assert line in done.stdout.splitlines(), line
    assert "books balance" in done.stdout
    assert not (tmp_path / "data" / "chargeline" / "kafka").exists()
    shutil.rmtree(tmp_path / "first")
