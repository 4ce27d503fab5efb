"""Every setting and every limit, with its unit in its name: environment over file over default.

Environment names begin with CHARGELINE_ and nest by two underscores (CHARGELINE_KAFKA__BOOTSTRAP_SERVERS). The file is
TOML, named by CHARGELINE_CONFIG. Secrets are read from files (`*_file` settings), never from flags. An unknown key
refuses to start.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


def default_data_dir() -> Path:
    """Return where embedded servers keep their data: the user's data home (XDG)."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "chargeline"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


PositiveInt = Annotated[int, Field(gt=0)]


class KafkaSettings(_Section):
    """The broker."""

    bootstrap_servers: str | None = Field(None, description="host:port list; empty: the embedded broker")
    security_protocol: str = Field("PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    sasl_mechanism: str | None = Field(None, description="SCRAM-SHA-512 and their like")
    sasl_username: str | None = Field(None, description="the principal of this process")
    sasl_password_file: Path | None = Field(None, description="file that holds its password")
    ssl_ca_file: Path | None = Field(None, description="certificate authority of the broker")
    ledger_partitions: PositiveInt = Field(8, description="P: chosen once, when topics are created; never changed")
    replication_factor: PositiveInt = Field(1, description="of topics that chargeline creates; 3 in production")
    min_insync_replicas: PositiveInt = Field(1, description="of topics that chargeline creates; 2 in production")
    request_timeout_ms: PositiveInt = Field(10_000, description="of metadata and offset requests")
    socket_timeout_ms: PositiveInt = Field(60_000, description="a broker silent for so long is asked again")
    producer_queue_records: PositiveInt = Field(
        500_000, description="not yet acknowledged: more make their sender wait"
    )
    producer_queue_kbytes: PositiveInt = Field(262_144, description="of records that are not yet acknowledged")


class RedisSettings(_Section):
    """Redis or Valkey: the view of balances."""

    url: str | None = Field(None, description="redis://host:port/db; empty: the embedded server")
    password_file: Path | None = Field(None, description="file that holds the password")
    socket_timeout_s: PositiveInt = Field(10, description="a script not answered by then is an unknown outcome")


class MediateSettings(_Section):
    """From raw bytes to an account."""

    country_code: str = Field("86", pattern=r"^[1-9][0-9]{0,2}$", description="completes national numbers")
    national_prefix: str = Field("0", pattern=r"^[0-9]*$", description="trunk prefix dropped from national numbers")
    international_prefix: str = Field(
        "00", pattern=r"^[0-9]*$", description="dialled before numbers of other countries"
    )
    short_code_digits: int = Field(8, ge=0, le=8, description="other parties of up to so many digits are short codes")
    future_ms: PositiveInt = Field(300_000, description="how far ahead of the broker's time a start may lie")
    batch_records: PositiveInt = Field(2_000, description="raw records resolved and produced together")
    poll_wait_ms: PositiveInt = Field(200, description="for the first record of a batch; a stop is noticed as fast")
    fetch_wait_ms: PositiveInt = Field(50, description="how long the broker may wait for more before it answers")
    queued_kbytes: PositiveInt = Field(16_384, description="fetch queue of the process")
    delivery_timeout_ms: PositiveInt = Field(120_000, description="a record not acknowledged by then ends the process")
    directory_timeout_ms: PositiveInt = Field(30_000, description="no progress towards the directory's end ends it too")
    trust_replayed_received_at: bool | None = Field(
        None,
        description="believe a raw record's header received_at; empty: only on a broker without principals (no SASL), "
        "where nobody can be told from the replay",
    )


class ChargeSettings(_Section):
    """The only process that moves money."""

    late_window_days: PositiveInt = Field(35, description="older use is held for review; a change is in the ledger")
    batch_records: PositiveInt = Field(2_000, le=2_000, description="records decided in one transaction")
    remembered_accounts: int = Field(10_000, ge=0, description="accounts an owner keeps in memory between batches")
    instance_id: str | None = Field(None, description="of this worker in its group; empty: made of host and process")
    session_timeout_ms: PositiveInt = Field(6_000, description="a silent worker loses its partitions after this")
    transaction_timeout_ms: PositiveInt = Field(10_000, description="an open transaction is aborted after this")
    fetch_wait_ms: PositiveInt = Field(100, description="how long an owner waits for the first record of a batch")
    backoff_min_ms: PositiveInt = Field(100, description="between take-overs after an error, at first")
    backoff_max_ms: PositiveInt = Field(5_000, description="and at most")
    take_overs_at_once: PositiveInt = Field(8, description="partitions taken over in parallel")
    revoke_grace_ms: PositiveInt = Field(2_000, description="to finish the batch in hand when p is taken away")
    seal_events: PositiveInt = Field(10_000, description="a partition is sealed whenever it passes so many events")
    seal_interval_s: PositiveInt = Field(
        3_600, description="and so long after its last seal, if there are events since"
    )
    snapshot_folder: Path | None = Field(
        None, description="snapshots that a rebuild may begin with; empty: snapshots/ in the data directory"
    )
    queued_kbytes: PositiveInt = Field(4_096, description="fetch queue of each owner")


class DetectSettings(_Section):
    """Thresholds of the alerts."""

    low_balance_micros: int = Field(10_000_000, description="an alert when the balance falls below it")
    parameters_file: Path | None = Field(None, description="TOML with other parameters of detectors, a table each")
    stall_timeout_s: PositiveInt = Field(60, description="records but no progress for so long: the process exits")
    session_timeout_ms: PositiveInt = Field(10_000, description="a silent worker loses its partitions after this")
    commit_interval_ms: PositiveInt = Field(
        1_000, description="how often it is written down how far alerts were raised"
    )
    delivery_retry_ms: PositiveInt = Field(1_000, description="before an alert that was not acknowledged is sent again")
    stop_timeout_s: PositiveInt = Field(10, description="a worker that has not drained by then is ended all the same")
    cells_file: Path | None = Field(None, description="CSV cell,latitude,longitude: places of cells")
    batch_records: PositiveInt = Field(500, description="events handled before their alerts are sent")
    keep_events: PositiveInt = Field(100_000, description="states are kept after so many records of a partition")
    keep_interval_s: PositiveInt = Field(30, description="and after so long, if there were any")
    quiet_hours: PositiveInt = Field(
        24, description="a worker without a memory reads what is older than this for its memory alone"
    )
    replay_raises: bool = Field(False, description="alerts of what is older than that as well: an old ledger again")
    memory_days: PositiveInt = Field(35, description="so far back it then begins to read")


class AuditSettings(_Section):
    """The auditor: an independent process that proves the books as they grow."""

    folder: Path | None = Field(None, description="where it keeps its memory; empty: audit/ in the data directory")
    key_file: Path | None = Field(
        None, description="its Ed25519 key, made at the first start; empty: seal_key.pem in that folder"
    )
    batch_events: PositiveInt = Field(2_000, description="events checked and remembered together")
    poll_ms: PositiveInt = Field(500, description="how long it waits for the next event; a stop is noticed as fast")
    view_interval_s: PositiveInt = Field(
        60, description="how often each partition of Redis, and the ends of the inputs, are held against the ledger"
    )
    view_wait_s: PositiveInt = Field(2, description="how long it waits for Redis to have what it has audited")
    alert_interval_s: PositiveInt = Field(300, description="how often the alert of a breach is raised again")
    backoff_ms: PositiveInt = Field(2_000, description="before it begins again where broker or Redis did not answer")


class AlertsSettings(_Section):
    """Alerts with a life, and their delivery."""

    folder: Path | None = Field(None, description="where alerts are remembered; empty: alerts/ in the data directory")
    batch_alerts: PositiveInt = Field(500, description="records of the alert topic taken in together")
    poll_ms: PositiveInt = Field(300, description="how long it waits for the next alert; a stop is noticed as fast")
    backoff_ms: PositiveInt = Field(2_000, description="before it begins again where the broker did not answer")
    open_days: PositiveInt = Field(35, description="an open alert of which nothing was heard for so long has expired")
    keep_days: int = Field(90, ge=31, description="alerts that ended, and what was delivered, are forgotten after this")
    retry_schedule_s: list[PositiveInt] = Field(
        [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
        description="pauses between attempts to deliver a webhook; after the last one it is given up",
    )
    pause_max_s: PositiveInt = Field(300, description="a receiver that fails is asked again after this at the latest")
    delivery_timeout_s: PositiveInt = Field(15, description="a receiver that has not answered by then has failed")
    delivery_workers: PositiveInt = Field(4, description="webhooks under way at once, each of another alert")
    delivery_poll_ms: PositiveInt = Field(300, description="how often it is asked what is due")
    allowed_networks: list[str] = Field(
        [], description="private networks (like 10.1.0.0/16) webhooks may go to; http without TLS to these alone"
    )
    alertmanager_urls: list[str] = Field([], description="Prometheus Alertmanagers that are told, each of every alert")
    alertmanager_interval_s: PositiveInt = Field(60, description="how often they are told again of what is open")
    alertmanager_batch: PositiveInt = Field(200, description="alerts in one request to them")
    alertmanager_resolved_s: PositiveInt = Field(900, description="how long they are told of what ended")
    stream_token_file: Path | None = Field(
        None,
        description="file that holds the token of the event stream; empty: it is served on a loopback address only",
    )
    stream_clients_max: PositiveInt = Field(32, description="event streams open at once")
    stream_heartbeat_s: PositiveInt = Field(15, description="a comment on a silent stream, so that nobody cuts it")


class HttpSettings(_Section):
    """Metrics and health of each process."""

    host: str = Field("127.0.0.1", description="address that /metrics, /livez and /readyz listen on")
    request_timeout_s: PositiveInt = Field(5, description="a client that says nothing for so long is hung up on")
    mediate_port: int = Field(0, ge=0, le=65535, description="0: any free port")
    charge_port: int = Field(0, ge=0, le=65535, description="0: any free port")
    detect_port: int = Field(0, ge=0, le=65535, description="0: any free port")
    audit_port: int = Field(0, ge=0, le=65535, description="0: any free port")
    alerts_port: int = Field(0, ge=0, le=65535, description="0: any free port")


class LocalSettings(_Section):
    """Embedded servers."""

    java: Path | None = Field(None, description="a java to run the embedded broker; empty: the wheel's, then PATH")
    kafka_jars: Path | None = Field(None, description="a folder of Kafka's jars; empty: fetched once and kept")
    maven_repository: str | None = Field(None, description="where to fetch the jars from, if not the usual place")
    redis_server: Path | None = Field(
        None, description="a redis-server or valkey-server; empty: the wheel's, then PATH"
    )
    start_timeout_s: PositiveInt = Field(90, description="a server not ready by then has failed")
    ready_timeout_s: PositiveInt = Field(180, description="`up` gives up waiting for all processes after this")
    stop_timeout_s: PositiveInt = Field(20, description="a process not gone by then is killed")
    backoff_min_ms: PositiveInt = Field(500, description="before a process that ended is started again, at first")
    backoff_max_ms: PositiveInt = Field(10_000, description="and at most; being ready for so long starts over")
    poll_ms: PositiveInt = Field(500, description="how often each process is asked whether it is ready")
    log_bytes: PositiveInt = Field(20_000_000, description="a log larger than this is put aside at the next start")


class SchemaRegistrySettings(_Section):
    """Confluent framing on input."""

    url: str | None = Field(None, description="set: records framed by a registry are accepted as well")
    timeout_s: PositiveInt = Field(10, description="of one request; an unreachable registry is waited for")
    backoff_min_ms: PositiveInt = Field(200, description="between requests to an unreachable registry, at first")
    backoff_max_ms: PositiveInt = Field(10_000, description="and at most")


class Settings(BaseSettings):
    """All settings of all processes; frozen. See the module for where values come from."""

    model_config = SettingsConfigDict(
        env_prefix="CHARGELINE_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    data_dir: Path = Field(default_factory=default_data_dir, description="embedded servers and their logs live here")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="of the JSON logs")
    crash_at: str | None = Field(
        None,
        pattern=r"^[a-z]+\.[a-z_]+:[1-9][0-9]*:(kill|stop)$",
        description="for tests: POINT:PASSES:kill or stop ends or stops the process there; refused where the broker "
        "asks for passwords or certificates",
    )
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    mediate: MediateSettings = MediateSettings()
    charge: ChargeSettings = ChargeSettings()
    detect: DetectSettings = DetectSettings()
    audit: AuditSettings = AuditSettings()
    alerts: AlertsSettings = AlertsSettings()
    http: HttpSettings = HttpSettings()
    local: LocalSettings = LocalSettings()
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env files: they surprise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - secrets are *_file settings
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        config = os.environ.get("CHARGELINE_CONFIG")
        if config:
            sources.append(TomlConfigSettingsSource(settings_cls, Path(config)))
        return tuple(sources)
