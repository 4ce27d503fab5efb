"""`chargeline bench` as somebody types it: a small run's figures are sane, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import CommandLine, clean_environment

from deploy.local.process import LocalServerError
from deploy.local.servers import plan
from pipeline.adapters.kafka.client import admin
from pipeline.adapters.store.redis import connect
from pipeline.settings import Settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

KEYS = {
    "records_per_s",
    "charge_records_per_s",
    "mediate_records_per_s",
    "floor_records_per_s",
    "ratio_to_floor",
    "charge_ratio_to_floor",
    "latency_ms",
    "cpu_us_per_record",
    "core",
    "machine",
    "memory_mib",
}
SMALL = ("bench", "--records", "2000", "--accounts", "200", "--partitions", "2")


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """What is left behind is found here."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))


def skip_without_servers(folder: Path) -> None:
    try:
        plan(Settings(data_dir=folder), lambda _line: None)
    except LocalServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no servers here: {error}")


def check_sane(figures) -> None:
    assert set(figures) >= KEYS
    for name in ("records_per_s", "charge_records_per_s", "mediate_records_per_s", "floor_records_per_s"):
        assert 50 < figures[name] < 1_000_000, name
    assert figures["ratio_to_floor"] == pytest.approx(
        figures["records_per_s"] / figures["floor_records_per_s"], abs=0.01
    )
    waited = figures["latency_ms"]
    assert 0 < waited["p50"] <= waited["p95"] <= waited["p99"] <= waited["max"]
    assert figures["dead_letters"] == 0
    assert figures["core"] in ("compiled", "pure")


@pytest.mark.faults
def test_a_small_run_on_servers_of_its_own(tmp_path):
    """Every figure of the contract is there and possible, each record has its charge or is a repeat; nothing is left."""
    skip_without_servers(tmp_path / "probe")
    done = CommandLine(tmp_path / "data")(*SMALL, "--rate", "500", "--json")
    (line,) = done.stdout.splitlines()
    figures = json.loads(line)
    check_sane(figures)
    assert figures["loads"]["asked"]["records_per_s"] == 500
    for load in figures["loads"].values():
        assert set(load["kinds"]) <= {"CHARGED", "DUPLICATE"}
        assert sum(load["kinds"].values()) == load["records"]
    assert set(figures["memory_mib"]) == {"kafka", "redis", "mediate-1", "charge-1"}
    assert 100 < figures["view_bytes"]["account"]["bytes"] < 5_000
    assert 100 < figures["topic_bytes_per_record"]["audit"] < 5_000
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.faults
def test_on_given_servers_nothing_of_others_is_touched(stack, tmp_path):
    """A topic and keys that were there before are there after, and nothing else is."""
    client = connect(stack)
    client.set("account:{0}:somebody", "else")
    client.set("ledger:{0}", "mine")
    before = set(admin(stack).list_topics(timeout=10).topics)
    given = {
        "KAFKA__BOOTSTRAP_SERVERS": str(stack.kafka.bootstrap_servers),
        "REDIS__URL": str(stack.redis.url),
    }
    done = CommandLine(tmp_path / "data", **given)(*SMALL, "--json")
    figures = json.loads(done.stdout)
    check_sane(figures)
    assert set(figures["memory_mib"]) == {"mediate-1", "charge-1"}, "processes of given servers are not ours to see"
    assert set(client.keys("*")) == {"account:{0}:somebody", "ledger:{0}"}
    assert client.get("ledger:{0}") == "mine"
    client.close()
    deadline = time.monotonic() + 20
    while True:
        left = {name for name in admin(stack).list_topics(timeout=10).topics if not name.startswith("__")} - before
        if not left:
            break
        assert time.monotonic() < deadline, f"topics are left: {left}"
        time.sleep(0.2)
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.faults
def test_stopped_half_way_it_leaves_nothing(tmp_path):
    """Ctrl-C stops every process and removes the folder."""
    skip_without_servers(tmp_path / "probe")
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "bench", "--accounts", "1000"],
        env={**clean_environment(), "CHARGELINE_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("the floor"):
            break
    (folder,) = (tmp_path / "tmp").glob("chargeline-bench-*")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert not folder.exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in running
