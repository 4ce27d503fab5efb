"""Every metric of every process, as data; the only importer of prometheus_client.

A process class has its own tuple below; `DEFINITIONS` is all of them, and what docs and dashboards are tested
against. Names begin with `chargeline_`, units are seconds, records, bytes. A label has a short closed list of values:
never an account, a number or an id.

    metrics = Metrics("mediate")
    received = metrics.counter("chargeline_mediate_records_total")            # bound once, at the start
    refused = metrics.counter("chargeline_mediate_dead_letters_total", reason="bad_number")
    received.inc(2_000)
"""

from typing import Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

__all__ = ["DEFINITIONS", "Counter", "Definition", "Gauge", "Histogram", "Metrics"]

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

BATCH_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets for the time of a batch: a transaction of small ones takes milliseconds, a wait for a broker seconds."""


class Definition(NamedTuple):
    """A metric as it is documented. `buckets` are a histogram's upper bounds, in its unit."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


MEDIATE: Final = (
    Definition("chargeline_mediate_records_total", COUNTER, "Raw usage records read and settled one way or the other."),
    Definition("chargeline_mediate_accepted_total", COUNTER, "Records that were given an account."),
    Definition("chargeline_mediate_dead_letters_total", COUNTER, "Records set aside, by reason.", ("reason",)),
    Definition(
        "chargeline_mediate_batch_seconds",
        HISTOGRAM,
        "From the raw records at hand to their offsets committed.",
        buckets=BATCH_SECONDS,
    ),
    Definition("chargeline_mediate_lag_records", GAUGE, "Raw records on this process's partitions not yet read."),
    Definition(
        "chargeline_mediate_newest_record_age_seconds",
        GAUGE,
        "Age of the newest record of the last batch, by the broker's time, when it was settled.",
    ),
    Definition("chargeline_mediate_directory_identities", GAUGE, "Identities in the subscriber directory."),
)
CHARGE: Final = (
    Definition("chargeline_charge_records_total", COUNTER, "Records and commands answered by an event of the ledger."),
    Definition(
        "chargeline_charge_batch_seconds",
        HISTOGRAM,
        "From waiting for the first record of a batch to its events visible in the view.",
        buckets=BATCH_SECONDS,
    ),
    Definition("chargeline_charge_take_overs_total", COUNTER, "Partitions taken over: at assignment and after errors."),
    Definition("chargeline_charge_replayed_events_total", COUNTER, "Events written into the view by take-overs."),
    Definition("chargeline_charge_partitions", GAUGE, "Ledger partitions that this process owns."),
)
DETECT: Final = (
    Definition("chargeline_detect_events_total", COUNTER, "Events of the ledger looked at."),
    Definition(
        "chargeline_detect_alerts_total", COUNTER, "Alerts raised or closed, repeats included.", ("detector", "state")
    ),
    Definition(
        "chargeline_detect_unreadable_total", COUNTER, "Events passed over because they could not be read.", ("reason",)
    ),
    Definition(
        "chargeline_detect_faults_total", COUNTER, "Events that one detector failed on; others had them.", ("detector",)
    ),
    Definition(
        "chargeline_detect_failed_deliveries_total", COUNTER, "Attempts to send an alert that failed; each is repeated."
    ),
    Definition("chargeline_detect_partitions", GAUGE, "Partitions that this process reads, of all its topics."),
    Definition("chargeline_detect_lag_records", GAUGE, "Offsets of this process's partitions not yet done."),
)
AUDIT: Final = (
    Definition("chargeline_audit_events_total", COUNTER, "Events of the ledger audited."),
    Definition("chargeline_audit_repriced_total", COUNTER, "Charges and refusals worked out a second time."),
    Definition(
        "chargeline_audit_views_total", COUNTER, "Partitions of Redis compared with the ledger, and found right."
    ),
    Definition("chargeline_audit_seals_total", COUNTER, "Seals found right, and signed."),
    Definition("chargeline_audit_breach", GAUGE, "Whether a promise was found broken: 1, else 0."),
    Definition("chargeline_audit_last_seq", GAUGE, "Last event audited of each ledger partition.", ("partition",)),
    Definition("chargeline_audit_lag_records", GAUGE, "Offsets of the ledger not yet audited."),
    Definition("chargeline_audit_lag_seconds", GAUGE, "Age of the last event audited where more wait, else 0."),
    Definition(
        "chargeline_audit_books_micros",
        GAUGE,
        "Sums of the books in micro-units: balance is opening, topped_up and adjusted less charged.",
        ("figure", "currency"),
    ),
    Definition("chargeline_audit_records", GAUGE, "Raw records in the control totals, by outcome.", ("outcome",)),
)
ALERTS: Final = (
    Definition("chargeline_alerts_changes_total", COUNTER, "Changes of alerts taken in, by new state.", ("state",)),
    Definition(
        "chargeline_alerts_repeats_total", COUNTER, "Alerts read again, or older than what is known: no change."
    ),
    Definition("chargeline_alerts_unreadable_total", COUNTER, "Alerts passed over because they could not be read."),
    Definition("chargeline_alerts_open", GAUGE, "Alerts that are open, by severity.", ("severity",)),
    Definition(
        "chargeline_alerts_waiting", GAUGE, "Webhooks that are to be delivered, those of later attempts included."
    ),
    Definition(
        "chargeline_alerts_deliveries_total", COUNTER, "Attempts to deliver a webhook, by outcome.", ("outcome",)
    ),
    Definition(
        "chargeline_alerts_alertmanager_failures_total",
        COUNTER,
        "Requests to an Alertmanager that failed; each is repeated.",
    ),
    Definition("chargeline_alerts_streams", GAUGE, "Event streams that are open."),
    Definition("chargeline_alerts_lag_records", GAUGE, "Offsets of the alert topic not yet taken in."),
)

DEFINITIONS: Final = {"mediate": MEDIATE, "charge": CHARGE, "detect": DETECT, "audit": AUDIT, "alerts": ALERTS}
"""What each process exports, besides `process_*` and `python_info`."""

disable_created_metrics()  # type: ignore[no-untyped-call] # a series of creation times beside every counter, which nobody asks for
_CLASSES: Final = {COUNTER: Counter, GAUGE: Gauge, HISTOGRAM: Histogram}


class Metrics:
    """The metrics of one process, in a registry of its own; safe from any thread.

    `counter`, `gauge` and `histogram` return the one child for those label values: keep it, for binding costs more
    than counting. Asking for a name that is not defined, with other labels or as another kind is a bug.
    """

    content_type: Final = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, process: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._definitions = {definition.name: definition for definition in DEFINITIONS[process]}
        self._families: dict[str, Counter | Gauge | Histogram] = {
            name: self._family(definition) for name, definition in self._definitions.items()
        }

    def _family(self, definition: Definition) -> Counter | Gauge | Histogram:
        if definition.kind == HISTOGRAM:
            return Histogram(
                definition.name,
                definition.help,
                definition.labels,
                registry=self._registry,
                buckets=definition.buckets,
            )
        made: Counter | Gauge = _CLASSES[definition.kind](
            definition.name, definition.help, definition.labels, registry=self._registry
        )
        return made

    def counter(self, name: str, **labels: str) -> Counter:
        """Return the counter of these label values, exported as 0 from now on."""
        child = self._child(name, labels)
        assert isinstance(child, Counter)
        return child

    def gauge(self, name: str, **labels: str) -> Gauge:
        """Return the gauge of these label values."""
        child = self._child(name, labels)
        assert isinstance(child, Gauge)
        return child

    def histogram(self, name: str, **labels: str) -> Histogram:
        """Return the histogram of these label values."""
        child = self._child(name, labels)
        assert isinstance(child, Histogram)
        return child

    def _child(self, name: str, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        family = self._families[name]
        assert set(labels) == set(self._definitions[name].labels), f"labels of {name}"
        return family.labels(**labels) if labels else family

    def exposition(self) -> bytes:
        """Return all values as Prometheus reads them (`content_type`)."""
        return generate_latest(self._registry)
