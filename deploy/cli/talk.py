"""How commands talk: data on standard output, everything else on standard error, and colour on a terminal alone."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import typer

NUMBER: Final = ">"
TEXT: Final = "<"


class RefusedError(Exception):
    """A command ends here with exit code 1: the message says why, `hint` what to type next."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def data(text: str = "") -> None:
    """Write a line of data."""
    print(text)


def data_json(value: Any) -> None:
    """Write one JSON object as a line of data."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_refuse))


def say(text: str = "") -> None:
    """Write a line of talk."""
    print(text, file=sys.stderr, flush=True)


def next_step(text: str) -> None:
    """Suggest what to type next."""
    say(f"next: {text}")


def misused(text: str) -> NoReturn:
    """End with exit code 2."""
    raise typer.BadParameter(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str | None = None) -> None:
    """Write rows as aligned columns; `align` has `<` or `>` for each. Wide characters count as two."""
    from rich.cells import cell_len

    align = align or TEXT * len(head)
    widths = [max(cell_len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = []
        for text, width, side in zip(row, widths, align, strict=True):
            room = " " * (width - cell_len(text))
            cells.append(room + text if side == NUMBER else text + room)
        print("  ".join(cells).rstrip())


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; `--yes` answers it. Without a terminal nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        misused(f"{question} There is nobody to ask here: say --yes.")
    if not typer.confirm(question, err=True):
        raise RefusedError("nothing was changed")


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show how long work goes on, on a terminal alone; yields a function to be told how much is done by now."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn()]
    if total is None:
        columns = [SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f}")]
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)


def explain(error: Exception) -> str | None:
    """Return in words what an expected error means to whoever typed the command; None for what is a bug."""
    if isinstance(error, RefusedError):
        return str(error) if error.hint is None else f"{error}\n{error.hint}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    from pipeline.adapters.kafka.client import BrokerError, KafkaException
    from pipeline.adapters.store import ViewUnavailableError

    if isinstance(error, KafkaException):
        return f"the broker refused: {error.args[0].str()}"
    from deploy.local.process import LocalServerError

    if isinstance(error, BrokerError | ViewUnavailableError | LocalServerError):
        return str(error)
    return None


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} has no JSON form")
