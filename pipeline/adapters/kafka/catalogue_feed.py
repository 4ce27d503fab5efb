"""The published catalogues, read to the end of their topic whenever a batch asks; shared by a process's owners."""

import json
import threading

from pipeline.adapters.avro import CATALOGUE_VERSION
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.domain.catalogue import Catalogue, Catalogues, compile_catalogue
from pipeline.settings import Settings
from pipeline.topics import CATALOGUE


class CatalogueFeed:
    """Follows `charging.catalogue.v1`; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._reader = FollowingReader.from_beginning(settings, [(CATALOGUE.name, 0)])
        self._versions: dict[str, Catalogue] = {}
        self._catalogues = Catalogues(())

    def read_to_end(self) -> tuple[Catalogues, int]:
        """Return every version published so far, and the next offset of the topic.

        A version whose hash is not that of its document raises ValueError: nothing is rated by a forged tariff.
        """
        with self._lock:
            before = dict(self._reader.positions)
            try:
                new = self._read_versions()
            except BaseException:
                self._reader.seek(before)  # what was read in part is read again: no version is ever passed over
                raise
            if new:
                self._versions |= new
                self._catalogues = Catalogues(self._versions.values())
            return self._catalogues, self._reader.positions[CATALOGUE.name, 0]

    def _read_versions(self) -> dict[str, Catalogue]:
        new = {}
        for record in self._reader.read_to_end(self._settings.kafka.request_timeout_ms / 1000):
            if record.value is None:
                continue
            published = CATALOGUE_VERSION.decode(record.value)
            version = compile_catalogue(json.loads(published["document"]))
            if version.hash != published["hash"]:
                raise ValueError(f"catalogue at offset {record.offset}: its hash is not that of its document")
            new[version.hash] = version
        return new

    def close(self) -> None:
        """Leave the broker."""
        with self._lock:
            self._reader.close()
