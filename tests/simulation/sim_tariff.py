"""The operator of the simulation: its catalogue, and what use costs by it, worked out a second time and trivially."""

import datetime as dt
from typing import Any

from pipeline.domain.catalogue import Catalogue, compile_catalogue

NOW = 1_795_000_000_000
"""2026-11-18: where the broker's clock begins."""
DAY_MS = 86_400_000
MICROS = 1_000_000
PLAN = "plain"


def _rule(
    rule_id: str, match: dict[str, object], unit: str, *steps: tuple[str, str], **other: object
) -> dict[str, Any]:
    return {
        "id": rule_id, "match": match, "rounding": None, "unit": unit, "round_up": None, "priority": 0, "free": False,
        "meter": "record", "connect_fee": "0", "maximum": None,
        "steps": [{"from": at, "price": price, "per": "1", "increment": "1"} for at, price in steps],
        **other,
    }  # fmt: skip


def document(version: int, effective_from: int) -> dict[str, Any]:
    """Return version 0, 1, 2...: seconds of calls cost 0.03, 0.04, 0.05...; all else stays."""
    prices = [
        _rule("call", {"service": "VOICE"}, "s", ("0", f"0.0{3 + version}")),
        _rule("data", {"service": "DATA"}, "MB", ("0", "0.50"), ("10", "0.20"), meter="month"),
        _rule("sms", {"service": "SMS"}, "msg", ("0", "0.10")),
        _rule("mms", {"service": "MMS"}, "msg", ("0", "1.00")),
        _rule("game", {"service": "EVENT"}, "event", ("0", "1.00"), ("5", "0.25"), meter="session", connect_fee="0.30"),
    ]
    plan = {"id": PLAN, "valid_from": 0, "currency": None, "allowances": [], "prices": prices}
    return {
        "format": 1, "effective_from": effective_from, "operator": f"version {version}", "currency": "CNY",
        "timezone": "Asia/Shanghai", "rounding": {"decimals": 2, "mode": "half_up"}, "zones": {}, "networks": {},
        "calendars": {}, "bands": {}, "offsets": [[-(10**15), 28800]], "plans": [plan],
    }  # fmt: skip


_versions: dict[tuple[int, int], Catalogue] = {}


def catalogue(version: int, effective_from: int) -> Catalogue:
    """Return a compiled version; compiling costs more than a run's records, so it is done once for each."""
    found = _versions.get((version, effective_from))
    if found is None:
        found = _versions[version, effective_from] = compile_catalogue(document(version, effective_from))
        tables: Any = found.plans[0].tables
        tables["MMS", "MO"] = ()  # a bug of the core: whoever rates an MMS raises
    return found


def month_of(start_ms: int) -> str:
    """Return the month of tariff time, which is 8 hours ahead of UTC."""
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=start_ms + 8 * 3_600_000)  # noqa: DTZ001
    return f"{moment:%Y-%m}"


def _stepped(quantity: int, step: int, first: int, after: int) -> int:
    return min(quantity, step) * first + max(quantity - step, 0) * after


def data_curve(octets: int) -> int:
    """Return what so many octets of one month cost, in micro-units: 0.50 a MB, from the tenth on 0.20."""
    megabytes = -(-octets // MICROS)
    return _stepped(megabytes, 10, 500_000, 200_000)


def game_curve(events: int) -> int:
    """Return what so many events of one session cost: 0.30 once, 1.00 each, from the fifth on 0.25."""
    return (300_000 if events else 0) + _stepped(events, 5, 1_000_000, 250_000)


def call_price(duration_ms: int, version: int) -> int:
    """Return what a call costs: whole seconds."""
    return -(-duration_ms // 1_000) * (30_000 + 10_000 * version)
