# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline config`: what is configured, and where each value comes from."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import typer

from deploy.cli.context import DataDir, Json, own_settings, with_servers
from deploy.cli.operate import without_password
from deploy.cli.talk import data_json, table

if TYPE_CHECKING:
    from pydantic import BaseModel

app = typer.Typer(help="What is configured, and where it comes from.", no_args_is_help=True)

_PREFIX: Final = "CHARGELINE_"


class Setting(NamedTuple):
    """One setting in force."""

    name: str
    variable: str
    value: str | int | None
    origin: str
    description: str


@app.command("show")
def show(json: Json = False, data_dir: DataDir = None) -> None:
    """Show every setting in force.

    And where it comes from: option, environment, file, default, or `chargeline up`.

    \b
    Examples:
      chargeline config show
      chargeline config show --json | jq 'select(.origin != "default")'
    """
    from deploy.local.supervisor import read_state

    settings = own_settings(data_dir)
    origins = {"data_dir": "option"} if data_dir is not None else {}
    state = read_state(settings.data_dir)
    if state is not None:
        if not settings.kafka.bootstrap_servers:
            origins["kafka.bootstrap_servers"] = "chargeline up"
        if not settings.redis.url:
            origins["redis.url"] = "chargeline up"
        settings = with_servers(settings, state.bootstrap_servers, state.redis_url)
    found = list(effective(settings, os.environ, _file_of(os.environ), origins))
    if json:
        for setting in found:
            data_json(setting._asdict())
        return
    table(
        ("setting", "value", "origin"),
        [(s.name, "" if s.value is None else str(s.value), s.origin) for s in found],
    )


def effective(
    settings: "BaseModel", environment: Mapping[str, str], file: Mapping[str, Any], origins: Mapping[str, str]
) -> Iterator[Setting]:
    """Yield every setting with its value and origin; `origins` names those that come from elsewhere."""
    given = {name.upper(): value for name, value in environment.items() if value}
    yield from _section(settings, (), given, file, origins)


def _section(
    section: "BaseModel",
    path: tuple[str, ...],
    given: Mapping[str, str],
    file: Mapping[str, Any] | None,
    origins: Mapping[str, str],
) -> Iterator[Setting]:
    from pydantic import BaseModel

    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        here = (*path, name)
        in_file = None if file is None else file.get(name)
        if isinstance(value, BaseModel):
            yield from _section(value, here, given, in_file if isinstance(in_file, dict) else None, origins)
            continue
        dotted = ".".join(here)
        variable = _PREFIX + "__".join(here).upper()
        whole_section = _PREFIX + here[0].upper()
        origin = origins.get(dotted)
        if origin is None and (variable in given or (len(here) > 1 and whole_section in given)):
            origin = f"environment {variable if variable in given else whole_section}"
        if origin is None:
            origin = "default" if in_file is None else "file"
        yield Setting(dotted, variable, _shown(value), origin, field.description or "")


def _shown(value: Any) -> str | int | None:
    if value is None or isinstance(value, int):
        return value
    return without_password(value) if isinstance(value, str) and "://" in value else str(value)


def _file_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of the configuration file, which has been read once already and is valid."""
    path = environment.get(f"{_PREFIX}CONFIG")
    return tomllib.loads(Path(path).read_text("utf-8")) if path else {}
