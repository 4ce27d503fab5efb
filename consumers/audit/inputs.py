"""I4, held against the inputs themselves: the same topics, as long as was answered, and nothing in the gaps."""

from collections.abc import Mapping
from typing import Final

from consumers.audit.breach import COVERAGE, Breach, Finding
from consumers.audit.coverage import COMMAND, USAGE, Gap, first_unanswered
from consumers.audit.partition import PartitionAudit
from consumers.audit.reading import bounds, read_partition
from pipeline.adapters.kafka.topics import TopicFacts
from pipeline.settings import Settings
from pipeline.topics import ACCOUNT_COMMAND, USAGE_ACCEPTED

_INPUTS: Final = {USAGE: USAGE_ACCEPTED.name, COMMAND: ACCOUNT_COMMAND.name}


def inputs_breach(settings: Settings, facts: Mapping[str, TopicFacts], audit: PartitionAudit) -> Breach | None:
    """Hold the positions against the inputs as they are: the same topics, as long, and nothing in the gaps."""
    positions = audit.coverage.positions
    if positions is None:
        return None
    for name, topic in _INPUTS.items():
        position = getattr(positions, name)
        if position.topic_id != facts[topic].topic_id:
            return Breach(audit.partition, audit.chain.seq, COVERAGE, f"{topic} was made anew since: inputs are lost")
        first, end = bounds(settings, topic, audit.partition)
        if position.offset > end:
            detail = f"{topic} ends at {end}, but events answer up to {position.offset}: it lost its tail"
            return Breach(audit.partition, audit.chain.seq, COVERAGE, detail)
        if position.offset < first:
            detail = f"{topic} begins at {first}, but only what is below {position.offset} was answered"
            return Breach(audit.partition, audit.chain.seq, COVERAGE, detail)
        found = _gap_finding(settings, audit, topic, [gap for gap in audit.coverage.gaps if gap.input == name], first)
        if found is not None:
            gap, finding = found
            return Breach(audit.partition, gap.seq, *finding)
    return None


def _gap_finding(
    settings: Settings, audit: PartitionAudit, topic: str, gaps: list[Gap], first: int
) -> tuple[Gap, Finding] | None:
    if not gaps:
        return None
    if gaps[0].first < first:
        detail = f"nothing answers offsets {gaps[0].first} to {gaps[0].end} of {topic}, and they are no longer kept"
        return gaps[0], Finding(COVERAGE, f"{detail}: whether they held records cannot be proved")
    records = read_partition(settings, topic, audit.partition, gaps[0].first, gaps[-1].end)
    unanswered = first_unanswered(gaps, (record.offset for record in records))
    if unanswered is None:
        return None
    gap, offset = unanswered
    return gap, Finding(COVERAGE, f"nothing answers the record at offset {offset} of {topic}")
