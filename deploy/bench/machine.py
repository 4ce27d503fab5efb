"""What the figures were measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from deploy.local.jars import KAFKA
from pipeline.adapters.store.redis import connect
from pipeline.domain import charging
from pipeline.settings import Settings


def build() -> str:
    """Return whether the core that runs here is `compiled` or `pure`."""
    return "compiled" if (charging.__file__ or "").endswith((".so", ".pyd")) else "pure"


def facts(settings: Settings, *, embedded: bool) -> dict[str, Any]:
    """Return the machine and the versions, without a name or a place of it."""
    client: Any = connect(settings)
    try:
        info = client.info("server")
    finally:
        client.close()
    view = next((f"{k.partition('_')[0]} {info[k]}" for k in ("valkey_version", "redis_version") if k in info), "")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "broker": f"kafka {KAFKA}" if embedded else "given",
        "view": view,
        "confluent_kafka": version("confluent-kafka"),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for row in cpuinfo.read_text().splitlines():
            if row.startswith("model name"):
                return row.partition(":")[2].strip()
    return platform.processor() or platform.machine()
