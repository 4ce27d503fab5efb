"""What the simulation has found, each as a story of its own."""

import pytest
from sim_story import phone
from sim_tariff import DAY_MS, NOW, PLAN, catalogue

from pipeline.adapters.avro import ACCOUNT_COMMAND, SUBSCRIBER_BINDING
from pipeline.adapters.memory_broker import InvalidTransactionError, MemoryBroker, MemoryPartition
from pipeline.adapters.store import ViewUnavailableError
from pipeline.adapters.store.memory import MemoryStore
from pipeline.charge.owner import Owner
from pipeline.settings import ChargeSettings
from pipeline.topics import ACCOUNT_COMMAND as COMMANDS
from pipeline.topics import AUDIT, SUBSCRIBER


class Torn(MemoryBroker):
    """A late end of the transaction before arrives when the events were sent and the directory's rows were not."""

    late = True

    def send(self, name, epoch, where, key, value):
        if where[0] == SUBSCRIBER.name and self.late:
            self.late = False
            self.end(name, epoch, commit=True)
        super().send(name, epoch, where, key, value)


class Deaf(MemoryStore):
    """A view that does not answer so many writes."""

    silent = 0

    def apply(self, partition, previous_hash, writes):
        if self.silent:
            self.silent -= 1
            raise ViewUnavailableError
        super().apply(partition, previous_hash, writes)


def _opened(broker: MemoryBroker, account: str, number: int) -> None:
    fields = dict.fromkeys(field["name"] for field in ACCOUNT_COMMAND.schema["fields"])
    command = {
        **fields, "type": "open_account", "command_id": f"open-{account}", "account": account, "actor": "test",
        "at": NOW - DAY_MS, "currency": "CNY", "plan": PLAN, "identities": ["msisdn-" + phone(number)],
        "opening_balance": "1",
    }  # fmt: skip
    broker.append(COMMANDS.name, 0, b"k", ACCOUNT_COMMAND.encode(command), (), NOW)


def _rows(broker: MemoryBroker) -> dict[str, str]:
    rows, _ = broker.read(SUBSCRIBER.name, 0, 0, 100)
    return {row["identity"]: row["account"] for row in (SUBSCRIBER_BINDING.decode(row.value or b"") for _, row in rows)}


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_directory_rows_that_a_late_end_tore_off_are_written_by_the_take_over(silent):
    """Events without their rows would make strangers of subscribers for ever; however often the take-over fails."""
    broker, store = Torn(), Deaf()
    broker.versions.append(catalogue(0, 0))
    _opened(broker, "ann", 0)
    _opened(broker, "bob", 1)
    owner = Owner(0, 1, MemoryPartition(broker, 0), store, ChargeSettings())
    owner.take_over()
    with pytest.raises(InvalidTransactionError):
        owner.step()
    assert len(broker.read(AUDIT.name, 0, 0, 100)[0]) == 2
    assert _rows(broker) == {}
    store.silent = silent
    for _ in range(silent):
        with pytest.raises(ViewUnavailableError):
            Owner(0, 1, MemoryPartition(broker, 0), store, ChargeSettings()).take_over()
    Owner(0, 1, MemoryPartition(broker, 0), store, ChargeSettings()).take_over()
    assert _rows(broker) == {"msisdn-" + phone(0): "ann", "msisdn-" + phone(1): "bob"}
