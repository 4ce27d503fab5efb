"""Detectors with their default parameters over traffic that nothing here was tuned on: another make-up, other shapes.

The first is made here, small and in another way than the labelled sample: another country, plain uniform days, a fraud of
the plainest shape each. The others are records of real people and a real switchboard, where they are at hand.
"""

import csv
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from detector_world import HOUR, MINUTE, SECOND, alerts, record

from pipeline.adapters.formats import Unreadable, read

BEGIN = 1_767_225_600_000  # 2026-01-01T00:00Z, a Thursday
DAYS = 4
LINES = 150
FRAUD = {
    "call_velocity", "concurrent_calls", "long_call", "irsf", "wangiri", "sim_box", "sms_flood", "impossible_travel", "new_device",
}  # fmt: skip
DATA = Path(os.environ.get("CHARGELINE_REAL_RECORDS", Path(__file__).parents[3] / "shared" / "data"))
"""A folder of real records, which may not be published with the project."""


def number(n):
    return f"+4477{n:08d}"


def everyday(seed):
    """Britons who call each other at any hour between seven and eleven; one call in four is not answered."""
    chance = random.Random(seed)
    made = []
    for n in range(LINES):
        for day in range(DAYS):
            at = BEGIN + day * 24 * HOUR + 7 * HOUR
            for _ in range(chance.randint(1, 8)):
                at += chance.randint(10, 180) * MINUTE
                kind = chance.choice(("call", "call", "text", "data"))
                who = {"msisdn": number(n), "imsi": f"23415{n:010d}", "imei": f"35{n:012d}0", "cell": f"cell{n % 40}"}
                other = number(chance.randrange(LINES * 3))
                if kind == "call":
                    answered = chance.random() < 0.75
                    seconds = min(int(chance.gammavariate(1.3, 120)), 5_000) if answered else 0
                    direction = chance.choice(("MO", "MT"))
                    made.append(
                        record(
                            at,
                            other_party=other,
                            duration_ms=seconds * SECOND,
                            answered=answered,
                            direction=direction,
                            **who,
                        )
                    )
                elif kind == "text":
                    made.append(
                        record(
                            at,
                            service="SMS",
                            duration_ms=0,
                            message_count=1,
                            other_party=other,
                            direction=chance.choice(("MO", "MT")),
                            **who,
                        )
                    )
                else:
                    made.append(
                        record(at, service="DATA", other_party=None, downlink_octets=chance.randrange(10**8), **who)
                    )
    return made


def rings(chance):
    """One number rings many once, within two hours, and hangs up."""
    begin = BEGIN + 2 * 24 * HOUR + 11 * HOUR
    caller = f"+2247{chance.randrange(10**7):07d}"
    return [
        record(begin + n * MINUTE, msisdn=number(chance.randrange(LINES)), direction="MT", other_party=caller, duration_ms=0, answered=False)
        for n in range(100)
    ]  # fmt: skip


def to_one_range(chance):
    """One line calls one range abroad, known for nothing, twenty-five times in two hours."""
    begin = BEGIN + 2 * 24 * HOUR + 14 * HOUR
    return [
        record(begin + n * 5 * MINUTE, msisdn=number(7), other_party=f"+56322{chance.randrange(10**6):06d}", duration_ms=chance.randint(60, 240) * SECOND)
        for n in range(25)
    ]  # fmt: skip


def many_to_one_range(chance):
    """Forty lines call one range abroad within an hour."""
    begin = BEGIN + 3 * 24 * HOUR + 10 * HOUR
    return [
        record(begin + n * 80 * SECOND, msisdn=number(20 + n), other_party=f"+67574{chance.randrange(10**6):06d}", duration_ms=chance.randint(30, 600) * SECOND)
        for n in range(40)
    ]  # fmt: skip


def gateway(chance):
    """Five SIMs in one device, a hundred calls each in a day, nothing in."""
    return [
        record(
            BEGIN + 24 * HOUR + n * 14 * MINUTE + k * MINUTE,
            msisdn=number(90_000 + k),
            imei="358888880000000",
            cell="cell3",
            other_party=number(chance.randrange(10**6)),
        )
        for k in range(5)
        for n in range(100)
    ]


def texts(chance):
    """Four hundred messages in an hour from one line."""
    begin = BEGIN + 2 * 24 * HOUR + 15 * HOUR
    return [
        record(begin + n * 9 * SECOND, msisdn=number(9), service="SMS", duration_ms=0, message_count=1, other_party=number(chance.randrange(10**7)))
        for n in range(400)
    ]  # fmt: skip


def dials(chance):
    """Sixty calls in five minutes from one line."""
    begin = BEGIN + 2 * 24 * HOUR + 16 * HOUR
    return [
        record(begin + n * 5 * SECOND, msisdn=number(11), other_party=number(chance.randrange(10**7)), duration_ms=2 * SECOND)
        for n in range(60)
    ]  # fmt: skip


SHAPES = {
    "wangiri": rings,
    "irsf": to_one_range,
    "irsf many": many_to_one_range,
    "sim_box": gateway,
    "sms_flood": texts,
    "call_velocity": dials,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_plain_fraud_of_other_make_is_found(shape, seed):
    """Each of its own detector; its evidence is of the fraud's records, nine in ten at least."""
    injected = SHAPES[shape](random.Random(seed))
    ids = {one.record_id for one in injected}
    found = [one for one in alerts(everyday(seed) + injected) if one.detector == shape.partition(" ")[0]]
    assert found
    for alert in found:
        assert sum(record_id in ids for record_id in alert.record_ids) >= 0.9 * len(alert.record_ids)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_everyday_life_of_other_make_raises_no_fraud(seed):
    """Six hundred line-days without anything: silence."""
    assert [one for one in alerts(everyday(seed)) if one.detector in FRAUD] == []


needs_real_records = pytest.mark.skipif(not DATA.is_dir(), reason="the real records are not at hand")


@needs_real_records
def test_a_real_persons_calls_and_texts_raise_no_fraud():
    """Two people's months of calls and texts, with places."""
    with (DATA / "bandicoot_u_test.csv").open() as lines:
        rows = [row for row in csv.reader(lines, delimiter=";") if len(row) >= 6]
    found = [
        record(
            _time(row[4]),
            msisdn=f"+1{row[2]}",
            other_party=f"+1{row[3]}",
            direction="MO" if row[0] == "1" else "MT",
            service="VOICE" if row[1] == "11" else "SMS",
            duration_ms=int(row[5] or 0) * SECOND,
            answered=int(row[5] or 0) > 0 or row[1] != "11",
            message_count=0 if row[1] == "11" else 1,
        )
        for row in rows
    ]
    with (DATA / "bandicoot_ego.csv").open() as lines:
        found += [
            record(
                _time(row["datetime"]),
                msisdn="+15550000001",
                other_party=f"+1555100{ord(row['correspondent_id'][0]):04d}",
                direction="MO" if row["direction"] == "out" else "MT",
                service="VOICE" if row["interaction"] == "call" else "SMS",
                duration_ms=int(row["call_duration"] or 0) * SECOND,
                message_count=0 if row["interaction"] == "call" else 1,
                cell=row["antenna_id"],
            )
            for row in csv.DictReader(lines)
        ]
    assert len(found) > 100
    assert [(one.detector, one.object_, one.detail) for one in alerts(found) if one.detector in FRAUD] == []


@needs_real_records
def test_a_real_switchboards_file_raises_no_fraud():
    """Several legs share an id there, and eight rows come twice."""
    with (DATA / "asterisk_cdr_pseudonymised.csv").open("rb") as lines:
        found = [one for one in read("asterisk", lines) if not isinstance(one, Unreadable)]
    assert len(found) > 100
    assert [(one.detector, one.object_, one.detail) for one in alerts(found) if one.detector in FRAUD] == []


def _time(text):
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() * 1_000)
