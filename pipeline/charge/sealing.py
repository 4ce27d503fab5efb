"""When a partition is sealed, and what its seal says. Time decides only when.

The figures so far are those of the last seal and of the events since. So nobody need keep them: whoever takes over
counts what it writes, and when the next seal is due reads back, once, from its take-over to the seal before.

| what happens | what is done |
|---|---|
| the batch passes a multiple of `seal_events` | the seal is written in the batch's own transaction |
| `seal_interval_s` since the last seal or take-over, and events since | a seal, behind the next batch or by itself |
| no event since the last seal | nothing: a quiet partition is sealed once |
| no seal within reach behind the take-over | the ledger is read further back, to its beginning if need be |
"""

import time
from collections.abc import Callable

from pipeline.adapters.ledger_codec import StoredEvent
from pipeline.adapters.partition import PartitionEdge
from pipeline.domain.batch import Decided
from pipeline.domain.charging import Batch
from pipeline.domain.ledger import Event
from pipeline.domain.seal import SEALED, Totals, is_seal, totals_of
from pipeline.settings import ChargeSettings

_BACK_FACTOR = 8


class Sealing:
    """The seals of one owner; made with it, and gone with its first error."""

    def __init__(
        self, edge: PartitionEdge, settings: ChargeSettings, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._edge = edge
        self._settings = settings
        self._clock_s = clock_s
        self._sealed_at_s = clock_s()
        self._sealed_seq = 0
        self._taken_over_seq = 0
        self._before: Totals | None = None
        """up to the take-over; None until the first seal asks for it"""
        self._since = Totals()

    def begin(self, last: StoredEvent | None) -> None:
        """Begin behind the event that the take-over found last."""
        if last is not None:
            self._taken_over_seq = last.event.seq
            self._sealed_seq = last.event.seq if is_seal(last.event) else 0

    def count(self, event: Event) -> None:
        """Count an event that this owner is about to write."""
        self._since.add(event)

    def due(self, seq_before: int, seq: int) -> bool:
        """Tell whether a seal is due behind event `seq`, of a batch that began behind `seq_before`."""
        if seq == self._sealed_seq or not seq:
            return False
        every = self._settings.seal_events
        return (
            seq // every > seq_before // every or self._clock_s() - self._sealed_at_s >= self._settings.seal_interval_s
        )

    def seal(self, batch: Batch) -> Decided:
        """Return the seal behind all that was counted; it is counted itself, and to be written next."""
        if self._before is None:
            self._before = self._read_back()
        totals = Totals()
        totals.add_all(self._before)
        totals.add_all(self._since)
        assert totals.events == batch.head.seq, "an event was not counted"
        decided = batch.seal(SEALED, totals.detail())
        self.count(decided.event)
        self._sealed_seq, self._sealed_at_s = decided.event.seq, self._clock_s()
        return decided

    def _read_back(self) -> Totals:
        """Count the ledger up to the take-over, from the seal before it on."""
        end = self._taken_over_seq
        back = 2 * self._settings.seal_events
        while True:
            start = max(0, end - back)
            totals = Totals() if start == 0 else None
            for stored in self._edge.events_after(start) if end else ():
                if stored.event.seq > end:
                    break
                if is_seal(stored.event):
                    totals = totals_of(stored.event)
                elif totals is not None:
                    totals.add(stored.event)
            if totals is not None:
                return totals
            back *= _BACK_FACTOR
