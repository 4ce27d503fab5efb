# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline doctor`: the usual mistakes of a set-up, and the mend for each."""

import typer

from deploy.cli.context import DataDir, Json, own_settings, settings_of_servers
from deploy.cli.talk import data, data_json, say, table


def doctor(json: Json = False, data_dir: DataDir = None) -> None:
    """Look for the usual mistakes of a set-up.

    Asks broker, Redis, topics, catalogue and ledger, changes nothing, and says the mend of whatever it finds. Exit 1
    where use or money would be lost or waits.

    \b
    Examples:
      chargeline doctor
      chargeline doctor --json | jq 'select(.result != "passed")'
    """
    from deploy.doctor import FAILED, PASSED, gather, judge

    settings = settings_of_servers(data_dir)
    embedded = not own_settings(data_dir).kafka.bootstrap_servers
    verdicts = judge(gather(settings, embedded=embedded, say=say))
    if json:
        for verdict in verdicts:
            data_json(verdict._asdict())
    else:
        table(("check", "result", "what was found"), [verdict[:3] for verdict in verdicts])
        for verdict in verdicts:
            if verdict.mend:
                data()
                data(f"{verdict.check}: {verdict.finding}")
                data(f"  {verdict.mend}")
    failed = sum(verdict.result == FAILED for verdict in verdicts)
    warned = sum(verdict.result not in {FAILED, PASSED} for verdict in verdicts)
    say(f"{failed} failed, {warned} warned, {len(verdicts) - failed - warned} passed")
    if failed:
        raise typer.Exit(1)
