"""The session's meter: one path of all the parts of a session that are known so far, by their own time.

Partial records arrive in any order. Each part takes its place by (start, partial number, record id), and what the
record costs is the price of the path with it less the price without it. So every order of arrival comes to the same
sum, and a part that arrives before an earlier one may be followed by a negative charge.

A session's state has one field a part, `START:PARTIAL:RECORD_ID`, with the value
`recorded taken rule plan valid_from prefix catalogue`: the quantity recorded and what an allowance took of it, and
which rule prices it (`-` no prefix; the plan's version by its `valid_from` in ms; the catalogue by its hash). A part
with a discount names it last.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.domain.catalogue import Catalogues
from pipeline.domain.matching import Rule
from pipeline.domain.meter import START, Bought, Curve, Reading, advance, round_up
from pipeline.domain.worth import Discount


class PathPart(NamedTuple):
    """One part on a session's path. Sorts by its place."""

    start_ms: int
    partial_number: int
    record_id: str
    recorded: int
    taken: int
    rule: Rule
    curve: Curve
    discount: Discount | None = None

    def place(self) -> tuple[int, int, str]:
        """Return where on the path it stands."""
        return self.start_ms, self.partial_number, self.record_id


class Walked(NamedTuple):
    """A path walked so far: the meter, the quantity recorded on it, what was bought last, the connect fees on it."""

    reading: Reading
    recorded: int
    bought: Bought
    connect_fee_micros: int


WALKED_NOTHING = Walked(START, 0, (), 0)


def field_of(part: PathPart) -> str:
    """Return the name of the part's field in the session's state."""
    return f"{part.start_ms}:{part.partial_number}:{part.record_id}"


def value_of(part: PathPart, prefix: str | None, plan: str, valid_from: int, catalogue: str) -> str:
    """Return the value of the part's field."""
    text = f"{part.recorded} {part.taken} {part.rule.id} {plan} {valid_from} {prefix or '-'} {catalogue}"
    return text if part.discount is None else f"{text} {part.discount.id}"


def read_path(session: Mapping[str, str], catalogues: Catalogues) -> list[PathPart]:
    """Read a session's state: its parts in their order. Every version that a part names must be given."""
    known: dict[str, tuple[Rule, Curve, Discount | None]] = {}
    parts = []
    for name, value in session.items():
        start, partial_number, record_id = name.split(":", 2)
        recorded, taken, priced_by = value.split(" ", 2)
        found = known.get(priced_by)
        if found is None:
            found = known[priced_by] = _priced_by(priced_by, catalogues)
        parts.append(PathPart(int(start), int(partial_number), record_id, int(recorded), int(taken), *found))
    parts.sort(key=PathPart.place)
    return parts


def _priced_by(text: str, catalogues: Catalogues) -> tuple[Rule, Curve, Discount | None]:
    """Find what `rule plan valid_from prefix catalogue [discount]` name."""
    rule_id, plan_id, valid_from, prefix, version, *discounts = text.split(" ")
    catalogue = catalogues.by_hash(version)
    assert catalogue is not None, "a session names a catalogue that is not there"
    plan = catalogue.plan_at(plan_id, int(valid_from))
    assert plan is not None, "a session names a plan that its catalogue does not have"
    rule = plan.rule(rule_id)
    discount = plan.discount(discounts[0]) if discounts else None
    return rule, rule.curve(None if prefix == "-" else prefix), discount


def share_after(path: Sequence[PathPart], preceding: int, part: PathPart) -> int:
    """Return a part's share R(Q + x) - R(Q) where Q precedes it; R is the rounding of the path's first part."""
    to = path[0].rule.round_up
    return round_up(preceding + part.recorded, to) - round_up(preceding, to) if to else part.recorded


def step_on(walked: Walked, part: PathPart, share: int) -> Walked:
    """Walk one part more: its share, less what an allowance took of it."""
    quantity = max(share - part.taken, 0)
    step = advance(
        walked.reading, part.curve, part.rule.rounding, quantity, walked.reading.quantity == 0, part.discount
    )
    fees = walked.connect_fee_micros + step.connect_fee_micros
    return Walked(step.reading, walked.recorded + part.recorded, step.bought, fees)


def walk(path: Sequence[PathPart]) -> Walked:
    """Walk a whole path from nothing; its `bought` is of all parts."""
    walked = WALKED_NOTHING
    bought: list[tuple[Curve, int, int]] = []
    for part in path:
        walked = step_on(walked, part, share_after(path, walked.recorded, part))
        bought += walked.bought
    return walked._replace(bought=tuple(bought))


def net_bought(after: Bought, before: Bought) -> Bought:
    """Return what the path buys more (or, negative, less) than it did, a row for each step of each curve."""
    counts: dict[tuple[int, int], tuple[Curve, int, int]] = {}
    for sign, bought in ((1, after), (-1, before)):
        for curve, step, count in bought:
            known = counts.get((id(curve), step))
            counts[id(curve), step] = (curve, step, sign * count + (known[2] if known else 0))
    return tuple(row for row in counts.values() if row[2])
