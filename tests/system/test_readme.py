"""The README does what it says: each command runs as it stands, in order, and shows what is printed below it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import clean_environment

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_RUN = "make test"
"""The one command that is passed over: it is what runs this test."""
CUT = "..."
NOT_COPIED = shutil.ignore_patterns(
    ".venv", ".git", "__pycache__", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info"
)
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?"), "<time>"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "<hash>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r" +"), " "),
)
FIGURES = (*VARYING, (re.compile(r"-?\d[\d,.:]*"), "<figure>"))
"""The demo's amounts depend on the day of the week."""


class Step(NamedTuple):
    """Commands to type, and the lines that they are shown to print."""

    commands: str
    shown: list[str]


def steps() -> Iterator[Step]:
    found = FENCE.findall(README)
    for place, (language, text) in enumerate(found):
        if language == "sh":
            behind = found[place + 1] if place + 1 < len(found) else ("", "")
            yield Step(text, behind[1].splitlines() if behind[0] == "text" else [])


def plain(text: str, varying: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    """A line without what differs from run to run."""
    for pattern, name in varying:
        text = pattern.sub(name, text)
    return text.strip()


def test_each_command_runs_and_prints_what_is_shown(tmp_path):
    """A reader who types the README into a terminal, block by block in a fresh checkout, sees what it shows.

    Lines may be left out at `...`; the figures of the demo are those of its day, all others are held to.
    """
    checkout = tmp_path / "chargeline"
    shutil.copytree(ROOT, checkout, ignore=NOT_COPIED)
    has_been_set_up(checkout)
    environment = {
        **clean_environment(),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "TMPDIR": str(tmp_path),
        "PATH": f"{checkout / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    ran = 0
    try:
        for step in steps():
            if step.commands.strip() == NOT_RUN:
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", step.commands],
                cwd=checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{step.commands}\n{done.stdout}"
            assert_shown(step, done.stdout)
            ran += 1
    finally:
        down = ["chargeline", "down", "--wipe", "--yes"]
        subprocess.run(down, cwd=checkout, env=environment, capture_output=True, timeout=60, check=False)
    assert ran > 5
    assert not (checkout / "first").exists(), "what the reader wrote is gone in the end"
    assert not (tmp_path / "data" / "chargeline" / "kafka").exists(), "and so are the data"


def has_been_set_up(checkout: Path) -> None:
    """Give the checkout the packages that are here, as if `make setup` had just been run; nothing here is written to."""
    environment = checkout / ".venv"
    environment.mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name not in {".packages", ".made"}:
            (environment / part.name).symlink_to(part)
    for stamp in (".packages", ".made"):
        (environment / stamp).touch()


def assert_shown(step: Step, output: str) -> None:
    """Each line shown is printed, in that order; which process is ready first is chance."""
    varying = FIGURES if "make demo" in step.commands else VARYING
    printed = iter([plain(line, varying) for line in ready_by_name(output.splitlines())])
    for line in ready_by_name(step.shown):
        if line != CUT:
            assert plain(line, varying) in printed, f"not printed, or not there: {line}\n{output}"


def ready_by_name(lines: Iterable[str]) -> Iterator[str]:
    """The lines, with each run of processes that became ready in the order of their names."""
    for is_ready, group in groupby(lines, key=lambda line: line.endswith(" is ready")):
        run = list(group)
        yield from sorted(run) if is_ready else run


def test_links_lead_somewhere():
    """Every file that the README and the guides point to is there."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
