"""Account commands onto their topic: each to the partition of its account."""

from collections.abc import Callable
from typing import Final

from pipeline.adapters.avro import ACCOUNT_COMMAND, Record
from pipeline.adapters.kafka.delivery import Delivery, Outgoing
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.commands import COMMAND_BYTES_MAX
from pipeline.settings import Settings
from pipeline.topics import ACCOUNT_COMMAND as COMMANDS
from pipeline.topics import partition_of

EVENT_TYPE: Final = b"charging.account.command.v1"
CONTENT_TYPE: Final = b"application/avro"


class CommandTooLargeError(ValueError):
    """The command would be larger than the topic's contract allows; it was not sent."""


def encode_command(command: Record) -> bytes:
    """Return the command's value on the topic; raises CommandTooLargeError."""
    value = ACCOUNT_COMMAND.encode(command)
    if len(value) > COMMAND_BYTES_MAX:
        raise CommandTooLargeError(
            f"command {command['command_id']} is {len(value)} bytes; at most {COMMAND_BYTES_MAX} are accepted"
        )
    return value


class CommandSender:
    """Produces commands; `partitions` is the number of partitions that the account topics have."""

    def __init__(self, settings: Settings, partitions: int, timeout_s: float) -> None:
        self._delivery = Delivery(settings, timeout_s)
        self._partitions = partitions

    def send(self, command: Record, delivered: Callable[[int], None]) -> int:
        """Hand a command over and return its partition; `delivered` is told its offset once it is acknowledged.

        Raises CommandTooLargeError (nothing was sent) or BrokerError. Sent again, the same command is answered as a
        repeat, so a caller who does not know what became of it sends it once more under its id.
        """
        value = encode_command(command)
        account = command["account"]
        partition = partition_of(account, self._partitions)
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", command["command_id"].encode()),
            ("ce_source", command["actor"].encode()),
            ("ce_type", EVENT_TYPE),
            ("ce_time", iso_time(command["at"]).encode()),
            ("content-type", CONTENT_TYPE),
        )
        record = Outgoing(COMMANDS.name, account.encode(), value, headers, partition)
        self._delivery.send(record, lambda _, offset: delivered(offset))
        return partition

    def flush(self) -> None:
        """Return when every command is acknowledged; raises BrokerError if one was not."""
        self._delivery.flush()
