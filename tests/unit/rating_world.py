"""A small world to price records in: a catalogue, one account, its sessions."""

import tempfile
from datetime import datetime
from pathlib import Path

from pipeline.adapters.catalogue import compile, load_directory  # noqa: A004
from pipeline.domain.account import Account
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.rating import Rated, rate
from pipeline.domain.usage import AcceptedUsage, UsageRecord

HEAD = """
operator: Test
currency: EUR
timezone: Europe/Berlin
rounding: {decimals: 2, mode: half_up}
zones: {cn: {prefixes: ["+86"]}, mobile: {prefixes: ["+8613"]}, short: {prefixes: ["100"]}}
networks: {home: ["26201"], eu: ["20801"], eu2: ["20801", "26201"]}
bands:
  day: {from: "08:00", to: "20:00"}
  noon: {from: "12:00", to: "13:00"}
  night: {from: "20:00", to: "24:00"}
plans:
"""


def ms(text):
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def load_text(text, **files):
    """Load a catalogue written in one string (and other files by name, `_` for the dot)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tariff.yaml").write_text(text, encoding="utf-8")
        for name, content in files.items():
            Path(folder, name.replace("_", ".")).write_text(content, encoding="utf-8")
        return load_directory(folder)


def catalogue_of(text, effective_from=0):
    return compile(load_text(text).document(effective_from))


def usage(**given):
    """Return a record as mediate hands it over: a VOICE call to a German mobile unless told otherwise."""
    service = given.get("service", "VOICE")
    start = given.get("start", "2026-06-01T12:00:00+02:00")
    record = UsageRecord(
        record_id=given.get("record_id", "r"),
        source="s",
        sequence=None,
        service=service,
        direction=given.get("direction", "MO"),
        msisdn="+491511",
        imsi=None,
        imei=None,
        other_party=given.get("to", "+49151234567"),
        start_time=start if isinstance(start, int) else ms(start),
        duration_ms=given.get("ms", given.get("seconds", 0) * 1_000),
        uplink_octets=0,
        downlink_octets=given.get("octets", 0),
        message_count=given.get("parts", 0 if service in ("VOICE", "DATA") else 1),
        answered=given.get("answered", True),
        visited_plmn=given.get("visited"),
        cell=None,
        rating_group=given.get("rating_group"),
        session_id=given.get("session"),
        partial_number=given.get("partial"),
        cause_for_closing=None,
        retransmission=False,
    )
    return AcceptedUsage(*record, "a", record.start_time, "t", 0, 0, given.get("on_net", False))


class World:
    """One account that is charged, record after record, as the ledger would."""

    def __init__(self, catalogues, plan, currency="EUR"):
        self.catalogues = catalogues if isinstance(catalogues, Catalogues) else Catalogues([catalogues])
        fields = {"balance": "0", "seq": "0", "status": "open", "currency": currency}
        self.account = Account("a", {**fields, "plans": f"{plan}@0", "identities": ""})
        self.sessions = {}
        self.count = 0

    def rate(self, **given):
        """Price a record and keep nothing."""
        return rate(usage(**given), self.account, self.catalogues, self.sessions.get(given.get("session"), {}))

    def charge(self, **given):
        """Price a record and keep what it changes; returns Rated or the refusal."""
        self.count += 1
        rated = self.rate(**{"record_id": f"r{self.count}", **given})
        if isinstance(rated, Rated):
            self.account.change(rated.account_changes, self.account.balance_micros - rated.amount_micros)
            self.sessions.setdefault(given.get("session"), {}).update(rated.session_changes)
        return rated
