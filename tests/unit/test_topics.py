"""Every client of any language finds an account in the same partition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.avro import CONTRACTS
from pipeline.topics import ACCOUNT_TOPICS, AUDIT, TOPICS, murmur2, partition_of

JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""What Kafka's own unit tests expect of its hash, as signed 32-bit numbers."""


@pytest.mark.parametrize(("data", "signed"), JAVA.items())
def test_murmur2_is_that_of_javas_client(data, signed):
    """The hash is Java's, bit for bit."""
    assert murmur2(data) == signed % 2**32


@given(st.text(max_size=40), st.integers(1, 1_000))
def test_partitions(account, partitions):
    """The partition is one of those there, the same each time."""
    assert 0 <= partition_of(account, partitions) < partitions
    assert partition_of(account, partitions) == (murmur2(account.encode()) & 0x7FFFFFFF) % partitions


def test_the_sign_bit_is_dropped():
    """A hash with its sign bit set counts without it: negative numbers have no partition."""
    assert partition_of("foobar", 1_000) == (-790332482 & 0x7FFFFFFF) % 1_000 == 166


def test_topics_and_their_contracts():
    """Each topic is named once, ends in a version, and its values are of a published contract."""
    names = [topic.name for topic in TOPICS]
    assert len(set(names)) == len(names) == 10
    assert {topic.schema for topic in TOPICS if topic.schema} == set(CONTRACTS)
    assert all(topic.partitions is None for topic in ACCOUNT_TOPICS)


def test_the_ledger_is_kept_for_ever():
    """Nothing deletes or compacts the ledger."""
    assert AUDIT.config["retention.ms"] == AUDIT.config["retention.bytes"] == "-1"
    assert AUDIT.config["cleanup.policy"] == "delete"
