"""The floor: charge's protocol with a flat tariff and nothing else, as fast as one Python process does it.

Avro in, one Lua load, Avro out with its chain, one transaction, one Lua apply; a thread a partition. What chargeline
reaches is stated as a ratio to this, measured in the same minute on the same servers, because machines drift.
Straight-line on purpose, with clients of its own: it must owe nothing to the code it is held against.
"""

import hashlib
import io
import threading
import time
import uuid
from typing import Any, NamedTuple

import fastavro
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

_TOPICS_KNOWN_S = 30

RECORD = fastavro.parse_schema(
    {
        "type": "record",
        "name": "FloorRecord",
        "fields": [
            {"name": "record_id", "type": "string"},
            {"name": "source", "type": "string"},
            {"name": "sequence", "type": "long"},
            {"name": "service", "type": {"type": "enum", "name": "FloorService", "symbols": ["VOICE", "DATA", "SMS"]}},
            {"name": "account", "type": "string"},
            {"name": "imsi", "type": "string"},
            {"name": "other_party", "type": ["null", "string"]},
            {"name": "start", "type": "long"},
            {"name": "duration", "type": "long"},
            {"name": "uplink", "type": "long"},
            {"name": "downlink", "type": "long"},
            {"name": "messages", "type": "int"},
            {"name": "cell", "type": ["null", "string"]},
            {"name": "plmn", "type": "string"},
            {"name": "rating_group", "type": ["null", "int"]},
        ],
    }
)
READ: Any = fastavro.schemaless_reader
EVENT = fastavro.parse_schema(
    {
        "type": "record",
        "name": "FloorEvent",
        "fields": [
            {"name": name, "type": kind}
            for name, kind in (
                ("seq", "long"),
                ("position", "long"),
                ("record_id", "string"),
                ("account", "string"),
                ("number", "string"),
                ("service", "string"),
                ("start", "long"),
                ("units", "long"),
                ("amount", "long"),
                ("currency", "string"),
                ("plan", "string"),
                ("tariff", "string"),
                ("rule", "string"),
                ("before", "long"),
                ("after", "long"),
                ("digest", "bytes"),
                ("previous", "bytes"),
            )
        ],
    }
)
LOAD = """
if tonumber(redis.call('HGET',KEYS[1],'seq') or '0')~=tonumber(ARGV[1]) then return redis.error_reply('STEP') end
local out={} local n=0
for i=3,#ARGV,3 do
  n=n+1 out[n]=redis.call('HGET','floor:'..ARGV[2]..ARGV[i],'balance')
  n=n+1 out[n]=redis.call('SISMEMBER','floorday:'..ARGV[2]..ARGV[i]..ARGV[i+1],ARGV[i+2])
end
return out"""
APPLY = """
local seq=tonumber(redis.call('HGET',KEYS[1],'seq') or '0')
if seq>=tonumber(ARGV[3]) then return 0 end
if seq~=tonumber(ARGV[2])-1 then return redis.error_reply('STEP') end
for i=5,#ARGV,4 do
  redis.call('HSET','floor:'..ARGV[1]..ARGV[i],'balance',ARGV[i+3])
  redis.call('SADD','floorday:'..ARGV[1]..ARGV[i]..ARGV[i+1],ARGV[i+2])
end
redis.call('HSET',KEYS[1],'seq',ARGV[3],'hash',ARGV[4]) return 1"""


class Measured(NamedTuple):
    """What one run gave."""

    records_per_s: int
    cpu_us_per_record: int


def run(
    bootstrap: str, redis_url: str, records: int, batch: int = 2_000, partitions: int = 4, prefix: str = "floor."
) -> Measured:
    """Publish `records`, then charge them; topics and keys are of its own making, and are removed."""
    topic = prefix + uuid.uuid4().hex[:8]
    try:
        return _run(bootstrap, redis_url, topic, records, batch, partitions)
    finally:
        _remove(bootstrap, redis_url, topic)


def _run(bootstrap: str, redis_url: str, topic: str, records: int, batch: int, partitions: int) -> Measured:
    _make_topics(bootstrap, topic, partitions)
    _publish(bootstrap, topic, records)
    ends = {p: _end(bootstrap, topic, p) for p in range(partitions)}
    view = redis.Redis.from_url(redis_url)
    scripts = (view.script_load(LOAD), view.script_load(APPLY))
    threads = [
        threading.Thread(target=_work, args=(bootstrap, redis_url, topic, p, ends[p], batch, scripts)) for p in ends
    ]
    begun, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    return Measured(round(records / took), round(used / records * 1e6))


def _make_topics(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics(
        [NewTopic(topic, partitions, 1), NewTopic(topic + ".out", partitions, 1)]
    ).values():
        future.result()
    names = [TopicPartition(name, at) for name in (topic, topic + ".out") for at in range(partitions)]
    deadline = time.monotonic() + _TOPICS_KNOWN_S
    while True:
        try:
            for ends in admin.list_offsets({at: OffsetSpec.latest() for at in names}).values():
                ends.result()
        except KafkaException:  # made, but not yet led by the broker that answers
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _remove(bootstrap: str, redis_url: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_topics([topic, topic + ".out"]).values():
        try:
            future.result()
        except KafkaException as error:  # stopped before they were made: there is nothing to remove
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    view: Any = redis.Redis.from_url(redis_url)
    names = list(view.scan_iter(match=f"floor*:{{{topic}-*", count=10_000))
    for at in range(0, len(names), 10_000):
        view.unlink(*names[at : at + 10_000])
    view.close()


def _publish(bootstrap: str, topic: str, records: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for i in range(records):
        out = io.BytesIO()
        account = f"acc-{i % 100_000:06d}"
        fastavro.schemaless_writer(
            out,
            RECORD,
            {
                "record_id": f"{i:032x}",
                "source": "probe-7",
                "sequence": i,
                "service": "VOICE",
                "account": account,
                "imsi": f"46001{i % 100_000:010d}",
                "other_party": "+8613800000000",
                "start": 1_700_000_000_000 + i,
                "duration": 61,
                "uplink": 0,
                "downlink": 0,
                "messages": 0,
                "cell": "46001-1-2",
                "plmn": "46001",
                "rating_group": None,
            },
        )
        producer.produce(topic, out.getvalue(), account)
        if i % 5_000 == 0:
            producer.poll(0)
        while len(producer) > 90_000:
            producer.poll(0.1)
    producer.flush()


def _end(bootstrap: str, topic: str, partition: int) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "floor"})
    end: int = consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]
    consumer.close()
    return end


def _work(
    bootstrap: str, redis_url: str, topic: str, partition: int, end: int, batch: int, scripts: tuple[str, str]
) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"{topic}-{partition}",
            "linger.ms": 2,
            "compression.type": "lz4",
            "batch.size": 1_000_000,
            "retry.backoff.ms": 5,
        }
    )
    producer.init_transactions()
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": topic,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0)])
    view: Any = redis.Redis.from_url(redis_url)
    tag, key = f"{{{topic}-{partition}}}:", f"floorledger:{{{topic}-{partition}}}"
    done, seq, previous = 0, 0, b"0" * 32
    while done < end:
        messages = consumer.consume(batch, 0.2)
        if not messages:
            continue
        records = [(m.offset(), m.value(), READ(io.BytesIO(m.value()), RECORD, None)) for m in messages]
        asked: list[tuple[str, str, int]] = []
        for _, value, record in records:
            number = int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "big", signed=True)
            asked.append((record["account"], ":20261123", number))
        loaded = view.execute_command("EVALSHA", scripts[0], 1, key, seq, tag, *(x for one in asked for x in one))
        balances: dict[str, int] = {}
        events: list[tuple[str, bytes]] = []
        writes: list[str | int] = []
        first = seq + 1
        for i, (offset, _, record) in enumerate(records):
            account = record["account"]
            before = balances.get(account)
            if before is None:
                before = int(loaded[2 * i] or 10_000_000)
            units = -(-record["duration"] // 60)
            after = balances[account] = before - units * 150_000
            seq += 1
            out = io.BytesIO()
            fastavro.schemaless_writer(
                out,
                EVENT,
                {
                    "seq": seq,
                    "position": offset + 1,
                    "record_id": record["record_id"],
                    "account": account,
                    "number": account,
                    "service": record["service"],
                    "start": record["start"],
                    "units": units,
                    "amount": units * 150_000,
                    "currency": "CNY",
                    "plan": "basic",
                    "tariff": "v1",
                    "rule": "voice.onnet.peak",
                    "before": before,
                    "after": after,
                    "digest": b"12345678",
                    "previous": previous,
                },
            )
            event = out.getvalue()
            previous = hashlib.sha256(event).digest()
            events.append((account, event))
            writes += (*asked[i], after)
        producer.begin_transaction()
        for account, event in events:
            producer.produce(topic + ".out", event, account, partition)
        producer.commit_transaction()
        view.execute_command("EVALSHA", scripts[1], 1, key, tag, first, seq, previous.hex(), *writes)
        done += len(messages)
    consumer.close()
