"""The benchmark's probe, a process of its own: makes its records, waits to be told, publishes, says when.

Told what to do by one JSON object on standard input; says `ready` once all records are in memory, publishes when the
next line comes, and prints one JSON object. Times are of the monotonic clock, which all processes of a machine share.
"""

import json
import sys
import time
from typing import Any, Final

from deploy.bench.pacing import due_count
from deploy.bench.traffic import Outgoing, traffic
from pipeline.adapters.kafka.client import Producer, producer
from pipeline.settings import Settings
from pipeline.topics import USAGE_RECEIVED

TICK_S: Final = 0.001
FLUSH_S: Final = 60
_POLL_EVERY: Final = 500


def main() -> int:
    """Publish once, at a pace (`records_per_s`) or as fast as the broker takes it (0)."""
    told = json.loads(sys.stdin.readline())
    records = traffic(told["name"], told["records"], told["accounts"], told["now_ms"])
    rate = told["records_per_s"]
    # a paced probe does not wait for company
    out = producer(Settings(), **({"linger.ms": 0} if rate else {}))
    out.list_topics(USAGE_RECEIVED.name, 10)
    _answer({"ready": True})
    sys.stdin.readline()
    begun, cpu = time.monotonic(), time.process_time()
    late_s = _paced(out, records, rate, begun) if rate else _at_once(out, records)
    handed = time.monotonic()
    left = out.flush(FLUSH_S)
    flushed, used = time.monotonic(), time.process_time() - cpu
    _answer({"begun": begun, "handed": handed, "flushed": flushed, "late_s": late_s, "cpu_s": used, "left": left})
    return 1 if left else 0


def _at_once(out: Producer, records: list[Outgoing]) -> float:
    for number, record in enumerate(records):
        _produce(out, record)
        if number % _POLL_EVERY == 0:
            out.poll(0)
    return 0.0


def _paced(out: Producer, records: list[Outgoing], rate: float, begun: float) -> float:
    """Publish each record when it is due, whatever became of those before; returns the greatest delay of ours."""
    sent, late_s = 0, 0.0
    while sent < len(records):
        now = time.monotonic()
        due = due_count(now - begun, rate, len(records))
        if due > sent:
            late_s = max(late_s, now - begun - sent / rate)
            for record in records[sent:due]:
                _produce(out, record)
            sent = due
        out.poll(0)
        time.sleep(TICK_S)
    return late_s


def _produce(out: Producer, record: Outgoing) -> None:
    while True:
        try:
            out.produce(USAGE_RECEIVED.name, record.value, record.key)
        except BufferError:
            out.poll(0.05)
        else:
            return


def _answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    sys.exit(main())
