"""When a worker counts as stalled, and what it shows the broker."""

from pipeline.adapters.faust_app import broker_credentials
from pipeline.detect import StallClock
from pipeline.settings import KafkaSettings


def test_a_partition_stalls_when_it_stands_still_with_records_for_the_whole_time():
    """Not at the time-out, but behind it; and it is the one that stands that is named."""
    clock = StallClock(10)
    assert clock.stalled(0, {("t", 1): 5, ("t", 2): 5}) is None
    assert clock.stalled(6, {("t", 1): 5, ("t", 2): 6}) is None
    assert clock.stalled(10, {("t", 1): 5, ("t", 2): 6}) is None
    assert clock.stalled(10.1, {("t", 1): 5, ("t", 2): 6}) == ("t", 1)


def test_any_progress_begins_the_time_anew():
    """An offset that moved is progress, however little."""
    clock = StallClock(10)
    assert clock.stalled(0, {("t", 1): 5}) is None
    assert clock.stalled(9, {("t", 1): 6}) is None
    assert clock.stalled(18, {("t", 1): 6}) is None
    assert clock.stalled(19.5, {("t", 1): 6}) == ("t", 1)


def test_a_partition_without_waiting_records_has_no_time():
    """Idle, given away, or a broker that does not answer: nothing counts from before."""
    clock = StallClock(10)
    assert clock.stalled(0, {("t", 1): 5}) is None
    assert clock.stalled(8, {}) is None
    assert clock.stalled(12, {("t", 1): 5}) is None
    assert clock.stalled(21, {("t", 1): 5}) is None


def test_the_broker_is_shown_what_its_protocol_asks_for(tmp_path):
    """PLAINTEXT nothing, SSL a TLS context that checks, SASL the principal and the password of its file."""
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    sasl = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "detect", "sasl_password_file": secret}
    assert broker_credentials(KafkaSettings()) is None
    tls = broker_credentials(KafkaSettings(security_protocol="SSL"))
    assert tls.context.check_hostname
    plain = broker_credentials(KafkaSettings(security_protocol="SASL_PLAINTEXT", **sasl))
    assert (plain.protocol.value, plain.mechanism.value, plain.username, plain.password) == (
        "SASL_PLAINTEXT",
        "SCRAM-SHA-512",
        "detect",
        "hush",
    )
    both = broker_credentials(KafkaSettings(security_protocol="SASL_SSL", **sasl))
    assert (both.protocol.value, both.ssl_context.check_hostname) == ("SASL_SSL", True)
    assert "hush" not in repr(both)
