"""The reader's idea of an end, on a real broker: what it takes for the end decides what mediate and charge know."""

from pipeline.adapters.kafka.client import TopicPartition, assigned_consumer, transactional_producer
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.settings import Settings
from pipeline.topics import AUDIT

KEYS = [(AUDIT.name, partition) for partition in range(60, 64)]


def read_all(reader: FollowingReader) -> list[bytes | None]:
    """Return the values up to the end as it is now."""
    return [record.value for record in reader.read_to_end(10)]


def test_each_read_goes_to_the_end_as_it_is_then(kafka_settings: Settings) -> None:
    """An end is asked anew each time, of every partition followed: what was committed before the call is yielded."""
    producer = transactional_producer(kafka_settings, "reader-contract")
    producer.init_transactions(10)
    with FollowingReader.from_beginning(kafka_settings, KEYS) as reader:
        read_all(reader)
        for turn in range(20):
            producer.begin_transaction()
            for topic, partition in KEYS:
                producer.produce(topic, b"%d-%d" % (turn, partition), b"key", partition)
            producer.commit_transaction(10)
            assert sorted(read_all(reader)) == [b"%d-%d" % (turn, partition) for _, partition in KEYS]


def test_an_open_transaction_lies_before_the_end(kafka_settings: Settings) -> None:
    """The ends asked for are those of all records: of each partition what its own log says, an open batch included."""
    producer = transactional_producer(kafka_settings, "reader-contract-open")
    producer.init_transactions(10)
    producer.begin_transaction()
    for topic, partition in KEYS[:2]:
        for _ in range(partition - 58):
            producer.produce(topic, b"open", b"key", partition)
    producer.flush(10)
    asker = assigned_consumer(kafka_settings, committed_only=False)
    try:
        with FollowingReader.from_beginning(kafka_settings, KEYS) as reader:
            each = {key: asker.get_watermark_offsets(TopicPartition(*key), 10, cached=False)[1] for key in KEYS}
            assert reader._ends() == each
    finally:
        asker.close()
        producer.abort_transaction(10)


def test_a_reader_at_rest_reads_on_after_a_seek(kafka_settings: Settings) -> None:
    """Rest drops what was followed and loses nothing: a seek afterwards reads from where it says."""
    producer = transactional_producer(kafka_settings, "reader-contract-rest")
    producer.init_transactions(10)
    key = KEYS[3]
    with FollowingReader.from_beginning(kafka_settings, [key]) as reader:
        start = reader.bounds()[key][1]
        producer.begin_transaction()
        producer.produce(key[0], b"after", b"key", key[1])
        producer.commit_transaction(10)
        reader.rest()
        assert read_all(reader) == []
        reader.seek({key: start})
        assert read_all(reader) == [b"after"]
