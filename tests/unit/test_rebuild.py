"""A rebuild in processes of its own: what goes wrong there is said here."""

import os
import subprocess
import sys

import pytest

from pipeline.adapters.kafka.client import BrokerError, KafkaError, KafkaException
from pipeline.charge import recovery
from pipeline.settings import Settings


def test_a_broker_that_does_not_answer_is_told_in_words_that_travel(monkeypatch):
    """The client's own errors cannot be read by another process: they become ours."""

    def refused(*_, **__):
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(recovery, "rebuild_one", refused)
    with pytest.raises(BrokerError, match="partition 3"):
        recovery._rebuild_elsewhere(Settings(), 3, from_snapshots=True)


def test_the_command_line_is_not_run_again_by_its_own_processes():
    """A process that a command starts imports the main module under another name: nothing happens then."""
    code = "import runpy; runpy.run_module('deploy.cli', run_name='__mp_main__', alter_sys=True)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
