"""Deployments that share servers: a namespace is before every name, and without one nothing is named otherwise."""

import json
import os
import subprocess
import sys

import pytest

from deploy.local.configuration import without_settings
from pipeline.adapters.kafka.client import BrokerError
from pipeline.adapters.kafka.topics import delete_topics
from pipeline.adapters.store import keys
from pipeline.settings import Settings
from pipeline.topics import NAMESPACE, TOPICS

NAMES = """
import json
from pipeline.adapters.kafka import intake, membership
from pipeline.adapters.progress import DETECT_GROUP, MEDIATE_GROUP
from pipeline.adapters.store import keys
from pipeline.topics import TOPICS
groups = [intake.GROUP, membership.GROUP, MEDIATE_GROUP, DETECT_GROUP]
tags = [key(3, *("x" for _ in range(n))) for key, n in ((keys.account, 1), (keys.kept, 1), (keys.session, 1))]
tags += [keys.ledger(3), keys.attempts(3), keys.seen(3, 20_000, 7)]
print(json.dumps({"topics": [topic.name for topic in TOPICS], "groups": groups, "keys": tags}))
"""


def names_under(namespace):
    environment = {**without_settings(os.environ), "CHARGELINE_NAMESPACE": namespace}
    done = subprocess.run(
        [sys.executable, "-c", NAMES], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_without_a_namespace_names_are_those_of_the_contract():
    """The default changes nothing."""
    assert NAMESPACE == ""
    assert all(topic.name.startswith("charging.") for topic in TOPICS)
    assert keys.account(3, "alice") == "account:{3}:alice"
    assert keys.ledger(3) == "ledger:{3}"


def test_a_namespace_is_before_every_name():
    """Every topic and group begins with it, and it stands in every key's tag, so no pattern of one deployment meets
    the keys of another."""
    code, out, _ = names_under("try-1.")
    names = json.loads(out)
    assert code == 0
    assert all(name.startswith("try-1.charging.") for name in names["topics"])
    assert all(name.startswith("try-1.chargeline-") for name in names["groups"])
    assert all(":{try-1.3}" in key for key in names["keys"])


@pytest.mark.parametrize("namespace", ["a b", "{x}", "UPPER", "a" * 41, "*"])
def test_a_namespace_that_is_no_name_is_refused(namespace):
    """What could not be part of a topic's name, or would be a pattern in Redis, starts nothing."""
    code, _, err = names_under(namespace)
    assert code == 1
    assert "CHARGELINE_NAMESPACE" in err


def test_processes_are_started_under_the_same_namespace():
    """What else configures chargeline is told anew to a process that is started; the namespace goes along."""
    given = {"CHARGELINE_NAMESPACE": "a.", "CHARGELINE_REDIS__URL": "redis://x", "PATH": "/bin"}
    assert without_settings(given) == {"CHARGELINE_NAMESPACE": "a.", "PATH": "/bin"}


def test_topics_without_a_namespace_are_never_deleted():
    """Those hold somebody's ledger: asked to, we refuse before any broker is asked."""
    with pytest.raises(BrokerError, match="never deleted"):
        delete_topics(Settings())
