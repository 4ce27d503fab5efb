# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""What operators may set.

`chargeline sample`: traffic made up, for trying things.
"""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.talk import misused, next_step, say

app = typer.Typer(name="sample", help="Traffic made up, for trying things.", no_args_is_help=True)


@app.command("labelled")
def labelled(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where usage, labels and cells are written.")],
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same traffic.")] = 1,
    subscribers: Annotated[
        int, typer.Option("--subscribers", min=200, help="Lines with a life of their own.")
    ] = 10_000,
    days: Annotated[int, typer.Option("--days", min=6, max=60, help="From Monday 2026-12-21 on.")] = 14,
    strength: Annotated[
        str, typer.Option("--strength", help="Of what is abnormal: 1 is medium; several by commas.")
    ] = "0.5,1,2,4",
    half: Annotated[int, typer.Option("--half", min=0, max=1, help="Which half of the numbers: 0 or 1.")] = 0,
) -> None:
    """Make two weeks of labelled traffic.

    A mobile operator, with what is abnormal in it written down beside.

    usage.jsonl has the records as they arrive (late, twice and out of order at times), labels.jsonl what was injected,
    cells.csv where the cells are.

    \b
    Example:
      chargeline sample labelled --seed 2 --half 1 --out labelled/
      chargeline detect eval --usage labelled/usage.jsonl --labels labelled/labels.jsonl --cells labelled/cells.csv
    """
    from deploy.sample.labelled.build import build

    try:
        strengths = tuple(float(text) for text in strength.split(","))
    except ValueError:
        misused("--strength is a number, or several by commas")
    if not strengths or min(strengths) <= 0:
        misused("a strength is above 0")
    made = build(out, seed, subscribers, days, strengths, half)
    say(f"{made.records} records, {made.labels} labels")
    next_step(f"chargeline detect replay --usage {out / 'usage.jsonl'} --cells {out / 'cells.csv'}")
