"""The embedded Apache Kafka: one node, broker and controller in one, small and quick to start.

Data: DIR/kafka/log (formatted once, in a folder beside that is then renamed: a start that is cut short leaves nothing
half made), DIR/kafka/tmp (native libraries the broker unpacks). It survives being killed: what it acknowledged is with
the operating system, and it mends its last segments when it starts.
"""

import os
import shutil
import socket
import struct
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from uuid import uuid4

from deploy.local.folder import Folder
from deploy.local.jars import find_jars
from deploy.local.java import find_java
from deploy.local.ports import HOST, Ports
from deploy.local.process import Child, LocalServerError, last_lines, listens
from pipeline.settings import Settings

ANSWER_TIMEOUT_S: Final = 1.0
MESSAGE_BYTES_MAX: Final = 17 * 1024 * 1024
"""More than the largest topic's (a published catalogue, 16 MiB) and its framing."""

JAVA_OPTIONS: Final = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
)
PROPERTIES: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "5000",  # the start after a kill waits until this has passed
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "message.max.bytes": str(MESSAGE_BYTES_MAX),
    "replica.fetch.max.bytes": str(MESSAGE_BYTES_MAX),
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "log.segment.delete.delay.ms": "1000",
    "controlled.shutdown.max.retries": "1",
}
LOG4J: Final = """\
status = ERROR
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %p %c %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


class KafkaServer:
    """One broker of one data directory. Its ports are kept, and so are its data, whatever ends it."""

    name: Final = "kafka"

    def __init__(self, settings: Settings, folder: Folder, ports: Ports, progress: Callable[[str], None]) -> None:
        self._java = find_java(settings)
        self._jars = find_jars(settings, progress)
        self._folder = folder
        self._ports = ports
        self._log_bytes_max = settings.local.log_bytes
        self._start_timeout_s = settings.local.start_timeout_s
        self.port = ports.port(self.name)
        self.controller_port = ports.port("kafka_controller")

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    def move(self) -> None:
        """Take other ports: one was taken by a stranger in the moment before the start."""
        self.port = self._ports.another(self.name)
        self.controller_port = self._ports.another("kafka_controller")

    def launch(self) -> Child:
        """Format the data directory where that was never done, then start the process; it is not ready yet."""
        home = self._folder.kafka
        scratch = home / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        (home / "log4j2.properties").write_text(LOG4J)
        data = home / "log"
        if not data.exists():
            self._format(data)
        properties = self._write_properties("server.properties", data)
        log = self._folder.log(self.name)
        return Child(
            self.name, self._java_command("kafka.Kafka", str(properties)), log, os.environ, self._log_bytes_max
        )

    def ready(self, child: Child) -> bool:
        """Return whether this very process answers requests: it listens before, but answers only once it is started."""
        return listens(child.pid, self.port) and _answers(self.port)

    def _format(self, data: Path) -> None:
        unfinished = data.with_name("log.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        properties = self._write_properties("format.properties", unfinished)
        cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")  # may begin with a dash
        command = self._java_command(
            "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)
        )
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=self._start_timeout_s,
                check=False,
                cwd=self._folder.kafka,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LocalServerError(f"kafka could not make its data directory: {type(error).__name__}") from error
        if done.returncode != 0:
            said = last_lines(done.stdout + done.stderr)
            raise LocalServerError(f"kafka could not make its data directory (exit code {done.returncode}):\n{said}")
        properties.unlink()
        unfinished.rename(data)

    def _write_properties(self, name: str, data: Path) -> Path:
        properties = {
            **PROPERTIES,
            "log.dirs": str(data),
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}",
            "controller.quorum.voters": f"1@{HOST}:{self.controller_port}",
        }
        path = self._folder.kafka / name
        path.write_text(_as_properties(properties), encoding="ascii")
        return path

    def _java_command(self, main: str, *arguments: str) -> list[str]:
        home = self._folder.kafka
        return [
            str(self._java),
            *JAVA_OPTIONS,
            f"-Djava.io.tmpdir={home / 'tmp'}",
            f"-Dlog4j2.configurationFile={(home / 'log4j2.properties').as_uri()}",
            "-cp",
            f"{self._jars}{os.sep}*",
            main,
            *arguments,
        ]


def _as_properties(properties: Mapping[str, str]) -> str:
    r"""Return a .properties file; what is not plain ASCII, and backslashes, are written as \uXXXX (UTF-16)."""
    lines = []
    for key, value in properties.items():
        units = value.encode("utf-16-be")
        codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
        plain = "".join(chr(code) if 32 < code < 127 and code != 92 else f"\\u{code:04x}" for code in codes)
        lines.append(f"{key}={plain}\n")
    return "".join(lines)


def _answers(port: int) -> bool:
    """Return whether a broker answers its simplest request there (ApiVersions, version 0) without an error."""
    client = b"chargeline"
    body = struct.pack(">hhih", 18, 0, 1, len(client)) + client
    try:
        with socket.create_connection((HOST, port), ANSWER_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            connection.settimeout(ANSWER_TIMEOUT_S)
            head = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 10 and struct.unpack(">iih", head)[1:] == (1, 0)
