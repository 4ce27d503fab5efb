"""What a set-up is, asked of everything in it. An answer that cannot be had is a fact too, never an exception."""

import shutil
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed
from pipeline.adapters.kafka.client import BrokerError, KafkaException
from pipeline.adapters.kafka.cluster import Cluster, describe_cluster, members_of
from pipeline.adapters.kafka.ledger_lookup import LedgerLookup
from pipeline.adapters.kafka.membership import GROUP as CHARGE_GROUP
from pipeline.adapters.progress import MEDIATE_GROUP
from pipeline.adapters.store import ViewUnavailableError
from pipeline.adapters.store.redis import RedisStore, ServerFacts
from pipeline.settings import Settings
from pipeline.topics import AUDIT

GROUPS: Final = {"mediate": MEDIATE_GROUP, "charge": CHARGE_GROUP}
T = TypeVar("T")


class Stand(NamedTuple):
    """Where a ledger partition and its view stand; 0 is nothing."""

    ledger_seq: int
    view_seq: int
    view_layout: str | None


class SecretFile(NamedTuple):
    """A file that a secret is read from; `mode` None: it cannot be read."""

    setting: str
    mode: int | None
    empty: bool


class Facts(NamedTuple):
    """Everything that is judged. A text in place of a fact says why it could not be had."""

    embedded: bool
    """the servers are the ones that `chargeline up` starts, for trying things out on one machine"""
    cluster: Cluster | str
    view: ServerFacts | str
    clock_ms: int
    """of this machine, when the view's server was asked for its own"""
    published: bool | str
    """there is a catalogue"""
    members: Mapping[str, int] | str
    stands: Mapping[int, Stand] | str
    secrets: tuple[SecretFile, ...]
    free_bytes: int | None
    """on the disk of the data directory; None where there is no such directory"""


def gather(settings: Settings, *, embedded: bool, say: Callable[[str], None] = lambda _: None) -> Facts:
    """Ask everything once; takes as long as the slowest that does not answer. `say` is told what is asked."""
    say("asking the broker")
    cluster = _asked(lambda: describe_cluster(settings))
    say("asking Redis")
    view = _asked(lambda: _server(settings))
    clock_ms = time.time_ns() // 1_000_000
    nothing = "the broker did not answer" if isinstance(cluster, str) else "topics are missing"
    whole = not isinstance(cluster, str) and AUDIT.name in cluster.topics
    say("reading catalogues and ledger")
    return Facts(
        embedded,
        cluster,
        view,
        clock_ms,
        _asked(lambda: _published(settings)) if whole else nothing,
        _asked(lambda: {name: members_of(settings, [group])[group] for name, group in GROUPS.items()})
        if whole
        else nothing,
        _asked(lambda: _stands(settings, cluster)) if whole and not isinstance(view, str) else nothing,
        tuple(_secrets(settings)),
        _free_bytes(settings.data_dir),
    )


def _asked(question: Callable[[], T]) -> T | str:
    try:
        return question()
    except KafkaException as error:
        return str(error.args[0].str())
    except (BrokerError, ViewUnavailableError, OSError, ValueError) as error:
        return str(error)


def _server(settings: Settings) -> ServerFacts:
    with closing(RedisStore(settings)) as store:
        return store.server()


def _published(settings: Settings) -> bool:
    with closing(CatalogueFeed(settings)) as feed:
        return feed.read_to_end()[0].newest() is not None


def _stands(settings: Settings, cluster: Cluster | str) -> dict[int, Stand]:
    assert not isinstance(cluster, str), "asked only where the broker answered"
    partitions = range(cluster.topics[AUDIT.name].partitions)
    with closing(LedgerLookup(settings)) as lookup, closing(RedisStore(settings)) as store:
        heads = {p: store.head(p) for p in partitions}  # first: the ledger moves on, and is never behind a view
        lasts = lookup.lasts(partitions)
        return {
            p: Stand(
                lasts[p].stored.event.seq if p in lasts else 0, int(heads[p].get("seq", "0")), heads[p].get("layout")
            )
            for p in partitions
        }


def _secrets(settings: Settings) -> list[SecretFile]:
    named = {
        "CHARGELINE_KAFKA__SASL_PASSWORD_FILE": settings.kafka.sasl_password_file,
        "CHARGELINE_REDIS__PASSWORD_FILE": settings.redis.password_file,
    }
    return [_secret(setting, path) for setting, path in named.items() if path is not None]


def _secret(setting: str, path: Path) -> SecretFile:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        return SecretFile(setting, mode, not path.read_text().strip())
    except (OSError, UnicodeDecodeError):
        return SecretFile(setting, None, empty=True)


def _free_bytes(folder: Path) -> int | None:
    return shutil.disk_usage(folder).free if folder.is_dir() else None
