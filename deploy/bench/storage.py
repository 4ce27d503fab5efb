"""What is kept, in bytes: the view's keys by kind, and the topics on disk."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from deploy.local.folder import Folder
from pipeline.adapters.store import keys
from pipeline.adapters.store.redis import RedisStore, connect
from pipeline.settings import Settings
from pipeline.topics import AUDIT, USAGE_ACCEPTED, USAGE_RECEIVED, Topic

_ASK: Final = 2_000
TABLE_SLOT_BYTES: Final = 16
"""Of the server's own table, half full, which MEMORY USAGE leaves out: one pointer a slot, two slots a key."""


def view_bytes(settings: Settings, partitions: int) -> dict[str, dict[str, float]]:
    """Return by kind of key (account, kept, session, seen) how many there are, and the mean bytes of one.

    As `MEMORY USAGE` says of the whole value, its name and its entry included, and a share of the server's table.
    """
    found: dict[str, list[float]] = {}
    store, client = RedisStore(settings), connect(settings)
    asked: Any = client
    try:
        for partition in range(partitions):
            names = store.keys_of(partition)
            while some := list(islice(names, _ASK)):
                with asked.pipeline(transaction=False) as pipe:
                    for name in some:
                        pipe.execute_command("MEMORY", "USAGE", name, "SAMPLES", 0)
                    for name, size in zip(some, pipe.execute(), strict=True):
                        _add(found, name.partition(":")[0], size)
    finally:
        store.close()
        client.close()
    return {
        kind: {"keys": int(count), "bytes": round(total / count + TABLE_SLOT_BYTES, 1)}
        for kind, (count, total) in sorted(found.items())
    }


def _add(found: dict[str, list[float]], kind: str, size: int | None) -> None:
    if size is not None:  # None: it expired meanwhile
        sums = found.setdefault(kind, [0, 0])
        sums[0] += 1
        sums[1] += size


def seen_bytes_per_record(settings: Settings, partitions: int, view: dict[str, dict[str, float]]) -> float | None:
    """Return what the sets of numbers seen take for one charged record; None where there are none."""
    seen = view.get("seen")
    if seen is None:
        return None
    client: Any = connect(settings)
    numbers = 0
    try:
        for partition in range(partitions):
            names = (name for name in client.scan_iter(match=f"seen:{keys.tag(partition)}*", count=_ASK))
            while some := list(islice(names, _ASK)):
                with client.pipeline(transaction=False) as pipe:
                    for name in some:
                        pipe.scard(name)
                    numbers += sum(pipe.execute())
    finally:
        client.close()
    return round(seen["keys"] * seen["bytes"] / (numbers / 2), 1)


def topic_bytes(data_dir: Path) -> dict[str, int]:
    """Return the bytes on disk of the topics of usage, accepted usage and audit, of an embedded broker."""
    log = Folder(data_dir).kafka / "log"
    named = (("received", USAGE_RECEIVED), ("accepted", USAGE_ACCEPTED), ("audit", AUDIT))
    return {name: sum(part.stat().st_size for part in _segments(log, topic)) for name, topic in named}


def _segments(log: Path, topic: Topic) -> Iterator[Path]:
    for folder in log.glob(f"{topic.name}-[0-9]*"):
        yield from folder.glob("*.log")
