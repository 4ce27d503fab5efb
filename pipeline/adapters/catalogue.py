"""Catalogues from a directory: read, checked as a whole, refused with everything that is wrong at once.

A directory's YAML files are merged (file names do not matter), decks are CSV files beside them. The result is the
canonical document that is published; the domain compiles it.
"""

from pathlib import Path
from typing import Any, Final

from pipeline.adapters.catalogue_reader import Problem, Reader
from pipeline.adapters.catalogue_shape import Merged, build
from pipeline.adapters.catalogue_yaml import FILE_BYTES_MAX, Place, YamlProblem, read_yaml
from pipeline.domain import ambiguity
from pipeline.domain.catalogue import Catalogue, compile_catalogue

_SUFFIXES: Final = (".yaml", ".yml")
FOR_ALL_TIME: Final = 0
"""`effective_from` of a catalogue that was not published: as the only version it holds for all time."""


class CatalogueRefused(Exception):  # noqa: N818 - the catalogue is at fault, not the program
    """The catalogue cannot be used: every problem, each with file, line and what to do."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=lambda problem: (problem.place, problem.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class LoadedCatalogue:
    """A checked catalogue, not yet in force."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def document(self, effective_from_ms: int) -> dict[str, Any]:
        """Return the document to publish, in force from this moment (ms since 1970 UTC)."""
        return {**self._content, "effective_from": effective_from_ms}


def load_directory(path: Path | str) -> LoadedCatalogue:
    """Read a catalogue directory; raises CatalogueRefused with all that is wrong with it."""
    root = Path(path)
    reader = Reader()
    files = sorted(
        file
        for file in (root.rglob("*") if root.is_dir() else ())
        if file.suffix in _SUFFIXES
        and file.is_file()
        and not any(p.startswith(".") for p in file.relative_to(root).parts)
    )
    if not files:
        reader.note(Place(".", 1), "no catalogue here: a directory with at least one .yaml file is needed")
        raise CatalogueRefused(reader.problems)
    merged = Merged(reader)
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            if file.stat().st_size > FILE_BYTES_MAX:
                reader.note(Place(name, 1), f"the file is longer than {FILE_BYTES_MAX // 1024**2} MiB")
                continue
            merged.add(read_yaml(file.read_text(encoding="utf-8-sig"), name))
        except YamlProblem as problem:
            reader.note(problem.place, problem.message)
        except UnicodeDecodeError:
            reader.note(Place(name, 1), "the file is not UTF-8")
        except OSError as error:
            reader.note(Place(name, 1), f"the file cannot be read: {error.strerror}")
    if reader.problems and not merged.scalars:
        raise CatalogueRefused(reader.problems)
    content, places = build(merged, root, reader)
    if not reader.problems:
        _refuse_clashes(content, places, reader)
    if reader.problems:
        raise CatalogueRefused(reader.problems)
    return LoadedCatalogue(content)


def compile(document: dict[str, Any]) -> Catalogue:  # noqa: A001 - the word of the trade here
    """Make a published document ready for rating; see the domain's compile_catalogue."""
    return compile_catalogue(document)


def _refuse_clashes(content: dict[str, Any], places: list[dict[str, Place]], reader: Reader) -> None:
    """Note every pair of rules that cannot stand together, at the place of the second."""
    catalogue = compile_catalogue({**content, "effective_from": FOR_ALL_TIME})
    for clash in ambiguity.clashes(catalogue):
        plan = catalogue.plans[clash.plan]
        first, second = plan.rules[clash.first].id, plan.rules[clash.second].id
        pair = f"rules {first!r} and {second!r} of plan {plan.id!r}"
        message = pair + _WHY[clash.why].format(example=clash.example)
        reader.note(places[clash.plan][second], message, places[clash.plan][first])


_WHY: Final = {
    ambiguity.AMBIGUOUS: " both match {example}, with the same prefix length, priority and number of keys; give one a "
    "higher priority, or one key more",
    ambiguity.METERS: " can price parts of one call ({example}) and have different meters; give both the same meter",
    ambiguity.VOLUME: " can price parts of one call ({example}), and one has volume tiers, which price a whole call; "
    "leave the tiers out, or use meter day or month for both",
}
