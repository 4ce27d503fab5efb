"""`chargeline` as somebody types it, in a data directory of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.local.process import LocalServerError
from deploy.local.servers import plan
from pipeline.settings import KafkaSettings, RedisSettings, Settings

TIMEOUT_S = 200


def clean_environment() -> dict[str, str]:
    """The shell's environment without its chargeline settings, but for where the broker's jars are."""
    kept = "CHARGELINE_LOCAL__"
    return {name: value for name, value in os.environ.items() if not name.startswith("CHARGELINE_") or kept in name}


class CommandLine:
    """Runs command lines; `settings` are environment names without their CHARGELINE_."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        given = {f"CHARGELINE_{name}": value for name, value in settings.items()}
        self.environment = {**clean_environment(), **given, "CHARGELINE_DATA_DIR": str(data_dir)}

    def __call__(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy.cli", *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: object, code: int = 0) -> list[Any]:
        return [json.loads(line) for line in self(*arguments, "--json", code=code).stdout.splitlines()]

    def one(self, *arguments: object, code: int = 0) -> Any:
        (found,) = self.json(*arguments, code=code)
        return found

    def settings(self) -> Settings:
        """Where the servers are, for what no command does."""
        status = self.one("status")
        return Settings(
            data_dir=Path(status["data_dir"]),
            kafka=KafkaSettings(bootstrap_servers=status["bootstrap_servers"]),
            redis=RedisSettings(url=status["redis_url"]),
        )


@contextmanager
def running(data_dir: Path, *arguments: str, **settings: str) -> Iterator[CommandLine]:
    """Have `chargeline up` while in the block; skips where there are no servers to start, fails there in CI."""
    chargeline = CommandLine(data_dir, **settings)
    try:
        plan(Settings(data_dir=data_dir), lambda _line: None)
    except LocalServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no servers here: {error}")
    try:
        chargeline("up", *arguments)
        yield chargeline
    finally:
        chargeline("down")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
