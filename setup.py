"""Compiles the pure core with mypyc where a C compiler is at hand; without one the same files run as they are.

CHARGELINE_COMPILE: `auto` (the default: compile if it can be done), `always` (fail if it cannot), `never`.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import setup

CORE = Path("pipeline/domain")


def extensions() -> list[object]:
    """Return the compiled core's extensions, or none, as CHARGELINE_COMPILE says."""
    wish = os.environ.get("CHARGELINE_COMPILE", "auto")
    if wish == "never":
        return []
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if wish == "auto" and shutil.which(compiler) is None:
        sys.stderr.write("chargeline: no C compiler; the core stays pure Python, at about half the speed\n")
        return []
    from mypyc.build import mypycify

    modules = sorted(str(path) for path in CORE.glob("*.py") if path.name != "__init__.py")
    # a configuration of its own: the project's names a plugin that the core does not need
    return mypycify([f"--config-file={os.devnull}", "--strict", *modules], opt_level="3")


setup(ext_modules=extensions())
