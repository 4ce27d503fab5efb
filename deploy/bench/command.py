"""How the benchmark's own commands end: expected trouble is one sentence and exit code 2, Ctrl-C leaves nothing."""

from collections.abc import Callable
from typing import Final

from deploy.bench.stand import BenchError
from deploy.cli.context import ended_by_signal
from deploy.cli.talk import explain, say

NOT_MEASURED: Final = 2
INTERRUPTED: Final = 130


def ended(body: Callable[[], int]) -> int:
    """Run a measurement and return its exit code: its own, or that it could not be made."""
    try:
        with ended_by_signal():
            return body()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        explained = str(error) if isinstance(error, BenchError) else explain(error)
        if explained is None:
            raise
        say(f"error: {explained}")
        return NOT_MEASURED
