"""The peer's figures, as measured: CGRateS, the deepest open rating engine, on a machine of the same kind.

Two cores shared by engine, Redis 7.0 and load client; loopback; JSON-RPC, closed loop, one record a call; 5,000 prepaid
accounts in Redis, each record rated and debited; its own tutorial tariff; its slowest default turned off in its
favour; 20,000 records a run. The floor ran at 31,000 to 44,000 records/s on that machine in the same hour.
"""

from typing import Final, NamedTuple

FLOOR_LOW: Final = 31_000
FLOOR_HIGH: Final = 44_000


class PeerRow(NamedTuple):
    """One set-up of the peer: records/s at best, and what of it outlives a crash."""

    name: str
    records_per_s: int
    latency_ms: str
    cpu_us: str
    durable: str

    @property
    def ratio(self) -> float:
        """Return its ratio to the floor at the middle of what the floor did that hour."""
        return 2 * self.records_per_s / (FLOOR_LOW + FLOOR_HIGH)

    @property
    def ratios(self) -> tuple[float, float]:
        """Return the ratio at the floor's fastest and, kindest to the peer, at its slowest."""
        return self.records_per_s / FLOOR_HIGH, self.records_per_s / FLOOR_LOW


PEER: Final = (
    PeerRow("records not stored at all, collector relaxed", 11_184, "2.6 / 9", "128", "nothing"),
    PeerRow("records in process memory, collector relaxed", 9_500, "3 / 13", "160-206", "nothing"),
    PeerRow("records in process memory, 32 connections", 7_800, "3.2 / 15", "204-210", "nothing"),
    PeerRow("the same, Redis append-only, fsync each second", 7_174, "3.5 / 16", "218", "balances, but for a second"),
    PeerRow("the same, tariff of 10,000 prefixes, 4 timings", 6_374, "3.7 / 21", "247", "nothing"),
    PeerRow("its Kafka reader, in-memory broker, 32 at once", 3_823, "", "390", "nothing"),
    PeerRow("records in PostgreSQL, Redis append-only", 3_130, "9.5 / 23", "318-366", "records and balances"),
    PeerRow("as shipped, 8 connections", 264, "30 / 44", "1,260", "nothing"),
)
