"""Mediate: raw usage records to accepted ones, or to dead letters. At least once; charge removes the repeats."""

import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from pipeline.adapters import crash_points, health
from pipeline.adapters.avro import USAGE_RECORD
from pipeline.adapters.crash_points import reached
from pipeline.adapters.intake import DirectoryFeed, Intake
from pipeline.adapters.kafka.client import KafkaException
from pipeline.adapters.kafka.intake import KafkaDirectory, KafkaIntake
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.registry import Registry, RegistryUnreachableError
from pipeline.adapters.usage_codec import UsageDecoder, encode_accepted
from pipeline.domain.guard import Guard
from pipeline.domain.mediation import (
    Accepted,
    DeadLetter,
    MediationRules,
    RawRecord,
    accepted_headers,
    dead_letter_headers,
    mediate_batch,
)
from pipeline.domain.numbers import NumberRules
from pipeline.domain.outcome import DEAD_LETTER_REASONS, Refusal
from pipeline.domain.usage import UsageRecord
from pipeline.settings import MediateSettings, Settings
from pipeline.topics import SUBSCRIBER, USAGE_ACCEPTED, partition_of

ACCOUNTS_REMEMBERED: Final = 262_144
"""Accounts whose partition is kept rather than computed again."""
GC_ALLOCATIONS: Final = 200_000
"""New objects before the collector looks: a batch makes many and no cycle among them, so it would look in vain."""
SIZES_EVERY_S: Final = 5.0
"""How often lag and directory are measured, which also asks whether the broker is there."""

_UNREAD: Final = Refusal("quarantined", {"problem": "it ended the process three times"})

_log = logger("mediate")


class Decoder(Protocol):
    """Bytes to usage records."""

    def prepare(self, values: Iterable[bytes | None]) -> None:
        """Fetch what decoding these will need; raises RegistryUnreachableError."""
        ...

    def decode(self, value: bytes | None) -> UsageRecord | Refusal:
        """Return the record, or why there is none."""
        ...


class Settled(NamedTuple):
    """What became of a batch. `newest_ms`: the broker's time of its newest record."""

    records: int = 0
    accepted: int = 0
    dead_letters: Mapping[str, int] = {}
    newest_ms: int = 0
    waiting_for: str | None = None
    """set: nothing was settled, and the records come again, because this did not answer"""


def rules_of(settings: MediateSettings) -> MediationRules:
    """Return what the settings decide."""
    numbers = NumberRules(
        settings.country_code, settings.national_prefix, settings.international_prefix, settings.short_code_digits
    )
    return MediationRules(numbers, settings.future_ms, bool(settings.trust_replayed_received_at))


class Mediator:
    """The loop of mediate, a batch at a time, over whatever edges it is given; it reads no clock.

    | crash or fault | what happens next |
    |---|---|
    | before flush returns | some of the batch may lie on the topics; it runs again: repeats are charge's to remove |
    | a delivery fails | the process ends without commit; the batch runs again |
    | after flush, before commit | the batch runs again, whole |
    | commit refused (the partition went to another member) | the process ends; the other member runs the batch |
    | the registry is silent | nothing is settled; the records are given back and polled again |
    | the directory's end is not reached | the process ends: an unread directory would make strangers of subscribers |
    | a record ends the process | two deaths here: one record at a time; a third: that one is a dead letter |
    """

    def __init__(
        self, intake: Intake, directory: DirectoryFeed, decoder: Decoder, settings: MediateSettings, partitions: int
    ) -> None:
        """`partitions` is the number of ledger partitions."""
        self._intake = intake
        self._directory = directory
        self._decoder = decoder
        self._rules = rules_of(settings)
        self._batch_records = settings.batch_records
        self._poll_wait_s = settings.poll_wait_ms / 1000
        self._guard = Guard()

        @lru_cache(ACCOUNTS_REMEMBERED)
        def partition(account: str) -> int:
            return partition_of(account, partitions)

        self._partition = partition

    def step(self) -> Settled:
        """Poll a batch and settle it; nothing where nothing came within the poll's wait."""
        return self.settle(self.poll())

    def poll(self) -> list[RawRecord]:
        """Return the next batch: one record where one of those that come next may be deadly."""
        raws = self._intake.poll(1 if self._guard.singly else self._batch_records, self._poll_wait_s)
        notes = self._intake.taken_over()
        if notes is not None:
            self._guard.taken_over(notes)
            if self._guard.singly and len(raws) > 1:
                self._intake.give_back(raws)
                raws = self._intake.poll(1, self._poll_wait_s)
        return raws

    def settle(self, raws: Sequence[RawRecord]) -> Settled:
        """Send on what a batch becomes and commit it: either all of it, or the process ends, or it comes again."""
        if not raws:
            return Settled()
        reached("mediate.after_poll")
        try:
            self._decoder.prepare(raw.value for raw in raws)
        except RegistryUnreachableError as error:
            self._intake.give_back(raws)
            return Settled(waiting_for=str(error))
        begun, notes = self._guard.begin(raws)
        if begun:
            self._intake.commit(begun, notes)
        try:
            return self._settle(raws)
        except Exception as error:
            self._take_back(begun, error)
            raise

    def _settle(self, raws: Sequence[RawRecord]) -> Settled:
        self._directory.read_to_end()
        reached("mediate.after_directory")
        if self._guard.is_deadly(raws[0]):
            assert len(raws) == 1, "a deadly record is polled alone"
            decoded: list[UsageRecord | Refusal] = [_UNREAD]
        else:
            decoded = [self._decode(raw.value) for raw in raws]
        outcomes = self._decide(raws, decoded)
        reached("mediate.after_decide")
        reasons = self._send(outcomes)
        reached("mediate.after_send")
        self._intake.flush()
        reached("mediate.after_flush")
        positions = {(raw.topic, raw.partition): raw.offset + 1 for raw in raws}
        self._intake.commit(positions, self._guard.after(positions))
        reached("mediate.after_commit")
        newest = max(raw.broker_time_ms for raw in raws)
        return Settled(len(raws), len(raws) - reasons.total(), reasons, newest)

    def _take_back(self, begun: Mapping[tuple[str, int], int], error: Exception) -> None:
        """Say that these attempts ended in an error and are no deaths, unless nobody is there to be told."""
        if not begun:
            return
        try:
            self._intake.commit(begun, self._guard.before(begun))
        except Exception as silent:  # noqa: BLE001 - the error under way is the one to be told
            error.add_note(f"the attempt stays counted as a death: {type(silent).__name__}")

    def _decode(self, value: bytes | None) -> UsageRecord | Refusal:
        """Decode one value; whatever goes wrong with one is its own dead letter, for it would come again for ever."""
        try:
            return self._decoder.decode(value)
        except Exception as error:  # noqa: BLE001 - see above; the letter names it
            return Refusal("undecodable", {"problem": type(error).__name__})

    def _decide(
        self, raws: Sequence[RawRecord], decoded: Sequence[UsageRecord | Refusal]
    ) -> list[Accepted | DeadLetter]:
        """Decide all, and those without an account once more with the directory as it is by then."""
        outcomes = mediate_batch(raws, decoded, self._directory, self._rules)
        unknown = [
            at
            for at, outcome in enumerate(outcomes)
            if isinstance(outcome, DeadLetter) and outcome.refusal.reason == "unknown_subscriber"
        ]
        if unknown:
            self._directory.read_to_end()
            again = mediate_batch(
                [raws[at] for at in unknown], [decoded[at] for at in unknown], self._directory, self._rules
            )
            for at, outcome in zip(unknown, again, strict=True):
                outcomes[at] = outcome
        return outcomes

    def _send(self, outcomes: Sequence[Accepted | DeadLetter]) -> Counter[str]:
        """Hand everything over and return the dead letters by reason."""
        reasons: Counter[str] = Counter()
        for outcome in outcomes:
            raw = outcome.raw
            if isinstance(outcome, Accepted):
                account = outcome.usage.account
                value = encode_accepted(outcome.usage, raw.value if outcome.as_sent else None)
                headers = accepted_headers(outcome) if raw.headers else ()
                self._intake.send_accepted(self._partition(account), account.encode(), value, headers)
            else:
                self._intake.send_dead_letter(raw.key, raw.value, dead_letter_headers(outcome))
                reasons[outcome.refusal.reason] += 1
        return reasons


def run(settings: Settings, stop: threading.Event) -> int:
    """Mediate until `stop` is set: finish the batch in hand, commit, leave the group. Return the exit code.

    0: stopped as told. 1: something failed that only a new start can mend; what was not committed comes again.
    """
    try:
        with ExitStack() as stack:
            _run(settings, stop, stack)
    except Exception:  # noqa: BLE001 - logged; the one place where a process ends, whatever it was
        _log.exception("mediate_failed")
        return 1
    _log.info("mediate_stopped")
    return 0


class _Status:
    """What the checks of `/readyz` say; written by the loop, read by the server's threads."""

    def __init__(self, patience_s: float) -> None:
        self._found: dict[str, str | None] = {"broker": "not asked yet", "directory": "not read yet"}
        self._patience_s = patience_s
        self._begun: float | None = None

    def set(self, name: str, wrong: str | None) -> None:
        self._found = {**self._found, name: wrong}

    def in_hand(self, begun: float | None) -> None:
        """Say since when (monotonic) a batch is in hand; None: none is."""
        self._begun = begun

    def checks(self) -> dict[str, str | None]:
        """Return all of them; a loop that waits for a broker asks nothing, so its waiting itself is looked at."""
        begun = self._begun
        waited_s = 0.0 if begun is None else time.monotonic() - begun
        slow = f"in hand for {waited_s:.0f} s" if waited_s > self._patience_s else None
        return {**self._found, "batch": slow}


class _Counts:
    """The metrics of the loop, bound once."""

    def __init__(self, metrics: Metrics) -> None:
        self._records = metrics.counter("chargeline_mediate_records_total")
        self._accepted = metrics.counter("chargeline_mediate_accepted_total")
        self._dead = {
            reason: metrics.counter("chargeline_mediate_dead_letters_total", reason=reason)
            for reason in DEAD_LETTER_REASONS
        }
        self._seconds = metrics.histogram("chargeline_mediate_batch_seconds")
        self._age = metrics.gauge("chargeline_mediate_newest_record_age_seconds")
        self._lag = metrics.gauge("chargeline_mediate_lag_records")
        self._identities = metrics.gauge("chargeline_mediate_directory_identities")

    def add(self, settled: Settled, seconds: float) -> None:
        self._records.inc(settled.records)
        self._accepted.inc(settled.accepted)
        for reason, count in settled.dead_letters.items():
            self._dead[reason].inc(count)
        self._seconds.observe(seconds)
        self._age.set(max(time.time() - settled.newest_ms / 1000, 0))

    def sizes(self, lag_records: int, identities: int) -> None:
        self._lag.set(lag_records)
        self._identities.set(identities)


def _run(settings: Settings, stop: threading.Event, stack: ExitStack) -> None:
    crash_points.arm(settings)
    metrics, status = Metrics("mediate"), _Status(settings.kafka.request_timeout_ms / 1000)
    server = stack.enter_context(
        closing(
            health.serve(
                settings.http.host,
                settings.http.mediate_port,
                status.checks,
                metrics,
                settings.http.request_timeout_s,
            )
        )
    )
    _log.info("mediate_started", http_port=server.port)
    facts = describe_topics(settings)
    status.set("broker", None)
    directory = stack.enter_context(closing(KafkaDirectory(settings, facts[SUBSCRIBER.name].partitions)))
    directory.read_to_end()
    gc.freeze()  # a million rows that stay: no full collection shall walk over them again
    gc.set_threshold(GC_ALLOCATIONS, 50, 50)
    status.set("directory", None)
    _log.info("directory_read", identities=len(directory))
    intake = stack.enter_context(closing(KafkaIntake(settings)))
    registry = settings.schema_registry
    decoder = UsageDecoder(Registry(registry.url, registry.timeout_s, USAGE_RECORD) if registry.url else None)
    mediator = Mediator(intake, directory, decoder, _trust(settings), facts[USAGE_ACCEPTED.name].partitions)
    _loop(settings, stop, mediator, _Counts(metrics), status, lambda: (intake.lag(), len(directory)))
    server.drain()


def _trust(settings: Settings) -> MediateSettings:
    """Decide whose `received_at` is believed, where that is left open: anybody's on a broker without principals."""
    if settings.mediate.trust_replayed_received_at is not None:
        return settings.mediate
    without_principals = "SASL" not in settings.kafka.security_protocol
    return settings.mediate.model_copy(update={"trust_replayed_received_at": without_principals})


def _loop(
    settings: Settings,
    stop: threading.Event,
    mediator: Mediator,
    counts: _Counts,
    status: _Status,
    sizes: Callable[[], tuple[int, int]],
) -> None:
    pause_s, sizes_due = 0.0, 0.0
    while not stop.is_set():
        raws = mediator.poll()
        begun = time.monotonic()
        status.in_hand(begun if raws else None)
        settled = mediator.settle(raws)
        now = time.monotonic()
        status.in_hand(None)
        status.set("registry", settled.waiting_for)
        if settled.waiting_for is not None:
            pause_s = _longer(pause_s, settings)
            _log.warning("registry_waited_for", reason=settled.waiting_for, pause_s=pause_s)
            stop.wait(pause_s)
            continue
        pause_s = 0.0
        if settled.records:
            counts.add(settled, now - begun)
            say = _log.info if settled.dead_letters else _log.debug
            say("batch_settled", records=settled.records, accepted=settled.accepted, **settled.dead_letters)
        if now >= sizes_due:
            sizes_due = now + SIZES_EVERY_S
            try:
                counts.sizes(*sizes())
                status.set("broker", None)
            except KafkaException as error:
                status.set("broker", f"did not answer: {error.args[0].str()}")


def _longer(pause_s: float, settings: Settings) -> float:
    registry = settings.schema_registry
    return min(max(pause_s * 2, registry.backoff_min_ms / 1000), registry.backoff_max_ms / 1000)
