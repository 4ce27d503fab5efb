"""Charge alone against the floor, in the same minute.

python -m deploy.bench [--records N] [--accounts M] [--partitions P] [--json]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from deploy.bench import charging, floor
from deploy.local.servers import embedded
from pipeline.adapters.kafka.topics import create_topics
from pipeline.domain import charging as core
from pipeline.settings import Settings


def main() -> int:
    """Measure on servers of its own, which are gone afterwards."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.bench", description="Charge alone against the floor, in the same minute."
    )
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chargeline-bench-") as directory:
        own = Settings(data_dir=Path(directory))
        kafka = own.kafka.model_copy(update={"ledger_partitions": arguments.partitions})
        with embedded(own.model_copy(update={"kafka": kafka}), _say) as addresses:
            kafka = kafka.model_copy(update={"bootstrap_servers": addresses.bootstrap_servers})
            redis = own.redis.model_copy(update={"url": addresses.redis_url})
            settings = own.model_copy(update={"kafka": kafka, "redis": redis})
            create_topics(settings)
            _say("publishing")
            charging.publish(settings, arguments.records, arguments.accounts, arguments.partitions)
            _say("the floor")
            least = floor.run(
                addresses.bootstrap_servers, addresses.redis_url, arguments.records, partitions=arguments.partitions
            )
            _say("charge")
            begun = time.perf_counter()
            measured = charging.run(settings, arguments.records, arguments.accounts, arguments.partitions)
            _say(f"charged in {time.perf_counter() - begun:.0f} s")
    figures = {
        "core": "compiled" if (core.__file__ or "").endswith((".so", ".pyd")) else "pure",
        "records": arguments.records,
        "accounts": arguments.accounts,
        "partitions": arguments.partitions,
        "floor_records_per_s": least.records_per_s,
        "floor_cpu_us_per_record": least.cpu_us_per_record,
        "charge_records_per_s": measured.records_per_s,
        "charge_cpu_us_per_record": measured.cpu_us_per_record,
        "charge_ratio_to_floor": round(measured.records_per_s / least.records_per_s, 3),
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:26} {value}")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
