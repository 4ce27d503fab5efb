"""What a million accounts take in Redis: the state of real ones, copied until there are so many.

python -m deploy.bench.million [--accounts N]

A thousand accounts are charged until each has drawn on both allowances and moved a month's meter. Their fields are
then written under a million other names, and the server is asked what it uses, its tables included.
"""

import argparse
import sys
from typing import Any, Final

from deploy.bench import measure
from deploy.bench.command import ended
from deploy.bench.results import RESULTS, write
from deploy.bench.stand import Plan, Stand, stand
from deploy.bench.traffic import account_name
from deploy.cli.context import own_settings
from deploy.cli.talk import data, say
from pipeline.adapters.store import keys
from pipeline.adapters.store.redis import RedisStore, connect
from pipeline.topics import partition_of

MILLION: Final = RESULTS / "million.json"
REAL: Final = 1_000
RECORDS: Final = 60_000
COPIED_FROM: Final = 90_000_000
"""accounts from this number on are copies: no name of the traffic's"""
_TOGETHER: Final = 2_000


def main() -> int:
    """Charge, copy, ask."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.bench.million", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--accounts", type=int, default=1_000_000)
    asked = parser.parse_args()
    with stand(Plan(accounts=REAL), own_settings(), say) as on:
        on.prepare()
        on.start("charge")
        measure.settle(on, REAL, "accounts opened")
        on.start("mediate")
        measure.whole_path(on, "real", RECORDS)
        found = copied(on, asked.accounts)
    write(MILLION, found)
    for name, value in found.items():
        data(f"{name:20} {value}")
    return 0


def copied(on: Stand, accounts: int) -> dict[str, Any]:
    """Copy the accounts' keys so many times; returns how much the server's memory grew by, an account."""
    client: Any = connect(on.settings)
    store = RedisStore(on.settings)
    names = [account_name(number) for number in range(REAL)]
    places = [partition_of(name, on.plan.partitions) for name in names]
    real = [
        (store.account(place, name), client.hgetall(keys.kept(place, name)))
        for place, name in zip(places, names, strict=True)
    ]
    say(f"copying {len(real):,} accounts of {sum(len(fields) for fields, _ in real) / len(real):.1f} fields")
    before = client.info("memory")["used_memory"]
    for first in range(0, accounts, _TOGETHER):
        with client.pipeline(transaction=False) as pipe:
            for number in range(first, min(first + _TOGETHER, accounts)):
                fields, kept = real[number % REAL]
                name = account_name(COPIED_FROM + number)
                pipe.hset(keys.account(0, name), mapping=fields)
                if kept:
                    pipe.hset(keys.kept(0, name), mapping=kept)
            pipe.execute()
    after = client.info("memory")["used_memory"]
    store.close()
    client.close()
    return {
        "accounts": accounts,
        "bytes_an_account": round((after - before) / accounts, 1),
        "fields_an_account": round(sum(len(fields) for fields, _ in real) / REAL, 1),
        "kept_an_account": round(sum(len(kept) for _, kept in real) / REAL, 1),
    }


if __name__ == "__main__":
    sys.exit(ended(main))
