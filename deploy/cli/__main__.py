"""`python -m deploy.cli` is `chargeline`."""

import sys

from deploy.cli import main

sys.exit(main())
