"""The benchmark's operator: accounts, a catalogue and traffic, published as fast as the broker takes them."""

import random
import time
from importlib.resources import as_file, files
from typing import Final

from pipeline.adapters.avro import ACCEPTED_USAGE, ACCOUNT_COMMAND, CATALOGUE_VERSION
from pipeline.adapters.catalogue import FOR_ALL_TIME, load_directory
from pipeline.adapters.kafka.client import Producer, producer
from pipeline.domain.catalogue import canonical_bytes, compile_catalogue
from pipeline.domain.usage import AcceptedUsage
from pipeline.settings import Settings
from pipeline.topics import ACCOUNT_COMMAND as COMMAND_TOPIC
from pipeline.topics import CATALOGUE, USAGE_ACCEPTED, partition_of

SEED: Final = 20_261_124
NO_COMMAND: Final = dict.fromkeys(
    [
        "currency",
        "plan",
        "identities",
        "opening_balance",
        "credit_limit",
        "plan_from",
        "identity",
        "amount",
        "reference",
        "reason",
        "charge_id",
        "from",
        "allowance",
        "thresholds",
        "period",
        "review",
        "decision",
        "case",
    ]
)


def account_name(number: int) -> str:
    """Return the name of the n-th account."""
    return f"acc-{number:07d}"


def msisdn(number: int) -> str:
    """Return the number of the n-th account."""
    return f"+86139{number:08d}"


def publish_catalogue(settings: Settings) -> None:
    """Publish the benchmark's tariff, in force for all time."""
    with as_file(files("deploy.bench") / "ledger") as directory:
        document = load_directory(directory).document(FOR_ALL_TIME)
    version = compile_catalogue(document)
    out = producer(settings)
    value = {
        "hash": version.hash,
        "effective_from": version.effective_from,
        "published_at": 0,
        "document": canonical_bytes(document).decode(),
    }
    out.produce(CATALOGUE.name, CATALOGUE_VERSION.encode(value), version.hash)
    out.flush()


def open_accounts(settings: Settings, accounts: int, plan: str, partitions: int, opened_ms: int) -> None:
    """Send a command for each account."""
    out = producer(settings)
    for number in range(accounts):
        name = account_name(number)
        command = {
            **NO_COMMAND,
            "type": "open_account",
            "command_id": f"open-{name}",
            "account": name,
            "at": opened_ms,
            "actor": "bench",
            "currency": "CNY",
            "plan": plan,
            "identities": ["msisdn-" + msisdn(number)],
            "opening_balance": "1000.00",
        }
        _send(out, COMMAND_TOPIC.name, ACCOUNT_COMMAND.encode(command), name, partitions)
    out.flush()


def publish_accepted(settings: Settings, records: int, accounts: int, partitions: int, first: int = 0) -> None:
    """Publish a mix of calls, data and messages as mediate would hand them on, 2 % of them repeats.

    Their ids are numbers from `first` on.
    """
    chance = random.Random(SEED)  # noqa: S311 - traffic, the same every time
    out = producer(settings)
    now = int(time.time() * 1000)
    last = None
    for i in range(first, first + records):
        if last is not None and chance.random() < 0.02:
            _send(out, USAGE_ACCEPTED.name, last[1], last[0], partitions)
            continue
        number = chance.randrange(accounts)
        name = account_name(number)
        kind = chance.random()
        service = "VOICE" if kind < 0.5 else "DATA" if kind < 0.8 else "SMS"
        usage = AcceptedUsage(
            record_id=f"{i:032x}",
            source="MSC-7",
            sequence=i,
            service=service,
            direction="MO",
            msisdn=msisdn(number),
            imsi=None,
            imei=None,
            other_party=None if service == "DATA" else f"+86138{chance.randrange(10**8):08d}",
            start_time=now - chance.randrange(3 * 86_400_000) - 60_000,
            duration_ms=chance.randrange(600_000) if service == "VOICE" else 0,
            uplink_octets=chance.randrange(10**6) if service == "DATA" else 0,
            downlink_octets=chance.randrange(10**7) if service == "DATA" else 0,
            message_count=1 if service == "SMS" else 0,
            answered=True,
            visited_plmn="46001",
            cell="46001-1-2",
            rating_group=None,
            session_id=None,
            partial_number=None,
            cause_for_closing=0,
            retransmission=False,
            account=name,
            received_at=now,
            source_topic="charging.usage.received.v1",
            source_partition=0,
            source_offset=i,
            on_net=False,
        )
        value = ACCEPTED_USAGE.encode(usage._asdict())
        last = (name, value)
        _send(out, USAGE_ACCEPTED.name, value, name, partitions)
    out.flush()


def _send(out: Producer, topic: str, value: bytes, account: str, partitions: int) -> None:
    while len(out) > 90_000:
        out.poll(0.05)
    out.produce(topic, value, account, partition_of(account, partitions))
    out.poll(0)
