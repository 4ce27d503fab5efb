"""The guard of mediate against a record that ends its process: what is noted beside a committed position, and why.

Nothing of a process outlives its death but what it wrote, and mediate writes to the broker alone. So the number of
attempts stands in the note that Kafka keeps with a group's committed offset. Only the first batch of a partition after
each take-over is noted before it is begun: to note every batch would cost a round trip each, and whoever dies takes
over anew. Attempts that ended, well or with an error, are taken back; what stays counted died.

| deaths at one position | what the next owner does |
|---|---|
| 0 or 1 | a batch as ever |
| 2 | one record at a time, each noted before it is begun, until all that was in the deadly batch is answered |
| 3, the last of them with one record in hand | that record is set aside unread: dead letter `quarantined` |
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.domain.mediation import RawRecord

DEATHS_BEFORE_SINGLE: Final = 2
DEATHS_BEFORE_QUARANTINE: Final = 3

Place = tuple[str, int]
"""Topic and partition."""

_NOTE: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,18})/([0-9]{1,18})")


class Attempts(NamedTuple):
    """`begun` attempts at offset `at` that never ended; records before the offset `until` were in their batches."""

    begun: int = 0
    at: int = 0
    until: int = 0


def note_of(attempts: Attempts) -> str:
    """Write attempts as the note beside a position; none is an empty note."""
    return f"{attempts.begun}/{attempts.at}/{attempts.until}" if attempts.begun else ""


def attempts_of(note: str) -> Attempts:
    """Read a note; one that is not ours says nothing."""
    found = _NOTE.fullmatch(note)
    return Attempts(*map(int, found.groups())) if found else Attempts()


class Guard:
    """What one process knows of the attempts at its partitions. It does nothing itself: it says what to note."""

    def __init__(self) -> None:
        self._attempts: dict[Place, Attempts] = {}
        self._fresh: set[Place] = set()
        """partitions of which no batch was begun since they were taken over"""

    def taken_over(self, notes: Mapping[Place, str]) -> None:
        """Begin with these partitions, and no others; the notes are those beside their positions."""
        read = {place: attempts_of(note) for place, note in notes.items()}
        self._attempts = {place: attempts for place, attempts in read.items() if attempts.begun}
        self._fresh = set(notes)

    @property
    def singly(self) -> bool:
        """Tell whether only one record may be in hand."""
        return any(attempts.begun >= DEATHS_BEFORE_SINGLE for attempts in self._attempts.values())

    def is_deadly(self, raw: RawRecord) -> bool:
        """Tell whether this record was alone in hand when a process died, after two deaths with others in hand."""
        attempts = self._attempts.get((raw.topic, raw.partition), Attempts())
        return attempts.begun >= DEATHS_BEFORE_QUARANTINE and attempts.at == raw.offset

    def begin(self, raws: Sequence[RawRecord]) -> tuple[dict[Place, int], dict[Place, str]]:
        """Return the positions to be noted before these records are begun, and their notes: nearly always none."""
        positions: dict[Place, int] = {}
        notes: dict[Place, str] = {}
        if not self._fresh and not self._attempts:
            return positions, notes
        ends: dict[Place, int] = {}
        for raw in raws:
            place = raw.topic, raw.partition
            if place in self._fresh or place in self._attempts:
                positions.setdefault(place, raw.offset)
                ends[place] = raw.offset + 1
        for place, end in ends.items():
            attempts = self._attempts.get(place, Attempts())
            notes[place] = note_of(Attempts(attempts.begun + 1, positions[place], max(attempts.until, end)))
        return positions, notes

    def before(self, positions: Collection[Place]) -> dict[Place, str]:
        """Return the notes as they were before `begin`: of attempts that ended in an error, not in a death."""
        return {place: note_of(self._attempts.get(place, Attempts())) for place in positions}

    def after(self, positions: Mapping[Place, int]) -> dict[Place, str]:
        """Return the notes to be committed with the positions reached, and go on from there.

        As long as records of a deadly batch are left, they stay under suspicion, whoever takes them over.
        """
        if not self._fresh and not self._attempts:
            return {}
        self._fresh -= positions.keys()
        notes = {}
        for place, reached in positions.items():
            attempts = self._attempts.pop(place, Attempts())
            if attempts.begun and reached < attempts.until:
                begun = min(attempts.begun, DEATHS_BEFORE_SINGLE)
                self._attempts[place] = Attempts(begun, reached, attempts.until)
                notes[place] = note_of(self._attempts[place])
        return notes
