"""Publishing the sample: tariffs, accounts, ten days of use, and bytes that are none."""

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from deploy.cli.publishing import await_answers
from deploy.cli.talk import RefusedError, progress, say

if TYPE_CHECKING:
    from deploy.sample.story import Story
    from pipeline.settings import Settings

_TIMEOUT_S: Final = 60.0


def load_sample(settings: "Settings") -> "tuple[Story, Counter[str]]":
    """Publish the sample and wait until each record has its answer; returns it and the answers by kind.

    Raises RefusedError where tariffs or an account are refused, which they are on a deployment that has others.
    """
    from deploy.sample import story

    now_ms = time.time_ns() // 1_000_000
    told = story.build(now_ms)
    _publish_tariffs(settings, told, now_ms)
    _open_accounts(settings, told)
    return told, _send_usage(settings, told)


def load_sample_once(settings: "Settings") -> None:
    """Publish the sample unless this deployment has it: told anew it has the same ids at other times."""
    from contextlib import closing

    from deploy.sample.story import BILL_ACCOUNT
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.adapters.store.redis import RedisStore
    from pipeline.topics import AUDIT, partition_of

    partition = partition_of(BILL_ACCOUNT, describe_topics(settings)[AUDIT.name].partitions)
    with closing(RedisStore(settings)) as store:
        known = store.account(partition, BILL_ACCOUNT)
    if known:
        say("the sample is there already; nothing was changed")
    else:
        load_sample(settings)


def _publish_tariffs(settings: "Settings", told: "Story", now_ms: int) -> None:
    from deploy.cli.rating import load_catalogue
    from pipeline.adapters.kafka.catalogue_publisher import publish
    from pipeline.domain.outcome import Refusal

    published = publish(settings, load_catalogue(told.catalogue_dir), None, now_ms)
    if isinstance(published, Refusal):
        raise RefusedError(f"the sample's tariffs were not published: {published.reason}")
    say(f"tariffs published: {published.hash[:12]}")


def _open_accounts(settings: "Settings", told: "Story") -> None:
    from pipeline.adapters.command_json import command_from_json
    from pipeline.commands import send
    from pipeline.domain.outcome import REJECTED, Refusal

    commands = []
    for document in told.commands:
        command = command_from_json(document)
        assert not isinstance(command, Refusal), command
        commands.append(command)
    with progress("accounts", len(commands)) as done:
        for count, answer in enumerate(send(settings, commands, timeout_s=_TIMEOUT_S), 1):
            done(count)
            if answer.stored is None or answer.problem is not None:
                raise RefusedError(f"{answer.command['command_id']}: {answer.problem}", "next: chargeline status")
            event = answer.stored.event
            if event.kind == REJECTED:
                raise RefusedError(f"{event.event_id}: {event.reason} {event.detail}")
    say(f"{len(commands)} account commands carried out")


def _send_usage(settings: "Settings", told: "Story") -> Counter[str]:
    from pipeline.adapters.formats import usage_from_json
    from pipeline.adapters.kafka.usage_sender import AnswerWatch, UsageSender
    from pipeline.domain.outcome import Refusal

    watch = AnswerWatch(settings)
    sender = UsageSender(settings, _TIMEOUT_S)
    began = time.monotonic()
    for document in told.usage:
        record = usage_from_json(document)
        assert not isinstance(record, Refusal), record
        sender.send(record)
    for value in told.raw:
        sender.send_bytes(value)
    sender.flush()
    await_answers(settings, watch, sender.delivered, _TIMEOUT_S)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(watch.kinds.items()))
    say(f"{len(sender.delivered)} records answered in {time.monotonic() - began:.1f} s: {counted}")
    return watch.kinds
