"""What is wrong with a set-up, and the mend: one check a mistake, pure, over the facts gathered.

A check that needs a fact which could not be had stays silent: the check of that fact speaks. `failed`: use or money is
lost or waits; `warned`: it works, but not as production should.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from deploy.doctor.facts import Facts
from pipeline.adapters.kafka.cluster import KeptTopic
from pipeline.domain.ledger import LAYOUT
from pipeline.topics import (
    ACCOUNT_COMMAND,
    ACCOUNT_TOPICS,
    AUDIT,
    CATALOGUE,
    SUBSCRIBER,
    TOPICS,
    USAGE_RECEIVED,
)

PASSED: Final = "passed"
WARNED: Final = "warned"
FAILED: Final = "failed"

REPLICAS_MIN: Final = 3
IN_SYNC_MIN: Final = 2
CLOCK_APART_MS: Final = 2_000
FREE_BYTES_MIN: Final = 1 << 30
OTHERS_MAY_READ: Final = 0o077


class Verdict(NamedTuple):
    """What one check found. `mend` says what to do; empty where nothing is to be done."""

    check: str
    result: str
    finding: str
    mend: str = ""


class Check(NamedTuple):
    """A check by name, and what it says where it finds nothing."""

    name: str
    sound: str
    look: Callable[[Facts], Iterator[Verdict]]


def judge(facts: Facts) -> list[Verdict]:
    """Return every finding, worst of each check first as it comes; a check without one has passed."""
    verdicts = []
    for check in CHECKS:
        found = list(check.look(facts))
        verdicts += found or [Verdict(check.name, PASSED, check.sound)]
    return verdicts


def _broker(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.cluster, str):
        mend = "Start the broker, or correct CHARGELINE_KAFKA__BOOTSTRAP_SERVERS and its principal."
        yield Verdict("broker", FAILED, facts.cluster, mend)


def _redis(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.view, str):
        yield Verdict(
            "redis", FAILED, facts.view, "Start Redis, or correct CHARGELINE_REDIS__URL and its password file."
        )


def _topics(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.cluster, str):
        return
    missing = [topic.name for topic in TOPICS if topic.name not in facts.cluster.topics]
    if missing:
        mend = "chargeline topics create (and let this principal describe them)."
        yield Verdict("topics", FAILED, f"not there or not visible: {', '.join(missing)}", mend)


def _partitions(facts: Facts) -> Iterator[Verdict]:
    topics = _kept(facts)
    counts = {topic.name: topics[topic.name].partitions for topic in ACCOUNT_TOPICS if topic.name in topics}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} has {count}" for name, count in counts.items())
        mend = (
            "An account's partition must be the same in all three: create the topics anew with one count while they "
            "are empty. A ledger with events never changes its count."
        )
        yield Verdict("partitions", FAILED, found, mend)


def _broker_time(facts: Facts) -> Iterator[Verdict]:
    topics = _kept(facts)
    for topic in (USAGE_RECEIVED, ACCOUNT_COMMAND):
        kind = topics[topic.name].config.get("message.timestamp.type") if topic.name in topics else None
        if kind is not None and kind != "LogAppendTime":
            mend = f"Set message.timestamp.type=LogAppendTime on {topic.name}: what is late is decided by the broker."
            yield Verdict("broker time", FAILED, f"{topic.name} has the sender's time ({kind})", mend)


def _kept_for_ever(facts: Facts) -> Iterator[Verdict]:
    topics = _kept(facts)
    ledger = topics.get(AUDIT.name)
    if ledger is not None:
        for name, wanted in (("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")):
            value = ledger.config.get(name, wanted)
            if value != wanted:
                mend = f"Set {name}={wanted} on {AUDIT.name} at once: what expires of the ledger is gone for ever."
                yield Verdict("kept for ever", FAILED, f"{AUDIT.name} has {name}={value}", mend)
    for topic in (SUBSCRIBER, CATALOGUE):
        policy = topics[topic.name].config.get("cleanup.policy", "compact") if topic.name in topics else "compact"
        if policy != "compact":
            mend = f"Set cleanup.policy=compact on {topic.name}: rows that expire make strangers of subscribers."
            yield Verdict("kept for ever", FAILED, f"{topic.name} has cleanup.policy={policy}", mend)


def _replication(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.cluster, str) or facts.embedded:  # one broker for trying things out can keep no second copy
        return
    for name, topic in facts.cluster.topics.items():
        in_sync = int(topic.config.get("min.insync.replicas", "1"))
        unclean = topic.config.get("unclean.leader.election.enable", "false") == "true"
        if topic.replicas < REPLICAS_MIN:
            mend = f"Reassign it to {REPLICAS_MIN} replicas; one lost disk must not be a lost ledger."
            yield Verdict("replication", FAILED, f"{name} has {topic.replicas} replica(s)", mend)
        elif in_sync < IN_SYNC_MIN:
            mend = f"Set min.insync.replicas={IN_SYNC_MIN}: what one broker alone acknowledged dies with it."
            yield Verdict("replication", FAILED, f"{name} has min.insync.replicas={in_sync}", mend)
        if unclean:
            mend = "Set unclean.leader.election.enable=false: a stale leader forgets acknowledged events."
            yield Verdict("replication", FAILED, f"{name} allows an unclean leader election", mend)


def _eviction(facts: Facts) -> Iterator[Verdict]:
    policy = None if isinstance(facts.view, str) else facts.view.eviction
    if policy is not None and policy != "noeviction":
        mend = "CONFIG SET maxmemory-policy noeviction: a server that evicts keys loses balances; charge refuses it."
        yield Verdict("eviction", FAILED, f"maxmemory-policy is {policy}", mend)


def _persistence(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.view, str) or facts.view.append_only in {None, "yes"}:
        return
    mend = "CONFIG SET appendonly yes: without it a restart of Redis is a rebuild of everything from the ledger."
    yield Verdict("persistence", WARNED, "the append-only file is off", mend)


def _clocks(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.view, str):
        return
    apart_ms = abs(facts.view.clock_ms - facts.clock_ms)
    if apart_ms > CLOCK_APART_MS:
        mend = "Keep all clocks in step (chrony, NTP): brokers decide by theirs what is late and what is in the future."
        yield Verdict(
            "clocks", WARNED, f"the clocks of this machine and of Redis are {apart_ms / 1000:.1f} s apart", mend
        )


def _tariffs(facts: Facts) -> Iterator[Verdict]:
    if facts.published is False:
        yield Verdict("tariffs", FAILED, "no catalogue was ever published", "chargeline catalogue publish DIR")
    elif isinstance(facts.published, str) and not isinstance(facts.cluster, str) and CATALOGUE.name in _kept(facts):
        mend = "Find out who wrote to charging.catalogue.v1; only a published catalogue may lie there."
        yield Verdict("tariffs", FAILED, f"the catalogues cannot be read: {facts.published}", mend)


def _working(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.members, str):
        return
    for name, members in facts.members.items():
        if members == 0:
            yield Verdict("processes", FAILED, f"nobody runs {name}: its input waits", f"chargeline run {name}")


def _books(facts: Facts) -> Iterator[Verdict]:
    if isinstance(facts.stands, str):
        return
    for partition, stand in facts.stands.items():
        if stand.view_seq > stand.ledger_seq:
            found = (
                f"partition {partition}: Redis has seen event {stand.view_seq}, the ledger ends at {stand.ledger_seq}"
            )
            mend = (
                "Is this the Redis of another deployment? Then name the right one. Else the ledger lost its tail: "
                f"restore it, or chargeline ledger accept-loss {partition}"
            )
            yield Verdict("books", FAILED, found, mend)
        elif stand.view_layout not in {None, LAYOUT}:
            found = f"partition {partition}: the view has layout {stand.view_layout}, this release writes {LAYOUT}"
            yield Verdict(
                "books", WARNED, found, f"Its owner rebuilds it; or chargeline rebuild --partition {partition}"
            )


def _secrets(facts: Facts) -> Iterator[Verdict]:
    for secret in facts.secrets:
        if secret.mode is None:
            yield Verdict("secrets", FAILED, f"{secret.setting} names a file that cannot be read", "Correct its path.")
        elif secret.empty:
            yield Verdict("secrets", FAILED, f"{secret.setting} names an empty file", "Write the password into it.")
        elif secret.mode & OTHERS_MAY_READ:
            found = f"{secret.setting} names a file that others may read (mode {secret.mode:o})"
            yield Verdict("secrets", WARNED, found, "chmod 600 it.")


def _disk(facts: Facts) -> Iterator[Verdict]:
    if facts.embedded and facts.free_bytes is not None and facts.free_bytes < FREE_BYTES_MIN:
        found = f"{facts.free_bytes >> 20} MiB are free where the ledger lies"
        yield Verdict("disk", FAILED, found, "Make room, or move the data directory (--data-dir).")


def _kept(facts: Facts) -> dict[str, KeptTopic]:
    return {} if isinstance(facts.cluster, str) else facts.cluster.topics


CHECKS: Final = (
    Check("broker", "a broker answers", _broker),
    Check("redis", "Redis answers", _redis),
    Check("topics", "every topic is there", _topics),
    Check("partitions", "the account topics have one count", _partitions),
    Check("broker time", "inputs carry the broker's time", _broker_time),
    Check("kept for ever", "ledger, directory and tariffs never expire", _kept_for_ever),
    Check("replication", "what is acknowledged survives a broker", _replication),
    Check("eviction", "Redis evicts nothing", _eviction),
    Check("persistence", "Redis keeps its data over a restart", _persistence),
    Check("clocks", "clocks are in step", _clocks),
    Check("tariffs", "a catalogue is published", _tariffs),
    Check("processes", "mediate and charge have members", _working),
    Check("books", "no view is ahead of its ledger", _books),
    Check("secrets", "files of secrets are readable to us alone", _secrets),
    Check("disk", "there is room", _disk),
)
"""In the order in which they are mended: what does not answer first."""
