"""I1, I2, I7: events follow one another without gaps, each vouching for all before it."""

from collections.abc import Mapping
from typing import Any, Final

from consumers.audit.breach import CHAIN, EPOCH, SEQUENCE, Finding
from pipeline.adapters.avro import HASH_BYTES, HEADER_BYTES
from pipeline.adapters.ledger_codec import StoredEvent, expected_hash

_BYTES_MIN: Final = HEADER_BYTES + HASH_BYTES


class Chain:
    """Where the ledger of one partition stands: the event last taken, and what the next one must continue."""

    def __init__(self, genesis: bytes) -> None:
        self.seq = 0
        self.hash = genesis
        self.epoch = 0
        self.clock = 0

    def remember(self) -> dict[str, Any]:
        """Return what `recall` needs."""
        return {"seq": self.seq, "hash": self.hash.hex(), "epoch": self.epoch, "clock": self.clock}

    def recall(self, remembered: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.seq, self.epoch, self.clock = remembered["seq"], remembered["epoch"], remembered["clock"]
        self.hash = bytes.fromhex(remembered["hash"])

    def vouch(self, data: bytes | None, offset: int) -> Finding | None:
        """Check that the bytes hash to the hash they end in; to be asked before they are read at all."""
        if data is None or len(data) < _BYTES_MIN:
            return Finding(CHAIN, f"the value at offset {offset} is too short for an event")
        if data[-HASH_BYTES:] != expected_hash(data):
            return Finding(CHAIN, f"the bytes at offset {offset} do not hash to the hash they end in")
        return None

    def follow(self, stored: StoredEvent) -> Finding | None:
        """Check that the event continues the one before, and move on to it."""
        event = stored.event
        if event.seq != self.seq + 1:
            return Finding(SEQUENCE, f"event {event.seq} follows event {self.seq}")
        if stored.previous_hash != self.hash:
            behind = f"event {self.seq}" if self.seq else "the topic's id and the partition (the first of a chain)"
            return Finding(CHAIN, f"previous_hash is not the hash of {behind}")
        if not self.epoch <= event.epoch <= self.epoch + 1:
            return Finding(EPOCH, f"epoch goes from {self.epoch} to {event.epoch}")
        received_at = event.usage.received_at if event.usage is not None and event.command is None else 0
        if event.clock < max(self.clock, received_at):
            return Finding(EPOCH, f"the clock {event.clock} is behind {max(self.clock, received_at)}")
        self.seq = event.seq
        self.hash = stored.hash
        self.epoch = event.epoch
        self.clock = event.clock
        return None
