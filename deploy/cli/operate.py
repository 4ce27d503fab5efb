# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline up`, `down`, `status`, `run`, `topics`: the parts as running processes."""

import threading
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import DataDir, Json, own_settings, settings_of_servers, with_servers
from deploy.cli.talk import confirm, data, data_json, explain, misused, next_step, say, table

if TYPE_CHECKING:
    from pipeline.adapters.progress import Progress
    from pipeline.settings import Settings

topics = typer.Typer(help="The topics on the broker.", no_args_is_help=True)

PROCESSES: Final = {
    "mediate": "pipeline.mediate",
    "charge": "pipeline.charge",
    "detect": "pipeline.detect",
    "audit": "consumers.audit.auditor",
    "alerts": "consumers.alerts.process",
}
"""Each process, and the module whose `run` it is."""
_SAMPLE_S: Final = 0.4
"""How long `status` watches in order to say how many records a second there are."""
_READY_POLL_S: Final = 0.2
_ERROR_WIDTH: Final = 80


def up(
    sample: Annotated[bool, typer.Option("--sample", help="Publish the sample once everything is up.")] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, until Ctrl-C stops everything.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Start everything; return when it is ready.

    What dies is started again; a second `up` changes nothing. With neither a broker nor Redis configured, embedded
    ones are started.

    \b
    Examples:
      chargeline up
      chargeline up --sample --data-dir /tmp/chargeline
    """
    from deploy.cli.sample import load_sample_once
    from deploy.local import supervisor

    settings = own_settings(data_dir)
    if foreground:
        if sample:  # beside the supervisor, which keeps this thread busy until it is told to stop
            threading.Thread(target=_load_when_ready, args=(settings,), daemon=True).start()
        supervisor.up(settings, foreground=True, progress=say)
        return
    addresses = supervisor.up(settings, progress=say)
    data(f"broker  {addresses.bootstrap_servers}")
    data(f"redis   {addresses.redis_url}")
    data(f"data    {settings.data_dir}")
    if sample:
        load_sample_once(with_servers(settings, addresses.bootstrap_servers, addresses.redis_url))
    next_step("chargeline status" if sample else "chargeline catalogue publish DIR, then chargeline account apply FILE")


def _load_when_ready(settings: "Settings") -> None:
    from deploy.cli.sample import load_sample_once
    from deploy.local.supervisor import read_state

    while (state := read_state(settings.data_dir)) is None or not state.ready:
        time.sleep(_READY_POLL_S)
    try:
        load_sample_once(with_servers(settings, state.bootstrap_servers, state.redis_url))
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        say(f"error: {explained}")


def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove the data of the embedded servers as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Stop what `chargeline up` started.

    The data stays.

    \b
    Examples:
      chargeline down
      chargeline down --wipe --yes
    """
    from deploy.local import supervisor

    settings = own_settings(data_dir)
    if wipe:
        confirm(f"Remove the ledger and everything else in {settings.data_dir}?", yes=yes)
    say("stopped" if supervisor.down(settings) else "nothing was up")
    if wipe:
        supervisor.wipe(settings)
        say("removed")


def status(json: Json = False, data_dir: DataDir = None) -> None:
    """Show the processes and how far they are.

    Drained: everything sent has its event or is a dead letter, and the view shows it.

    \b
    Examples:
      chargeline status
      chargeline status --json | jq .drained
    """
    settings = settings_of_servers(data_dir)
    found = status_of(settings)
    if json:
        data_json(found)
        return
    data(f"broker  {found['bootstrap_servers']}")
    data(f"redis   {found['redis_url']}")
    data(f"data    {found['data_dir']}")
    data()
    rows = [
        (
            p["name"],
            _or_dash(p["pid"]),
            p["state"],
            _or_dash(p["lag"]),
            f"{p['records_per_s']:,}",
            _brief(p["last_error"]),
        )
        for p in found["processes"]
    ]
    table(("process", "pid", "state", "lag", "records/s", "last error"), rows, "<><>><")
    data()
    data("drained" if found["drained"] else "not drained")


def status_of(settings: "Settings") -> dict[str, Any]:
    """Return what `status --json` shows: the processes as their supervisor knows them, their lag as the broker does."""
    from contextlib import closing

    from deploy.local.supervisor import read_state
    from pipeline.adapters.progress import ProgressReader
    from pipeline.adapters.store.redis import RedisStore

    with closing(RedisStore(settings)) as store, closing(ProgressReader(settings, store)) as reader:
        before, began = reader.read(), time.monotonic()
        time.sleep(_SAMPLE_S)
        after, ended = reader.read(), time.monotonic()
    state = read_state(settings.data_dir)
    known = {} if state is None else {process.name: process for process in state.processes}
    processes = []
    for name in (*PROCESSES, *(other for other in known if other not in PROCESSES)):
        process = known.get(name)
        processes.append(
            {
                "name": name,
                "pid": None if process is None else process.pid,
                "state": "not started here" if process is None else process.state,
                "lag": _lag(after, name),
                "records_per_s": round((_done(after, name) - _done(before, name)) / (ended - began)),
                "last_error": None if process is None else process.last_error,
            }
        )
    return {
        "bootstrap_servers": settings.kafka.bootstrap_servers,
        "redis_url": without_password(settings.redis.url or ""),
        "data_dir": str(settings.data_dir),
        "drained": after.drained,
        "processes": processes,
    }


def processes_of(settings: "Settings") -> dict[str, tuple[str, str | None]]:
    """Return the state and the last error, in brief, of each process that is supervised here."""
    from deploy.local.supervisor import read_state

    state = read_state(settings.data_dir)
    processes = () if state is None else state.processes
    return {process.name: (process.state, _brief(process.last_error) or None) for process in processes}


def _lag(progress: "Progress", name: str) -> int | None:
    return {"mediate": progress.mediate_lag, "charge": progress.charge_lag, "detect": progress.detect_lag}.get(name)


def _done(progress: "Progress", name: str) -> int:
    return {"mediate": progress.mediate_done, "charge": progress.charge_done, "detect": progress.detect_done}.get(
        name, 0
    )


def _brief(error: str | None) -> str:
    """Return the beginning of an error's first line; `--json` has the whole of it."""
    line = (error or "").partition("\n")[0]
    return line if len(line) <= _ERROR_WIDTH else line[: _ERROR_WIDTH - 3] + "..."


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def without_password(url: str) -> str:
    """Return a URL that may be shown."""
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mediate, charge, detect, audit or alerts.")],
    data_dir: DataDir = None,
) -> None:
    """Run one process until it is told to stop.

    By SIGTERM or Ctrl-C. Its logs are on standard error.

    \b
    Example:
      chargeline run charge
    """
    import importlib
    import signal

    from pipeline.adapters.logs import configure

    if name not in PROCESSES:
        misused(f"there is no process {name[:40]!r}: {', '.join(PROCESSES)}")
    settings = settings_of_servers(data_dir)
    configure(settings.log_level)
    stop = threading.Event()

    def stopping(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # asked twice: at once
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopping)
    code: int = importlib.import_module(PROCESSES[name]).run(settings, stop)
    raise typer.Exit(code)


@topics.command("create")
def create(json: Json = False, data_dir: DataDir = None) -> None:
    """Create the topics that are not there.

    With their partitions, retention and timestamps; safe to repeat.

    \b
    Example:
      CHARGELINE_KAFKA__LEDGER_PARTITIONS=64 chargeline topics create
    """
    from pipeline.adapters.kafka.topics import create_topics, describe_topics

    settings = settings_of_servers(data_dir)
    create_topics(settings)
    found = describe_topics(settings)
    if json:
        for topic in found.values():
            data_json({"topic": topic.name, "partitions": topic.partitions, "topic_id": topic.topic_id.hex()})
        return
    table(("topic", "partitions"), [(topic.name, str(topic.partitions)) for topic in found.values()], "<>")
    next_step("chargeline up, or chargeline run mediate | charge | detect | audit on machines of your own")
