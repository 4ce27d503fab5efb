"""YAML files as a tree that remembers where each value stands.

Values stay the text that was written: no number is read as a float, `20:00` is no count of minutes and `no` no flag.
A key written twice is refused. Tags, anchors' merge keys and everything else that a tariff does not need is left to
fail as an unknown key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import yaml


class Place(NamedTuple):
    """Where a value stands: the file's name within the catalogue, and the line from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar as text (None: null), a list, or a mapping by key with the key's own place."""

    place: Place
    text: str | None = None
    items: tuple["Value", ...] | None = None
    fields: Mapping[str, "Value"] | None = None

    @property
    def is_null(self) -> bool:
        """Tell whether nothing was given."""
        return self.text is None and self.items is None and self.fields is None

    def kind(self) -> str:
        """Name what was written, for a message."""
        if self.fields is not None:
            return "a mapping"
        if self.items is not None:
            return "a list"
        return "nothing" if self.text is None else f"{self.text!r}"


class YamlProblem(Exception):  # noqa: N818 - it is a problem of the file, not of the program
    """The text is no YAML that a catalogue can be written in."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


_DEPTH_MAX = 12
_NODES_MAX = 2_000_000
_NULL_TAG = "tag:yaml.org,2002:null"


def read_yaml(text: str, file: str) -> Value:
    """Read one document; raises YamlProblem with the place. An empty file is an empty mapping."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        raise YamlProblem(Place(file, line), f"no YAML: {getattr(error, 'problem', None) or error}") from error
    if root is None:
        return Value(Place(file, 1), fields={})
    return _Tree(file).value(root, 0)


class _Tree:
    def __init__(self, file: str) -> None:
        self._file = file
        self._nodes = 0

    def value(self, node: yaml.Node, depth: int) -> Value:
        place = Place(self._file, node.start_mark.line + 1)
        self._nodes += 1
        if depth > _DEPTH_MAX or self._nodes > _NODES_MAX:  # an alias that holds itself, or aliases that multiply
            raise YamlProblem(place, "nested too deep, or too many values")
        if isinstance(node, yaml.ScalarNode):
            return Value(place, text=None if node.tag == _NULL_TAG else node.value)
        if isinstance(node, yaml.SequenceNode):
            return Value(place, items=tuple(self.value(item, depth + 1) for item in node.value))
        assert isinstance(node, yaml.MappingNode), "a YAML node of no known kind"
        fields: dict[str, Value] = {}
        for key, item in node.value:
            key_place = Place(self._file, key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                raise YamlProblem(key_place, "a key is a single word")
            if key.value in fields:
                raise YamlProblem(
                    key_place, f"key {key.value!r} is written twice, first in line {fields[key.value].place.line}"
                )
            fields[key.value] = self.value(item, depth + 1)
        return Value(place, fields=fields)
