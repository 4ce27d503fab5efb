"""Publishing catalogues: a new version onto its topic, never a change to one that is there."""

import hashlib
from typing import Any, Final, NamedTuple

from pipeline.adapters.avro import CATALOGUE_VERSION
from pipeline.adapters.catalogue import LoadedCatalogue
from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed
from pipeline.adapters.kafka.delivery import Delivery, Outgoing
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.catalogue import Catalogues, canonical_bytes
from pipeline.domain.outcome import Refusal
from pipeline.settings import Settings
from pipeline.topics import CATALOGUE, MIB

NOTICE_MS: Final = 60_000
"""How far ahead a version must be announced, so that no record of its time is rated before every worker has it."""
_BYTES_MAX: Final = 15 * MIB
_TIMEOUT_S: Final = 30.0


class Published(NamedTuple):
    """A version that is on the topic. `again`: it was there before, and nothing was sent."""

    hash: str
    effective_from: int
    again: bool


def choose_start(catalogues: Catalogues, asked_ms: int | None, now_ms: int) -> int | Refusal:
    """Return when a new version takes effect: the moment asked for, or as soon as allowed.

    The first version holds for all time before it, so it may take effect at once.
    """
    newest = catalogues.newest()
    if newest is None:
        return now_ms if asked_ms is None else asked_ms
    earliest = max(now_ms + NOTICE_MS, newest.effective_from + 1)
    if asked_ms is None:  # more than the notice, so that publishing itself does not use it up
        return max(earliest, now_ms + 2 * NOTICE_MS)
    if asked_ms < earliest:
        return Refusal(
            "too_soon",
            {"asked": iso_time(asked_ms), "earliest": iso_time(earliest), "newest": iso_time(newest.effective_from)},
        )
    return asked_ms


def publish(settings: Settings, loaded: LoadedCatalogue, asked_ms: int | None, now_ms: int) -> Published | Refusal:
    """Publish a catalogue as a new version; the newest one with the same content is not published again.

    Raises BrokerError. Two publishers at once are not kept apart: one at a time.
    """
    feed = CatalogueFeed(settings)
    try:
        catalogues, _ = feed.read_to_end()
    finally:
        feed.close()
    newest = catalogues.newest()
    if newest is not None and version_hash(loaded.document(newest.effective_from)) == newest.hash:
        return Published(newest.hash, newest.effective_from, again=True)
    start = choose_start(catalogues, asked_ms, now_ms)
    if isinstance(start, Refusal):
        return start
    document = loaded.document(start)
    text = canonical_bytes(document)
    if len(text) > _BYTES_MAX:
        return Refusal("too_large", {"bytes": len(text), "at_most": _BYTES_MAX})
    found = version_hash(document)
    value = CATALOGUE_VERSION.encode(
        {"hash": found, "effective_from": start, "published_at": now_ms, "document": text.decode()}
    )
    delivery = Delivery(settings, _TIMEOUT_S, **_LARGE)
    delivery.send(Outgoing(CATALOGUE.name, found.encode(), value, (), 0), lambda *_: None)
    delivery.flush()
    return Published(found, start, again=False)


_LARGE: Final[dict[str, Any]] = {"message.max.bytes": 16 * MIB, "compression.type": "zstd"}


def version_hash(document: dict[str, Any]) -> str:
    """Return the hash that names a version: SHA-256 of its canonical document, as hex."""
    return hashlib.sha256(canonical_bytes(document)).hexdigest()
