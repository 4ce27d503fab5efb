"""The ledger as a Faust stream, made at-least-once. The only importer of Faust and what it runs on.

Faust by itself would lose events here, in four ways; each is answered below:

| Faust | so |
|---|---|
| reads records of aborted transactions | its consumer is told to read committed ones only |
| acknowledges an event also when its handling failed or was cancelled | it commits what was handled, nothing else |
| may skip records after a rebalance | events are numbered without gaps: a skipped one is seen, and read again |
| an agent may hang | how far it came is shown to a watchdog outside |

It takes options from the environment before those given to it: it is given an empty environment.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, Callable
from typing import Any, Final, NamedTuple

import aiokafka
import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, EventT, StreamT
from faust.types.auth import CredentialsT

from pipeline.adapters.kafka.client import BrokerError
from pipeline.adapters.logs import logger
from pipeline.settings import KafkaSettings, Settings
from pipeline.topics import ALERT_RAISED, AUDIT

HEARTBEATS_A_SESSION: Final = 5
FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""At least the largest event."""

_log = logger("detect")


class Incoming(NamedTuple):
    """A record of the ledger as it was read."""

    partition: int
    offset: int
    value: bytes | None
    headers: dict[str, bytes]


class Outgoing(NamedTuple):
    """A record for the topic of alerts."""

    key: bytes
    value: bytes
    headers: dict[str, bytes]


class Handled(NamedTuple):
    """What becomes of a record: its number in its partition (None: it has none that can be read), and what to send."""

    seq: int | None
    messages: tuple[Outgoing, ...]


class _Reached(NamedTuple):
    next_offset: int
    seq: int | None


Handle = Callable[[Incoming], Handled]


class LedgerStream:
    """Reads the ledger in a consumer group: `handle` is called once a record in order, what it returns is delivered.

    A record's messages are acknowledged by the broker before the next record of the worker is handled, and only then
    may the record's offset be committed. So each message is delivered at least once, whatever ends the process; a
    record is handled again after a crash, so `handle` must return the same for the same record. It must not raise.

    Make it, start it and stop it in one running event loop; `assigned` and `problem` may be read from any thread.
    """

    def __init__(
        self, settings: Settings, group: str, handle: Handle, delivery_failed: Callable[[], None] = lambda: None
    ) -> None:
        """`delivery_failed` is told of each attempt to send that failed; it goes on trying."""
        self.problem: str | None = None
        """why this worker must be replaced by a new process; None while all is well"""
        self.assigned: frozenset[int] | None = None
        """the partitions that are this worker's; None while the group is being balanced"""
        self._handle = handle
        self._delivery_failed = delivery_failed
        self._retry_s = settings.detect.delivery_retry_ms / 1000
        self._stopping = False
        self._reached: dict[int, _Reached] = {}
        self._app = _app(settings, group)
        ledger = _topic(self._app, AUDIT.name)
        self._alerts = _topic(self._app, ALERT_RAISED.name)
        self._app.agent(ledger, name="ledger")(self._read)
        self._app.on_partitions_revoked.connect(self._on_revoked)
        self._app.on_partitions_assigned.connect(self._on_assigned)

    @property
    def ended(self) -> bool:
        """Tell whether Faust gave up, or this worker must."""
        return bool(self._app.should_stop) or self.problem is not None

    async def start(self) -> None:
        """Join the group; raises what the broker's refusal raises."""
        await self._app.start()

    async def stop(self) -> None:
        """Finish the record in hand, commit what was handled and leave the group; may hang while the broker is away."""
        self._stopping = True
        await self._app.stop()

    async def _read(self, stream: StreamT[bytes]) -> None:
        events: AsyncIterable[EventT[bytes]] = stream.events()
        async for event in events:
            if self.problem is not None or self._stopping:
                continue  # acknowledged by Faust, but not handled: so it is not committed, and read again
            try:
                await self._take(event)
            except Exception as error:  # noqa: BLE001 - the record must not be passed over, whatever it is
                _log.exception("event_not_handled")
                self._give_up(f"an event was not handled: {type(error).__name__}")

    async def _take(self, event: EventT[bytes]) -> None:
        message = event.message
        partition, offset = message.partition, message.offset
        headers: Any = message.headers or ()  # pairs of the client's, typed as a mapping too
        handled = self._handle(Incoming(partition, offset, message.value, dict(headers)))
        if self._skipped(message.tp, offset, handled.seq):
            self._give_up(f"events before offset {offset} of partition {partition} were skipped")
            return
        for outgoing in handled.messages:
            if not await self._deliver(outgoing):
                return
        self._reached[partition] = _Reached(offset + 1, handled.seq)
        self._app.committable[partition] = offset + 1

    def _skipped(self, tp: TP, offset: int, seq: int | None) -> bool:
        """Tell whether numbers are missing that nobody has handled.

        The worker then ends, having committed what lies before the gap. If the ledger itself lacks the numbers, the
        next worker begins behind the gap and sees none: it goes on.
        """
        reached = self._reached.get(tp.partition)
        if reached is None or reached.seq is None or seq is None or seq <= reached.seq + 1:
            return False
        consumer = self._app.consumer
        assert isinstance(consumer, _Consumer)
        committed = consumer.committed(tp)
        by_another_worker = committed is not None and committed > reached.next_offset
        return offset > reached.next_offset and not by_another_worker

    async def _deliver(self, outgoing: Outgoing) -> bool:
        """Send until the broker has acknowledged it, and tell whether it has: it has not if we are stopping."""
        while True:
            try:
                sent = await self._alerts.send(key=outgoing.key, value=outgoing.value, headers=outgoing.headers)
                await sent
            except Exception as error:  # noqa: BLE001 - whatever it is, the alert is not there yet
                self._delivery_failed()
                _log.warning("alert_not_acknowledged", error=type(error).__name__)
            else:
                return True
            if self._stopping:
                return False
            await asyncio.sleep(self._retry_s)

    def _give_up(self, problem: str) -> None:
        self.problem = self.problem or problem
        _log.error("worker_gives_up", problem=problem)

    def _on_revoked(self, *_: Any, **__: Any) -> None:
        self.assigned = None

    def _on_assigned(self, *args: Any, **__: Any) -> None:
        _, assigned = args
        self.assigned = frozenset(tp.partition for tp in assigned if tp.topic == AUDIT.name)


class _App(faust.App):
    """An app that knows what may be committed: the next offset to handle of each partition it owns."""

    committable: dict[int, int]


class _ConsumerThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        assert consumer._isolation_level == "read_uncommitted", "the library took another way"  # noqa: SLF001
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - read when the consumer starts
        return consumer

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the base class's names
        """Log instead of printing a traceback with this machine's paths."""
        _log.exception("consumer_thread_crashed")


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: TP) -> int | None:
        """Return what may be committed: not what Faust acknowledged, but what was handled."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self._committable().get(tp.partition)

    def committed(self, tp: TP) -> int | None:
        """Return the group's offset as it was last written or read; None: not known."""
        return self._committed_offset.get(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let go of partitions after the last commit: what another worker commits next must not be taken back."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._committable().pop(tp.partition, None)

    def _committable(self) -> dict[int, int]:
        assert isinstance(self.app, _App)
        return self.app.committable


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
        consumer_max_fetch_size=FETCH_BYTES_MAX,
        producer_acks=-1,
        producer_request_timeout=detect.stall_timeout_s,
        processing_guarantee="at_least_once",
        datadir=str(settings.data_dir.absolute() / "detect"),
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        reply_create_topic=False,
        web_enabled=False,
        autodiscover=False,
    )
    app.committable = {}
    app.transport = _Transport(app.conf.broker_consumer, app, app.loop)
    return app


def _topic(app: faust.App, name: str) -> Any:
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


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
