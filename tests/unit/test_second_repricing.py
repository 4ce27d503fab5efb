"""I8: a ledger whose charges are what catalogue, record and state make them has no breach; an altered one has."""

import pytest
from audit_ledger import LedgerMaker
from second_cases import Case

from consumers.audit.partition import PartitionAudit
from consumers.audit.pricing import Published
from consumers.audit.register import Register
from consumers.audit.repricing import Repricing
from pipeline.domain.account import Account
from pipeline.domain.batch import Head, State, UsageInput, prepare
from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.charging import Batch
from pipeline.domain.ledger import Effects, Position, Positions

CATALOGUES = 7
"""the next offset of the catalogue topic"""
POSITIONS = Positions(Position(b"u" * 16, 0), Position(b"c" * 16, 1), Position(b"k" * 16, CATALOGUES))


class Ledger:
    """The events of one account that charge makes of a random world."""

    def __init__(self, seed, records=100):
        case = Case(seed)
        self.versions = [Published(document) for document in case.documents]
        opened = (
            LedgerMaker()
            .opened()
            ._replace(effects=Effects(dict(case.fields), {}, None, None), clock=0, currency=case.fields["currency"])
        )
        fields = {**case.fields, "balance": str(opened.balance_after_micros), "identities": "msisdn-+491511@0-"}
        catalogues = Catalogues([compile_catalogue(document) for document in case.documents])
        state = State({"a": Account("a", fields)}, {}, {}, set(), set())
        batch = Batch(Head(0, 1, 0, 35, 1, POSITIONS), state, catalogues, {"a": 0}, late=False)
        inputs = [UsageInput(offset, usage, None, b"", None) for offset, usage in enumerate(case.usages[:records])]
        self.events = [
            opened._replace(positions=POSITIONS),
            *(batch.decide(each).event for each in prepare(inputs, {})),
        ]

    def below(self, offset):
        """The versions published below an offset, as PublishedVersions has them: one at each offset."""
        return [version for at, version in enumerate(self.versions) if at < offset]

    def findings(self, at=None, **altered):
        """Follow the ledger, with one event altered; returns (index, finding) of each that is wrong."""
        repricing = Repricing(self.below)
        events = list(self.events)
        if at is not None:
            events[at] = events[at]._replace(**altered)
        found = [(index, repricing.follow(event)) for index, event in enumerate(events)]
        return [(index, finding) for index, finding in found if finding is not None]

    def first(self, wanted):
        """The first event of this kind; a world that has none is not the one to ask."""
        return next(index for index, event in enumerate(self.events) if wanted(event))


def world_with(wanted, *, bought=True):
    """The first world with such an event, and where it is; without `bought` one that nobody bought a bucket in."""
    for seed in range(500):
        ledger = Ledger(seed, records=40)
        if not bought and "grant:1" in ledger.events[0].effects.account:
            continue
        for index, event in enumerate(ledger.events):
            if event.kind == "CHARGED" and wanted(event):
                return ledger, index
    raise AssertionError("no such world")


@pytest.mark.parametrize("seed", range(12))
def test_what_charge_makes_is_what_the_second_implementation_makes(seed):
    """The events of a random world, charged by the real batch, break nothing: charges and refusals."""
    ledger = Ledger(seed)
    assert not ledger.findings()


def changed(event, **fields):
    return (event.lines[0]._replace(**fields), *event.lines[1:])


def test_another_amount_is_found():
    """One micro-unit more, in amount and line, so that the books balance all the same."""
    ledger, at = world_with(lambda event: event.amount_micros > 0)
    event = ledger.events[at]
    amount = event.amount_micros + 1
    lines = changed(event, amount_micros=event.lines[0].amount_micros + 1)
    (found, finding), *_ = ledger.findings(at, amount_micros=amount, lines=lines)
    assert (found, finding.invariant) == (at, "I8")
    assert finding.detail == f"the amount is {amount}, but {event.amount_micros} is due"


@pytest.mark.parametrize(
    "fields",
    [
        {"rule": "another"},
        {"catalogue": "0" * 64},
        {"quantity": 123_457},
        {"quantity_rounded": 123_457},
        {"allowance": "none"},
        {"allowance_used": 123_457},
        {"band": "none"},
        {"prefix": "+0"},
    ],
    ids=str,
)
def test_another_line_is_found(fields):
    """Each fact of a line that says how the price came about."""
    ledger, at = world_with(lambda event: event.amount_micros > 0)
    (found, finding), *_ = ledger.findings(at, lines=changed(ledger.events[at], **fields))
    assert (found, finding.invariant) == (at, "I8")
    assert finding.detail.startswith(f"line 1: {next(iter(fields))} is")


def test_a_line_too_many_is_found():
    """A line of nothing beside the right ones."""
    ledger, at = world_with(lambda event: event.amount_micros > 0)
    lines = (*ledger.events[at].lines, ledger.events[at].lines[0]._replace(amount_micros=0))
    (found, finding), *_ = ledger.findings(at, lines=lines)
    assert (found, finding.invariant) == (at, "I8")


@pytest.mark.parametrize("prefix", ["bucket:", "grant:", "meter:", "cap:", "rolled:"])
@pytest.mark.parametrize("how", ["another", "none"])
def test_another_effect_is_found(prefix, how):
    """A bucket, a bought bucket, a meter, a cap or a rolled bucket that is left otherwise than the price leaves it."""
    ledger, at = world_with(lambda event: any(name.startswith(prefix) for name in event.effects.account))
    effects = ledger.events[at].effects
    fields = dict(effects.account)
    name = next(name for name in fields if name.startswith(prefix))
    value = fields.pop(name)
    if how == "another":
        fields[name] = "9" + value
    (found, finding), *_ = ledger.findings(at, effects=effects._replace(account=fields))
    assert (found, finding.invariant) == (at, "I8")
    assert name in finding.detail


@pytest.mark.parametrize("how", ["another", "none"])
def test_another_part_of_a_session_is_found(how):
    """What the next record of the session will be priced by."""
    ledger, at = world_with(lambda event: event.effects.session is not None)
    effects = ledger.events[at].effects
    fields = dict(effects.session.fields)
    name = next(name for name in fields if name != "day")
    value = fields.pop(name)
    if how == "another":
        fields[name] = "9" + value
    session = effects.session._replace(fields=fields)
    (found, finding), *_ = ledger.findings(at, effects=effects._replace(session=session))
    assert (found, finding.invariant) == (at, "I8")


def test_a_charge_by_a_version_that_was_not_known_is_found():
    """The event's own position says which versions there were: by none of them nothing is charged."""
    ledger, at = world_with(lambda event: event.amount_micros > 0)
    none = POSITIONS._replace(catalogue=Position(b"k" * 16, 0))
    (found, finding), *_ = ledger.findings(at, positions=none)
    assert (found, finding.invariant) == (at, "I8")
    assert finding.detail == "it is charged, but no_plan is due"


def test_a_refusal_of_what_has_a_price_is_found():
    """REJECTED `no_tariff` for a record that a rule prices."""
    ledger, at = world_with(lambda event: event.amount_micros > 0)
    event = ledger.events[at]
    refused = {"kind": "REJECTED", "reason": "no_tariff", "lines": (), "effects": Effects({}, {}, None, None)}
    (found, finding), *_ = ledger.findings(
        at, amount_micros=0, balance_after_micros=event.balance_before_micros, **refused
    )
    assert (found, finding.detail) == (at, "refused as no_tariff, but it has a price")


def test_another_reason_is_found():
    """`no_plan` where a plan there is, without a rule for the record."""
    ledger, at = next(
        (ledger, index)
        for ledger in map(Ledger, range(100))
        for index, event in enumerate(ledger.events)
        if event.reason == "no_tariff"
    )
    assert ledger.findings(at, reason="no_plan") == [(at, ("I8", "refused as no_plan, but no_tariff is due"))]


def test_the_audit_of_a_partition_stops_at_the_first_wrong_price():
    """A forger with all the keys ties the chain anew over another rule in a line: only the price tells."""
    ledger, at = world_with(lambda event: event.amount_micros > 0, bought=False)
    made = LedgerMaker()
    made.events = [
        event._replace(seq=seq, usage=_of_offset(event.usage, seq)) for seq, event in enumerate(ledger.events, 1)
    ]
    assert _audited(made, ledger) is None
    made.change(at + 1, lines=changed(made.events[at], rule="another"))
    breach = _audited(made, ledger)
    assert (breach.seq, breach.invariant) == (at + 1, "I8")


def _audited(made, ledger):
    repricing = Repricing(ledger.below)
    audit = PartitionAudit(0, 1, made.genesis, Register(), today=None, repricing=repricing)
    for offset, value in enumerate(made.values()):
        breach = audit.take(value, offset)
        if breach is not None:
            return breach
    assert repricing.repriced
    return audit.close()


def _of_offset(usage, offset):
    """The same record from a raw offset of its own: nothing is charged twice."""
    return None if usage is None else usage._replace(source_offset=offset)
