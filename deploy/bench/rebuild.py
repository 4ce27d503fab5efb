"""How long a wiped Redis takes to be made anew: from the whole ledger, and from a snapshot and the rest.

python -m deploy.bench.rebuild [--events N] [--partitions P] [--json]

The ledger is written by a real charge process. Redis is emptied, and what the rebuild makes is held against what charge
had made, key by key and expiry by expiry.
"""

import argparse
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.bench import charging, load
from deploy.local.servers import embedded
from pipeline.adapters.kafka.topics import create_topics
from pipeline.adapters.store.dump import dump_partition
from pipeline.adapters.store.redis import connect
from pipeline.charge.recovery import rebuild
from pipeline.charge.snapshots import snapshot
from pipeline.domain import charging as core
from pipeline.settings import Settings

RECORDS_AN_ACCOUNT: Final = 50
REST: Final = 100
"""One in so many events comes after the snapshot."""
BILLION: Final = 1_000_000_000


class Took(NamedTuple):
    """Wall time, and the processor time of this process and of those it started."""

    seconds: float
    cpu_s: float


def main() -> int:
    """Measure on servers of its own, which are gone afterwards."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.rebuild", description="How long a rebuild takes.")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chargeline-rebuild-") as directory:
        own = Settings(data_dir=Path(directory))
        kafka = own.kafka.model_copy(update={"ledger_partitions": arguments.partitions})
        with embedded(own.model_copy(update={"kafka": kafka}), _say) as addresses:
            kafka = kafka.model_copy(update={"bootstrap_servers": addresses.bootstrap_servers})
            redis = own.redis.model_copy(update={"url": addresses.redis_url})
            settings = own.model_copy(update={"kafka": kafka, "redis": redis})
            create_topics(settings)
            figures = measure(settings, arguments.events, arguments.partitions)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value}")
    return 0 if figures["identical"] and figures["identical_from_snapshot"] else 1


def measure(settings: Settings, events: int, partitions: int) -> dict[str, Any]:
    """Write a ledger of about so many events, and make its view anew in both ways."""
    accounts = max(events // (RECORDS_AN_ACCOUNT + 1), 1)
    rest = max(events // REST, 1)
    _say("writing the ledger")
    charging.publish(settings, events - accounts - rest, accounts, partitions)
    charging.run(settings, events - accounts - rest, accounts, partitions)
    _say("taking snapshots")
    snapshots, taking = _timed(lambda: snapshot(settings, range(partitions)))
    load.publish_accepted(settings, rest, accounts, partitions, first=events)
    charging.finish(settings, events, partitions)
    whole = [_digest(settings, partition) for partition in range(partitions)]
    _wipe(settings)
    _say("from the first event")
    folded, first = _timed(lambda: rebuild(settings, from_snapshots=False))
    identical = whole == [_digest(settings, partition) for partition in range(partitions)]
    _wipe(settings)
    _say("from the snapshots")
    _, rested = _timed(lambda: rebuild(settings))
    return {
        "core": "compiled" if (core.__file__ or "").endswith((".so", ".pyd")) else "pure",
        "events": folded,
        "accounts": accounts,
        "partitions": partitions,
        "rebuild_s": round(first.seconds, 1),
        "rebuild_cpu_us_per_event": round(first.cpu_s / folded * 1e6, 1),
        "events_per_s": round(folded / first.seconds),
        "hours_per_billion_events": round(first.seconds / folded * BILLION / 3600, 1),
        "identical": identical,
        "snapshot_s": round(taking.seconds, 1),
        "snapshot_bytes": sum(taken.path.stat().st_size for taken in snapshots),
        "from_snapshot_s": round(rested.seconds, 1),
        "events_behind_snapshot": folded - sum(taken.seq for taken in snapshots),
        "identical_from_snapshot": whole == [_digest(settings, partition) for partition in range(partitions)],
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, Took]:
    begun, cpu = time.perf_counter(), _cpu_s()
    result = work()
    return result, Took(time.perf_counter() - begun, _cpu_s() - cpu)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _digest(settings: Settings, partition: int) -> str:
    """Return the SHA-256 of everything that the view holds of a partition."""
    dump = dump_partition(settings, partition)
    content = {
        "head": dump.after,
        "hashes": dump.hashes,
        "sets": {key: list(numbers) for key, numbers in dump.sets.items()},
        "strange": dump.strange,
        "expiries": dump.expiries_s,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _wipe(settings: Settings) -> None:
    client = connect(settings)
    client.flushall()
    client.close()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
