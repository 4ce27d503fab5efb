"""The settings that a command works with, and the option that says which deployment it is about."""

import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.talk import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where the embedded servers live (else CHARGELINE_DATA_DIR)."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Give up when nothing moved for so long.")
]


def own_settings(data_dir: Path | None = None) -> "Settings":
    """Return the settings as configured: option over environment over file over default.

    Raises RefusedError, with every fault named.
    """
    from pydantic import ValidationError

    from pipeline.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        # the values are not repeated: one of them may be a secret in the wrong place
        faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise RefusedError("the configuration is not valid:\n" + "\n".join(faults)) from None
    except (OSError, ValueError) as error:
        raise RefusedError(f"the configuration file cannot be read: {error}") from None
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir.absolute()})


def settings_of_servers(data_dir: Path | None = None) -> "Settings":
    """Return the settings with the addresses of the servers that `chargeline up` started, where none are configured."""
    settings = own_settings(data_dir)
    if settings.kafka.bootstrap_servers and settings.redis.url:
        return settings
    from deploy.local.supervisor import read_state

    state = read_state(settings.data_dir)
    if state is None:
        raise RefusedError(
            "no servers: neither are a broker and Redis configured, nor is anything up in this data directory",
            "next: `chargeline up`, or set CHARGELINE_KAFKA__BOOTSTRAP_SERVERS and CHARGELINE_REDIS__URL",
        )
    return with_servers(settings, state.bootstrap_servers, state.redis_url)


def with_servers(settings: "Settings", bootstrap_servers: str, redis_url: str) -> "Settings":
    """Return the settings with these servers where none are configured."""
    kafka, redis = settings.kafka, settings.redis
    return settings.model_copy(
        update={
            "kafka": kafka.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers or bootstrap_servers}),
            "redis": redis.model_copy(update={"url": redis.url or redis_url}),
        }
    )


@contextmanager
def ended_by_signal() -> "Iterator[None]":
    """Turn the signal of a polite kill into Ctrl-C, so that servers are stopped on either."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
