"""A ledger in a file, for somebody who checks it without access to our servers.

One JSON object a line, gzipped where the name ends in `.gz`: what the file is; of each partition its events, as the
bytes on the topic are; the auditor's signed seals; and how many lines there were. `offline.py` reads it.
"""

import base64
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final

import schemas
from consumers.audit.reading import bounds, read_partition
from consumers.audit.store import Seal
from pipeline.adapters.avro import AUDIT_EVENT
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.settings import Settings
from pipeline.topics import AUDIT

FORMAT: Final = 1
Progress = Callable[[int], None]


def export(
    settings: Settings,
    path: Path,
    partitions: Iterable[int],
    seals: Iterable[Seal],
    progress: Progress | None = None,
) -> int:
    """Write the committed events of these partitions, as far as they go now; returns how many.

    The file appears whole, or not at all. Raises BrokerError where a partition could not be read to its end.
    """
    facts = describe_topics(settings)[AUDIT.name]
    chosen = list(partitions)
    beside = path.with_name(path.name + ".writing")
    events = 0
    with beside.open("wb") as raw, _packed(raw, path.suffix) as file:
        head = {"ledger_export": FORMAT, "topic_id": facts.topic_id.hex(), "partitions": chosen}
        _write(file, {**head, "of_partitions": facts.partitions, "schemas": _schemas()})
        for partition in chosen:
            first, end = bounds(settings, AUDIT.name, partition)
            for record in read_partition(settings, AUDIT.name, partition, first, end):
                value = base64.b64encode(record.value or b"").decode()
                _write(file, {"partition": partition, "event": value})
                events += 1
                if progress is not None:
                    progress(events)
        for seal in seals:
            if seal.partition in chosen:
                _write(file, seal_as_json(seal))
        _write(file, {"end": events})
    beside.rename(path)
    return events


def seal_as_json(seal: Seal) -> dict[str, Any]:
    """Return a signed seal as it is published."""
    return {
        "partition": seal.partition,
        "seal": seal.seq,
        "hash": seal.hash.hex(),
        "signature": seal.signature.hex(),
    }


def seal_of_json(line: str) -> Seal:
    """Read a published seal; raises ValueError or KeyError."""
    found = json.loads(line)
    return Seal(
        int(found["partition"]), int(found["seal"]), bytes.fromhex(found["hash"]), bytes.fromhex(found["signature"])
    )


def _schemas() -> list[Any]:
    """Every published version: an event names its own by its fingerprint."""
    return [schemas.read(name) for name in schemas.names() if name.rpartition(".v")[0] == AUDIT_EVENT.name]


def _packed(raw: BinaryIO, suffix: str) -> BinaryIO:
    return gzip.open(raw, "wb", compresslevel=6) if suffix == ".gz" else raw  # type: ignore[return-value] # but for its name it is one


def _write(file: BinaryIO, content: Any) -> None:
    file.write(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
