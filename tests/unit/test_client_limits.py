"""Every Kafka client can be made with the settings as they are, and a full queue makes its sender wait."""

import pytest

from pipeline.adapters.kafka import client
from pipeline.adapters.kafka.client import BrokerError
from pipeline.adapters.kafka.delivery import Delivery, Outgoing
from pipeline.settings import ChargeSettings, KafkaSettings, Settings

NOWHERE = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))


@pytest.mark.parametrize("transaction_timeout_ms", [2_000, 10_000, 90_000])
def test_every_client_takes_its_settings(transaction_timeout_ms):
    """The library refuses limits that contradict one another only when a client is made: charge would never start."""
    settings = NOWHERE.model_copy(update={"charge": ChargeSettings(transaction_timeout_ms=transaction_timeout_ms)})
    client.transactional_producer(settings, "charge-0")
    client.producer(settings)
    client.admin(settings)
    client.assigned_consumer(settings).close()
    client.group_consumer(settings, "g").close()


def test_a_full_queue_is_a_wait():
    """A sender whose broker is away waits for room, and is told in the end: a full queue is no error of its own."""
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1", producer_queue_records=10))
    delivery = Delivery(settings, 1)

    def send_more_than_it_holds():
        for _ in range(100):
            delivery.send(Outgoing("t", None, b"x", ()), lambda *_: None)

    with pytest.raises(BrokerError, match="was not acknowledged"):
        send_more_than_it_holds()
