"""I4: every offset of both account topics below `positions` has exactly one event.

Each event moves exactly one of the two positions, to behind the offset that it answers; a SEAL moves none, unless it
records a loss that an operator accepted. Offsets that were skipped are kept as gaps: they must hold no record (markers
of a transaction do not count), which only the topic itself can show.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from consumers.audit.breach import COVERAGE, Finding
from pipeline.domain.ledger import Event, Position, Positions
from pipeline.domain.outcome import SEAL

USAGE: Final = "usage"
COMMAND: Final = "command"


class Gap(NamedTuple):
    """Offsets `first` to `end` (exclusive) of one input that no event answers; the event `seq` passed over them."""

    input: str
    first: int
    end: int
    seq: int


class Coverage:
    """Where the inputs of one partition stand, by the events so far."""

    def __init__(self) -> None:
        self.positions: Positions | None = None
        self.gaps: list[Gap] = []

    def follow(self, event: Event) -> Finding | None:
        """Check what the event says it answers, and move on to it."""
        after = event.positions
        before = self.positions or Positions(*(Position(position.topic_id, 0) for position in after))
        self.positions = after
        if event.kind == SEAL and event.reason == "accepted_loss":
            self.gaps = [gap for gap in self.gaps if getattr(after, gap.input).topic_id == _topic_id(before, gap.input)]
            return None
        for name, old, new in zip(Positions._fields, before, after, strict=True):
            if new.topic_id != old.topic_id:
                return Finding(COVERAGE, f"the {name} topic became another one without an accepted loss")
            if new.offset < old.offset:
                return Finding(COVERAGE, f"the {name} position falls from {old.offset} to {new.offset}")
        moved = [name for name in (USAGE, COMMAND) if getattr(after, name) != getattr(before, name)]
        if event.kind == SEAL:
            return None if not moved else Finding(COVERAGE, f"a SEAL moves the position of {' and '.join(moved)}")
        if len(moved) != 1:
            what = "neither input" if not moved else "both inputs"
            return Finding(COVERAGE, f"the event answers {what}: it must move one position")
        return self._answered(event, moved[0], getattr(before, moved[0]).offset, getattr(after, moved[0]).offset)

    def remember(self) -> dict[str, Any]:
        """Return what `recall` needs."""
        positions = None if self.positions is None else [[p.topic_id.hex(), p.offset] for p in self.positions]
        return {"positions": positions, "gaps": [list(gap) for gap in self.gaps]}

    def recall(self, remembered: Mapping[str, Any]) -> None:
        """Go on from there."""
        if remembered["positions"] is not None:
            self.positions = Positions(*(Position(bytes.fromhex(t), at) for t, at in remembered["positions"]))
        self.gaps = [Gap(*gap) for gap in remembered["gaps"]]

    def _answered(self, event: Event, name: str, before: int, after: int) -> Finding | None:
        expected = COMMAND if event.command is not None else USAGE if event.usage is not None else name
        if name != expected:
            return Finding(COVERAGE, f"the event holds a {expected} but moves the position of {name}")
        if after - before > 1:
            self.gaps.append(Gap(name, before, after - 1, event.seq))
        return None


def _topic_id(positions: Positions, name: str) -> bytes:
    position: Position = getattr(positions, name)
    return position.topic_id


def first_unanswered(gaps: Iterable[Gap], offsets: Iterable[int]) -> tuple[Gap, int] | None:
    """Return the first record that lies in a gap, with the gap; both given in rising order, of one input."""
    waiting = iter(gaps)
    gap = next(waiting, None)
    for offset in offsets:
        while gap is not None and gap.end <= offset:
            gap = next(waiting, None)
        if gap is None:
            return None
        if offset >= gap.first:
            return gap, offset
    return None
