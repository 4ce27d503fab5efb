"""`python -m deploy.cli` is `chargeline`."""

import sys

from deploy.cli import main

if __name__ == "__main__":  # a process that a command starts for its own work imports this file as well
    sys.exit(main())
