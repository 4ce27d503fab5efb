"""Accounts, a tariff and records of every kind, for deployments that are to be broken."""

import random
from typing import Any

from pipeline.adapters.avro import ACCOUNT_COMMAND
from pipeline.domain.usage import DAY_MS, AcceptedUsage

OPENED = 1_750_000_000_000


def _rule(rule_id: str, match: dict[str, str], unit: str, price: str, meter: str = "record") -> dict[str, Any]:
    steps = [{"from": "0", "price": price, "per": "1", "increment": "1"}]
    return {
        "id": rule_id, "match": match, "rounding": None, "unit": unit, "round_up": None, "priority": 0, "free": False,
        "meter": meter, "connect_fee": "0.01", "maximum": None, "steps": steps,
    }  # fmt: skip


DOCUMENT: dict[str, Any] = {
    "format": 1, "effective_from": 0, "operator": "Example", "currency": "CNY", "timezone": "Asia/Shanghai",
    "rounding": {"decimals": 2, "mode": "half_up"}, "zones": {"mobile": {"prefixes": ["+8613"]}},
    "networks": {"home": ["46001"]}, "calendars": {}, "bands": {}, "offsets": [[-(10**15), 28800]],
    "plans": [{
        "id": "basic", "valid_from": 0, "currency": None,
        "allowances": [{"id": "talk", "match": {"service": "VOICE"}, "quantity": "30", "unit": "min", "every": "month",
                        "valid_days": None, "priority": 10}],
        "prices": [
            _rule("call", {"service": "VOICE", "direction": "MO", "to": "mobile"}, "min", "0.15"),
            _rule("data", {"service": "DATA"}, "MB", "0.29", "month"),
            _rule("game", {"service": "EVENT"}, "event", "0.10", "session"),
        ],
    }],
}  # fmt: skip


def account_name(number: int) -> str:
    return f"acc-{number:05d}"


def msisdn(number: int) -> str:
    return f"+86139{number:08d}"


def command(kind: str, command_id: str, number: int) -> dict[str, object]:
    """Open account `number`, or top it up by 1.00."""
    record: dict[str, object] = dict.fromkeys(field["name"] for field in ACCOUNT_COMMAND.schema["fields"])
    record |= {"type": kind, "command_id": command_id, "account": account_name(number), "at": OPENED, "actor": "test"}
    if kind == "open_account":
        record |= {"currency": "CNY", "plan": "basic", "opening_balance": "100.00"}
        return record | {"identities": ["msisdn-" + msisdn(number)]}
    return record | {"amount": "1.00", "reference": command_id}


def usage(n: int, number: int, now: int, chance: random.Random) -> AcceptedUsage:
    """The n-th record: a call, data, or a part of a session that arrives in any order."""
    service = chance.choice(("VOICE", "VOICE", "DATA", "EVENT"))
    return AcceptedUsage(
        record_id=f"{n:032x}", source="MSC-7", sequence=n, service=service, direction="MO", msisdn=msisdn(number),
        imsi=None, imei=None, other_party=None if service == "DATA" else "+8613800000001",
        start_time=now - chance.randrange(3 * DAY_MS) - 60_000,
        duration_ms=chance.randrange(600_000) if service == "VOICE" else 0,
        uplink_octets=chance.randrange(10**6) if service == "DATA" else 0, downlink_octets=0,
        message_count=1 if service == "EVENT" else 0, answered=True, visited_plmn="46001", cell=None, rating_group=None,
        session_id=f"s{n // 4_000}" if service == "EVENT" else None, partial_number=None, cause_for_closing=0,
        retransmission=False, account=account_name(number), received_at=now, source_topic="charging.usage.received.v1",
        source_partition=0, source_offset=n, on_net=False,
    )  # fmt: skip
