"""Pricing alone, on one core and without servers: what a record costs, step by step, and what a deck's size adds.

python -m deploy.bench.rating [--records N] [--json]

`run` rates records as `chargeline rate` does, from a record that was read to an event that was encoded and chained;
text is left out on both sides. The same steps are then timed one after the other, a thousand records at a time;
they must come to the same last hash, so what is timed is the same work. Times are of the CPU.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, Final

from deploy.bench.load import NO_COMMAND, account_name, msisdn
from deploy.cli.offline import TOPIC, OfflineLedger
from pipeline.adapters.avro import USAGE_RECORD, Record
from pipeline.adapters.catalogue import FOR_ALL_TIME, load_directory
from pipeline.adapters.directory import Directory
from pipeline.adapters.ledger_codec import encode_event
from pipeline.domain import rating
from pipeline.domain.account import Account
from pipeline.domain.batch import CommandInput, Head, State, UsageInput, prepare, session_key
from pipeline.domain.catalogue import Catalogue, Catalogues, compile_catalogue
from pipeline.domain.charging import Batch
from pipeline.domain.ledger import Position, Positions, genesis_hash
from pipeline.domain.mediation import Accepted, RawRecord, mediate
from pipeline.domain.rating import Rated, rate
from pipeline.domain.usage import DAY_MS, AcceptedUsage, UsageRecord
from pipeline.domain.wire import accepted_body, record_body
from pipeline.mediate import rules_of
from pipeline.settings import MediateSettings

SEED: Final = 20_261_127
RECORDS: Final = 100_000
ACCOUNTS: Final = 2_000
DECK: Final = 12_000
"""prefixes of the deck that the records are priced with"""
DECKS: Final = (100, 12_000, 200_000)
"""sizes whose loading and look-ups are compared"""
LOOK_UPS: Final = 200_000
CHUNK: Final = 1_000
"""records that a step is timed over before the next step begins"""
RUNS: Final = 3
"""the best of so many counts: others use the machine as well"""
OPENED_MS: Final = 1_780_000_000_000
NOTHING: Final = Position(bytes(16), 0)
KEPT_DAYS: Final = 36_500

TARIFF: Final = files("deploy.bench") / "pricing" / "tariff.yaml"


def run(records: int = RECORDS) -> dict[str, Any]:
    """Measure both; returns figures by name. Nothing is left behind."""
    with tempfile.TemporaryDirectory(prefix="chargeline-bench-") as folder:
        prefixes = prefixes_of(DECK)
        catalogue, _ = _loaded(Path(folder), prefixes)
        best = max(_whole(catalogue, records, prefixes)[0] for _ in range(RUNS))
        steps = _steps(catalogue, records, prefixes)
        decks = [_deck(Path(folder), size) for size in DECKS]
    total = sum(steps.values())
    return {
        "core": "compiled" if (rating.__file__ or "").endswith((".so", ".pyd")) else "pure",
        "rules": sum(len(plan.rules) for plan in catalogue.plans),
        "deck_prefixes": DECK,
        "records": records,
        "rate_records_per_s": best,
        "rate_share": {name: round(seconds / total, 3) for name, seconds in steps.items()},
        "price_records_per_s": round(records / steps["price"]),
        "decks": decks,
    }


def prefixes_of(count: int) -> list[str]:
    """Return so many prefixes of the world but China, of 2 to 9 digits, the same every time."""
    chance = random.Random(SEED)  # noqa: S311 - prefixes, the same every time
    found: dict[str, None] = {}
    while len(found) < count:
        digits = chance.choice((1, 2, 3, 4, 5, 6, 6, 7, 7, 7, 8, 8))
        found[f"+{chance.choice('12345679')}{chance.randrange(10**digits):0{digits}}"] = None
    return list(found)


def usage(records: int, prefixes: Sequence[str]) -> Iterator[UsageRecord]:
    """Yield a month of calls, data and messages: a third of the calls abroad, over all of the deck."""
    chance = random.Random(SEED)  # noqa: S311 - traffic, the same every time
    step = 30 * DAY_MS // records
    for number in range(records):
        service = chance.choices(("VOICE", "DATA", "SMS", "EVENT"), (60, 25, 12, 3))[0]
        abroad = service in {"VOICE", "SMS"} and chance.random() < 0.33
        prefix = chance.choice(prefixes) if abroad else chance.choice(("+86139", "+86158", "+8610"))
        yield UsageRecord(
            record_id=f"{number:032x}",
            source="MSC-7",
            sequence=number,
            service=service,
            direction="MT" if service == "VOICE" and chance.random() < 0.2 else "MO",
            msisdn=msisdn(chance.randrange(ACCOUNTS)),
            imsi=None,
            imei=None,
            other_party=None if service == "DATA" else f"{prefix}{chance.randrange(10**5):05}",
            start_time=OPENED_MS + number * step,
            duration_ms=chance.randrange(600_000) if service == "VOICE" else 0,
            uplink_octets=chance.randrange(10**5) if service == "DATA" else 0,
            downlink_octets=chance.randrange(10**7) if service == "DATA" else 0,
            message_count=0 if service in {"VOICE", "DATA"} else 1,
            answered=True,
            visited_plmn="45400" if service in {"VOICE", "DATA"} and chance.random() < 0.05 else "46001",
            cell="46001-1-2",
            rating_group=32 if service == "DATA" and chance.random() < 0.3 else None,
            session_id=f"s{number // 500}" if service == "EVENT" else None,
            partial_number=None,
            cause_for_closing=0,
            retransmission=False,
        )


def _openings() -> list[Record]:
    return [
        {
            **NO_COMMAND,
            "type": "open_account",
            "command_id": f"open-{number}",
            "account": account_name(number),
            "at": OPENED_MS,
            "actor": "bench",
            "currency": "CNY",
            "plan": "bench",
            "identities": ["msisdn-" + msisdn(number)],
            "opening_balance": "1000.00",
        }
        for number in range(ACCOUNTS)
    ]


def _loaded(folder: Path, prefixes: Sequence[str]) -> tuple[Catalogue, float]:
    """Write a tariff with this deck, and load it ready for rating; returns how many seconds that took."""
    chance = random.Random(SEED)  # noqa: S311 - rates, the same every time
    rows = ["prefix,rate,connect_fee,first,next"]
    for prefix in prefixes:
        rate, first, following = chance.randrange(1, 40_000), chance.choice(("", "60")), chance.choice(("1", "6"))
        rows.append(f"{prefix},{rate / 10_000:.4f},,{first},{following}")
    (folder / "world.csv").write_text("\n".join(rows), encoding="utf-8")
    (folder / "tariff.yaml").write_bytes(TARIFF.read_bytes())
    begun = time.process_time()
    catalogue = compile_catalogue(load_directory(folder).document(FOR_ALL_TIME))
    return catalogue, time.process_time() - begun


def _whole(catalogue: Catalogue, records: int, prefixes: Sequence[str]) -> tuple[int, bytes]:
    """Rate a month of records as `chargeline rate` does; returns records a second, and the last hash."""
    ledger = OfflineLedger(Catalogues([catalogue]), rules_of(MediateSettings()))
    last = [stored.hash for stored in ledger.commands(_openings())][-1]
    parsing = 0.0

    def parsed() -> Iterator[UsageRecord]:
        """Yield the records as a parser would, each lot just before it is rated; the time that takes is not counted."""
        nonlocal parsing
        made = iter(usage(records, prefixes))
        while True:
            begun = time.process_time()
            lot = list(islice(made, CHUNK))
            parsing += time.process_time() - begun
            if not lot:
                return
            yield from lot

    begun = time.process_time()
    for stored in ledger.records(parsed()):
        last = stored.hash
    return round(records / (time.process_time() - begun - parsing)), last


def _steps(catalogue: Catalogue, records: int, prefixes: Sequence[str]) -> dict[str, float]:
    """Return the seconds of each step of rating all lines, each step over all of them before the next."""
    rules, catalogues = rules_of(MediateSettings()), Catalogues([catalogue])
    directory, known = Directory(), State({}, {}, {}, set(), set())
    batch = _batch(known, catalogues)
    previous = genesis_hash(TOPIC, 0)
    for offset, opening in enumerate(_openings()):
        decided = batch.decide(prepare([CommandInput(offset, opening, b"", None, OPENED_MS)], {})[0])
        _, previous = encode_event(decided.event, None, previous)
        for binding in decided.bindings:
            directory.bind(binding.identity, binding.account, binding.spans)
    accounts = {name: Account(name, dict(account.fields)) for name, account in known.accounts.items()}
    seconds: dict[str, float] = {}
    sessions: dict[str, dict[str, str]] = {}
    made = iter(usage(records, prefixes))
    for first in range(0, records, CHUNK):
        chunk = list(islice(made, CHUNK))
        begun = time.process_time()
        bodies = [record_body(line) for line in chunk]
        values = [USAGE_RECORD.header + body for body in bodies]
        begun = _took(seconds, "encode the record", begun)
        found = [
            mediate(RawRecord(TOPIC, 0, offset, line.start_time, None, value, ()), line, directory, rules)
            for offset, (line, value) in enumerate(zip(chunk, values, strict=True), first)
        ]
        begun = _took(seconds, "find the account", begun)
        accepted = [each.usage for each in found if isinstance(each, Accepted)]
        inputs = [
            UsageInput(n, usage, accepted_body(body, usage), b"", None)
            for n, (usage, body) in enumerate(zip(accepted, bodies, strict=True), first)
        ]
        begun = _took(seconds, "encode the record", begun)
        prepared = prepare(inputs, {})
        begun = _took(seconds, "digest and numbers", begun)
        decisions = [batch.decide(item) for item in prepared]
        begun = _took(seconds, "decide", begun)
        for decided in decisions:
            _, previous = encode_event(decided.event, decided.usage_body, previous)
        begun = _took(seconds, "encode and chain the event", begun)
        _price(accepted, accounts, catalogues, sessions)
        _took(seconds, "price", begun)
    seconds["decide"] -= seconds["price"]  # pricing is a part of it; the rest is repeats, balance, effects
    _, last = _whole(catalogue, records, prefixes)
    assert previous == last, "the steps are not what chargeline rate does"
    return seconds


def _batch(known: State, catalogues: Catalogues) -> Batch:
    head = Head(0, 0, 0, KEPT_DAYS, 1, Positions(NOTHING, NOTHING, NOTHING))
    return Batch(head, known, catalogues, dict.fromkeys(map(account_name, range(ACCOUNTS)), 0), late=False)


def _took(seconds: dict[str, float], name: str, begun: float) -> float:
    now = time.process_time()
    seconds[name] = seconds.get(name, 0.0) + now - begun
    return now


def _price(
    records: Sequence[AcceptedUsage],
    accounts: dict[str, Account],
    catalogues: Catalogues,
    sessions: dict[str, dict[str, str]],
) -> None:
    """Price the records one after the other, each as the ones before it left the account, and do nothing else."""
    for record in records:
        account, session = accounts[record.account], session_key(record)
        fields = sessions.setdefault(session, {}) if session else {}
        rated = rate(record, account, catalogues, fields)
        assert isinstance(rated, Rated), "a record without a price"
        account.change(rated.account_changes, account.balance_micros - rated.amount_micros)
        fields.update({name: value for name, value in rated.session_changes.items() if value is not None})


def _deck(folder: Path, size: int) -> dict[str, Any]:
    """Load a deck of this size and look numbers up, the same ones in each; the first round makes what it needs."""
    prefixes = prefixes_of(size)
    catalogue, seconds = min((_loaded(folder, prefixes) for _ in range(RUNS)), key=lambda found: found[1])
    (plan,) = catalogue.plans
    table = plan.tables["VOICE", "MO"]
    shared = prefixes[: DECKS[0]]  # a smaller deck's prefixes are the first of a larger one's
    numbers = [f"{shared[n % len(shared)]}{n:06}" for n in range(LOOK_UPS)]
    took = []
    for _ in range(1 + RUNS):
        begun = time.process_time()
        for number in numbers:
            table.chain(number)
        took.append(time.process_time() - begun)
    return {"prefixes": size, "load_s": round(seconds, 2), "look_up_ns": round(min(took[1:]) / LOOK_UPS * 1e9)}


def main() -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.rating", description="Pricing alone, on one core.")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = run(arguments.records)
    if arguments.json:
        print(json.dumps(found))
        return 0
    print(f"as `chargeline rate` does it on one core ({found['core']}): {found['rate_records_per_s']:,} records/s")
    for name, share in found["rate_share"].items():
        print(f"  {share:6.1%}  {name}")
    print(f"the price alone, {found['rules']} rules and {DECK:,} prefixes: {found['price_records_per_s']:,} records/s")
    for deck in found["decks"]:
        size, load_s, look_up_ns = deck.values()
        print(f"a deck of {size:,}: loaded in {load_s:.2f} s, a look-up takes {look_up_ns} ns")
    return 0


if __name__ == "__main__":
    sys.exit(main())
