"""Every topic: its name, what its values are, and how it is made. The one list; processes and docs read it here."""

import os
import re
from typing import Final, NamedTuple

NAMESPACE_FORM: Final = re.compile(r"[a-z0-9.-]{0,40}")
NAMESPACE: Final = os.environ.get("CHARGELINE_NAMESPACE", "")
"""Before the name of every topic, group, transaction and partition tag, so that deployments can share servers. Of the
environment alone: names are constants, there before any setting is read."""
if not NAMESPACE_FORM.fullmatch(NAMESPACE):
    raise ValueError(f"CHARGELINE_NAMESPACE is {NAMESPACE!r}: at most 40 of a-z, 0-9, dot and dash")

DAY_MS: Final = 86_400_000
KIB: Final = 1024
MIB: Final = 1024 * 1024
RAW_BYTES_MAX: Final = MIB


class Topic(NamedTuple):
    """A topic of the contract, or of one process alone (`charging.detect.…`).

    `partitions` None: one for each ledger partition. `config` is what the broker is told at creation.
    """

    name: str
    schema: str | None
    partitions: int | None
    config: dict[str, str]
    key: str


USAGE_RECEIVED: Final = Topic(
    NAMESPACE + "charging.usage.received.v1",
    "usage_record",
    4,
    {
        "retention.ms": str(7 * DAY_MS),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(RAW_BYTES_MAX),
        "cleanup.policy": "delete",
    },
    "whatever the probe likes",
)
USAGE_ACCEPTED: Final = Topic(
    NAMESPACE + "charging.usage.accepted.v1",
    "accepted_usage",
    None,
    {"retention.ms": str(30 * DAY_MS), "cleanup.policy": "delete"},
    "account",
)
ACCOUNT_COMMAND: Final = Topic(
    NAMESPACE + "charging.account.command.v1",
    "account_command",
    None,
    {"retention.ms": str(30 * DAY_MS), "message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"},
    "account",
)
AUDIT: Final = Topic(
    NAMESPACE + "charging.audit.v1",
    "audit_event",
    None,
    {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete", "max.message.bytes": str(4 * MIB)},
    "account",
)
SUBSCRIBER: Final = Topic(
    NAMESPACE + "charging.subscriber.v1",
    "subscriber_binding",
    1,
    {"cleanup.policy": "compact"},
    "identity|account",
)
ALERT_RAISED: Final = Topic(
    NAMESPACE + "charging.alert.raised.v1",
    "alert",
    1,
    {"retention.ms": str(30 * DAY_MS), "cleanup.policy": "delete"},
    "object of the alert",
)
USAGE_DEAD_LETTER: Final = Topic(
    NAMESPACE + "charging.usage.received.v1.dlq",
    None,
    1,
    {
        "retention.ms": str(30 * DAY_MS),
        "max.message.bytes": str(RAW_BYTES_MAX + 64 * KIB),
        "cleanup.policy": "delete",
    },
    "original key",
)
CATALOGUE: Final = Topic(
    NAMESPACE + "charging.catalogue.v1",
    "catalogue_version",
    1,
    {"cleanup.policy": "compact", "compression.type": "zstd", "max.message.bytes": str(16 * MIB)},
    "version hash",
)
DETECT_USE: Final = Topic(
    NAMESPACE + "charging.detect.use.v1",
    None,
    None,
    {"retention.ms": str(7 * DAY_MS), "cleanup.policy": "delete", "max.message.bytes": str(4 * MIB)},
    "none: a batch of uses, in the partition of the objects they touch",
)
"""Within detect: not for anybody else, and of no published schema."""
DETECT_STATE: Final = Topic(
    NAMESPACE + "charging.detect.state.v1",
    None,
    None,
    {"cleanup.policy": "compact", "compression.type": "lz4"},
    "place/detector/view|object",
)
"""Within detect: what its detectors remember."""

TOPICS: Final = (
    USAGE_RECEIVED,
    USAGE_ACCEPTED,
    ACCOUNT_COMMAND,
    AUDIT,
    SUBSCRIBER,
    ALERT_RAISED,
    USAGE_DEAD_LETTER,
    CATALOGUE,
    DETECT_USE,
    DETECT_STATE,
)
ACCOUNT_TOPICS: Final = (USAGE_ACCEPTED, ACCOUNT_COMMAND, AUDIT)
"""The three that must have the same number of partitions: an account's partition is the same in each."""


def partition_of(account: str, partitions: int) -> int:
    """Return an account's partition: murmur2 of its UTF-8 bytes, positive, modulo the count, as Java's client does."""
    return (murmur2(account.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Hash bytes as Kafka's default partitioner does (32-bit MurmurHash2, seed 0x9747b28c), unsigned."""
    length = len(data)
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        word = (word ^ (word >> 24)) * multiplier & mask
        value = (value * multiplier & mask) ^ word
    rest = data[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ (value >> 13)) * multiplier & mask
    return value ^ (value >> 15)
