"""Topics as a Faust stream in batches, made at-least-once. The only importer of Faust and what it runs on.

Faust by itself would lose events here, in four ways; each is answered below:

| Faust | so |
|---|---|
| reads records of aborted transactions | its consumer is told to read committed ones only |
| acknowledges an event also when its handling failed or was cancelled | it commits what was handled, nothing else |
| may skip records after a rebalance | the worker knows which offset or number comes next: what is skipped is seen |
| an agent may hang | how far it came is shown to a watchdog outside |

It takes options from the environment before those given to it: it is given an empty environment.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import aiokafka
import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, EventT, StreamT
from faust.types.auth import CredentialsT
from faust.types.tuples import ConsumerMessage

from pipeline.adapters.kafka.client import BrokerError
from pipeline.adapters.logs import logger
from pipeline.adapters.stream_types import Incoming, Outgoing, Place, Worker
from pipeline.settings import KafkaSettings, Settings

HEARTBEATS_A_SESSION: Final = 5
FETCH_BYTES: Final = 64 * 1024
"""Of one partition at once, or a batch that is larger: so that, far behind, partitions stay together."""
FETCH_WAIT_MS: Final = 20
SEND_BYTES_MAX: Final = 4 * 1024 * 1024
BATCH_BYTES_MAX: Final = 512 * 1024
BATCH_SPAN_MS: Final = 300_000
"""What is read after a standstill is cut by time, so that partitions take turns."""
BATCHES_WAITING: Final = 8
"""Batches that were fetched and not yet handled, of all partitions together."""

_log = logger("detect")


class LedgerStream:
    """Reads topics in a consumer group: the worker handles a batch of one partition, what it returns is delivered.

    A batch's messages are acknowledged by the broker before the next batch of the process is handled, and only then
    may its offset be committed. So each message is delivered at least once, whatever ends the process.

    Make it, start it and stop it in one running event loop; `assigned` and `problem` may be read from any thread.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        topics: Sequence[str],
        worker: Worker,
        delivery_failed: Callable[[], None] = lambda: None,
    ) -> None:
        """`delivery_failed` is told of each attempt to send that failed; it goes on trying."""
        self.problem: str | None = None
        """why this process must be replaced by a new one; None while all is well"""
        self.assigned: frozenset[Place] | None = None
        """the partitions that are this worker's; None while the group is being balanced or states are being read"""
        self._topics = tuple(topics)
        self._worker = worker
        self._delivery_failed = delivery_failed
        self._retry_s = settings.detect.delivery_retry_ms / 1000
        self._stopping = False
        self._app = _app(settings, group)
        self._outlets: dict[str, Any] = {}
        self._app.agent(_topic(self._app, *topics), name="ledger")(self._read)
        self._app.on_partitions_revoked.connect(self._on_revoked)
        self._app.on_rebalance_complete.connect(self._on_balanced)

    @property
    def ended(self) -> bool:
        """Tell whether Faust gave up, or this worker must."""
        return bool(self._app.should_stop) or self.problem is not None

    async def start(self) -> None:
        """Join the group; raises what the broker's refusal raises."""
        await self._app.start()

    async def stop(self) -> None:
        """Finish the batch in hand, commit what was handled and leave the group; may hang while the broker is away."""
        self._stopping = True
        await self._app.stop()

    def give_up(self, problem: str) -> None:
        """Have this process replaced: it handles nothing more."""
        self.problem = self.problem or problem
        _log.error("worker_gives_up", problem=problem)

    async def _read(self, stream: StreamT[Any]) -> None:
        events: AsyncIterable[EventT[Any]] = stream.events()
        async for event in events:
            if self.problem is not None or self._stopping:
                continue  # acknowledged by Faust, but not handled: so it is not committed, and read again
            try:
                await self._take(event)
            except Exception as error:  # noqa: BLE001 - the records must not be passed over, whatever it is
                _log.exception("event_not_handled")
                self.give_up(f"an event was not handled: {type(error).__name__}")

    async def _take(self, event: EventT[Any]) -> None:
        tp = event.message.tp
        place = Place(tp.topic, tp.partition)
        batch: Any = event.message.value  # a batch of ours, which Faust takes for bytes
        records = [Incoming(r.offset, r.timestamp, r.value, dict(r.headers or ())) for r in batch.records]
        handled = self._worker.handle(place, records)
        if handled is None:
            return
        if not await self._deliver(handled.messages):
            return
        self._worker.done(place, handled.next_offset)
        if place in self._app.committable and handled.next_offset > self._app.committable[place]:
            self._app.committable[place] = handled.next_offset
        if handled.problem is not None:
            self.give_up(handled.problem)

    async def _deliver(self, messages: list[Outgoing]) -> bool:
        """Send until the broker has acknowledged all, and tell whether it has: it has not if we are stopping."""
        while messages:
            waiting = []
            for one in messages:
                outlet = self._outlets.get(one.topic) or self._outlets.setdefault(
                    one.topic, _topic(self._app, one.topic)
                )
                waiting.append(
                    await outlet.send(key=one.key, value=one.value, headers=one.headers, partition=one.partition)
                )
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            failed = [
                (one, answer)
                for one, answer in zip(messages, answers, strict=True)
                if isinstance(answer, BaseException)
            ]
            for _, answer in failed:
                self._delivery_failed()
                _log.warning("alert_not_acknowledged", error=type(answer).__name__)
            messages = [one for one, _ in failed]
            if messages:
                if self._stopping:
                    return False
                await asyncio.sleep(self._retry_s)
        return True

    def _on_revoked(self, *_: Any, **__: Any) -> None:
        self.assigned = None

    async def _on_balanced(self, *_: Any, **__: Any) -> None:
        """Have states read before anything is fetched: Faust waits for this, then seeks."""
        consumer = self._app.consumer
        assert isinstance(consumer, _Consumer)
        mine = [tp for tp in consumer.assignment() if tp.topic in self._topics]
        try:
            committed = await consumer.offsets_of_group(mine)
            known = {Place(tp.topic, tp.partition): committed.get(tp) for tp in mine}
            start = await self._worker.restore(known)
        except Exception as error:  # noqa: BLE001 - without its states no worker may go on, whatever it is
            _log.exception("states_not_restored")
            self.give_up(f"states were not restored: {type(error).__name__}")
            return
        self._app.start_at = start
        self._app.committable = {place: known[place] or 0 for place in start}
        self.assigned = frozenset(start)


class _App(faust.App):
    """An app that knows what may be committed, and where reading begins: an offset of each partition it owns."""

    committable: dict[Place, int]
    start_at: dict[Place, int]


class _ConsumerThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        assert consumer._isolation_level == "read_uncommitted", "the library took another way"  # noqa: SLF001
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - read when the consumer starts
        # an idle partition's question keeps the next one from being asked: it must not wait long for its answer
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001
        return consumer

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the base class's names
        """Log instead of printing a traceback with this machine's paths."""
        _log.exception("consumer_thread_crashed")


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        """Make one message of a batch: what Faust does for each message costs as much as all detectors together."""
        last = record.records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            None,
            record,
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def on_buffer_full(self, tp: TP) -> None:
        """Fetch on: a full buffer makes the fetcher wait, and leaving one partition out would let others run ahead."""

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Forget it: what is between two messages is a batch, or markers, and what is committed is said below."""

    def _new_offset(self, tp: TP) -> int | None:
        """Return what may be committed: not what Faust acknowledged, but what was handled."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        assert isinstance(self.app, _App)
        return self.app.committable.get(Place(tp.topic, tp.partition)) or None

    async def offsets_of_group(self, tps: Iterable[TP]) -> dict[TP, int | None]:
        """Return the group's offset of each partition, asked of the broker; None: it has none."""
        found = {}
        for tp in tps:
            found[tp] = await self._thread.call_thread(self._thread._ensure_consumer().committed, tp)  # noqa: SLF001
        return found

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to where the worker goes on, which is not where the group's offset stands: see `LedgerStream`."""
        assert isinstance(self.app, _App)
        assignment = self.assignment()
        start = {
            tp: at for tp in assignment if (at := self.app.start_at.get(Place(tp.topic, tp.partition))) is not None
        }
        if start:
            await self._thread.seek_wait(start)
        # Faust drops what lies at or below the offset it read last
        return {tp: at - 1 for tp, at in start.items() if at > 0}

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let go of partitions after the last commit: what another worker commits next must not be taken back."""
        await super().on_partitions_revoked(revoked)
        assert isinstance(self.app, _App)
        for tp in revoked:
            self.app.committable.pop(Place(tp.topic, tp.partition), None)
            self.app.start_at.pop(Place(tp.topic, tp.partition), None)


class _Batch(NamedTuple):
    records: list[Any]


class _Batches(DefaultSchedulingStrategy):
    """Hands over what was fetched a batch at a time."""

    batch_records = 500

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """Cut each partition's records into batches, and hand over the older ones first, whatever their partition.

        So partitions that were written at the same time are read at the same time, also after a standstill.
        """
        batches: list[tuple[int, TP, _Batch]] = []
        for tp, fetched in records.items():
            latest = 0  # a partition's own order stays, whatever its producer's clock did
            for batch in self._cut(fetched):
                latest = max(latest, batch.records[0].timestamp)
                batches.append((latest, tp, batch))
        return iter([(tp, batch) for _, tp, batch in sorted(batches, key=itemgetter(0))])

    def _cut(self, fetched: list[Any]) -> Iterator[_Batch]:
        begin = size = 0
        for at, record in enumerate(fetched):
            size += record.serialized_value_size
            too_long = record.timestamp - fetched[begin].timestamp > BATCH_SPAN_MS
            if at - begin >= self.batch_records or size > BATCH_BYTES_MAX or too_long:
                if at > begin:
                    yield _Batch(fetched[begin:at])
                begin, size = at, record.serialized_value_size
        if begin < len(fetched):
            yield _Batch(fetched[begin:])


class _Transport(Transport):
    Consumer = _Consumer


def _app(settings: Settings, group: str) -> _App:
    detect = settings.detect
    bootstrap = settings.kafka.bootstrap_servers
    if not bootstrap:
        raise BrokerError("no broker: set CHARGELINE_KAFKA__BOOTSTRAP_SERVERS, or start one with `chargeline up`")
    app = _App(
        group,
        env={},
        broker=[f"kafka://{server.strip()}" for server in bootstrap.split(",")],
        broker_credentials=broker_credentials(settings.kafka),
        broker_client_id=group,
        broker_session_timeout=detect.session_timeout_ms / 1000,
        broker_heartbeat_interval=detect.session_timeout_ms / 1000 / HEARTBEATS_A_SESSION,
        broker_rebalance_timeout=detect.stall_timeout_s,
        broker_request_timeout=max(detect.session_timeout_ms, settings.kafka.request_timeout_ms) / 1000 + 1,
        broker_commit_interval=detect.commit_interval_ms / 1000,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        producer_acks=-1,
        producer_max_request_size=SEND_BYTES_MAX,
        producer_request_timeout=detect.stall_timeout_s,
        processing_guarantee="at_least_once",
        datadir=str(settings.data_dir.absolute() / "detect"),
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        reply_create_topic=False,
        stream_buffer_maxsize=BATCHES_WAITING,
        ConsumerScheduler=type("Batches", (_Batches,), {"batch_records": detect.batch_records}),
        web_enabled=False,
        autodiscover=False,
    )
    app.committable, app.start_at = {}, {}
    app.transport = _Transport(app.conf.broker_consumer, app, app.loop)
    return app


def _topic(app: faust.App, *names: str) -> Any:
    return app.topic(*names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def broker_credentials(kafka: KafkaSettings) -> CredentialsT | None:
    """Return what Faust shows the broker: nothing (PLAINTEXT), a TLS context, or a principal with its password."""
    encrypted = kafka.security_protocol in {"SSL", "SASL_SSL"}
    context = (
        ssl.create_default_context(cafile=None if kafka.ssl_ca_file is None else str(kafka.ssl_ca_file))
        if encrypted
        else None
    )
    if kafka.sasl_mechanism is not None and kafka.security_protocol.startswith("SASL_"):
        password = None if kafka.sasl_password_file is None else kafka.sasl_password_file.read_text().strip()
        return SASLCredentials(
            username=kafka.sasl_username, password=password, ssl_context=context, mechanism=kafka.sasl_mechanism
        )
    return None if context is None else SSLCredentials(context)
