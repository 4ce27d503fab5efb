"""The command line. Data on standard output, talk on standard error; 0 done, 1 refused or found wrong, 2 misused."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit code.

    Trouble that is expected is one sentence and what to do next; anything else is a bug and shows its traceback, never
    the values of its variables.
    """
    from deploy.cli.app import app
    from deploy.cli.talk import explain, say

    try:
        app(None if arguments is None else list(arguments), prog_name="chargeline")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        say(f"error: {explained}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
