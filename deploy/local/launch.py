"""Become another program that dies with its parent: `launch.py PARENT_PID COMMAND…`, run as a script with -I -S.

Linux kills a process whose parent is gone only if that process asks for it, and after the fork. Asking here, in a
program of its own that then becomes the command, needs no code between fork and exec of a process that has threads.
Elsewhere nothing is asked; what was left behind is found and ended by the next start.
"""

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9  # not SIGTERM: what cannot drain must go as well, and nothing acknowledged is lost by it

if __name__ == "__main__":
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() != parent:  # it went before we asked
            sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606 - that is what this program is for
    except OSError as error:
        sys.exit(f"{os.path.basename(command[0])} cannot be run: {error.strerror}")  # noqa: PTH119 - starts fast
