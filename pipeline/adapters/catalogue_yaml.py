"""YAML files as a tree that remembers where each value stands.

Values stay the text that was written: no number is read as a float, `20:00` is no count of minutes and `no` no flag.
A key written twice is refused. Tags, anchors' merge keys and everything else that a tariff does not need is left to
fail as an unknown key.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

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


FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one file: no more can be published in one version."""
_DEPTH_MAX: Final = 12
_VALUES_MAX: Final = 500_000
_ALIASED_MAX: Final = 100_000
"""Values that stand for others: an alias is a word, and a few lines of them multiply without end."""
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_NULL_TAG: Final = "tag:yaml.org,2002:null"


def read_yaml(text: str, file: str) -> Value:
    """Read one document; raises YamlProblem with the place. An empty file is an empty mapping.

    Event by event, since the library's own tree is made by recursion in C: a file of brackets ends the process there.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Tree(file, yaml.parse(text, Loader=loader)).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        raise YamlProblem(Place(file, line), f"no YAML: {getattr(error, 'problem', None) or error}") from error


class _Tree:
    def __init__(self, file: str, events: Iterator[Any]) -> None:
        self._file = file
        self._events = events
        self._anchors: dict[str, tuple[Value, int]] = {}
        """by name: the value, and how many values it is made of"""
        self._values = 0
        self._aliased = 0

    def document(self) -> Value:
        root = Value(Place(self._file, 1), fields={})
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise YamlProblem(self._place(event), "no YAML: expected a single document in the file")
                root = self._value(next(self._events), 0)
        return root

    def _value(self, event: Any, depth: int) -> Value:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        self._values += 1
        if depth > _DEPTH_MAX or self._values > _VALUES_MAX:
            raise YamlProblem(place, "nested too deep, or too many values")
        before = self._values + self._aliased
        if isinstance(event, yaml.ScalarEvent):
            is_null = event.tag == _NULL_TAG or (event.tag is None and event.implicit[0] and event.value in _NULLS)
            value = Value(place, text=None if is_null else event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = Value(place, items=self._items(depth))
        else:
            assert isinstance(event, yaml.MappingStartEvent), "a YAML event of no known kind"
            value = Value(place, fields=self._fields(depth))
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._values + self._aliased - before + 1
        return value

    def _alias(self, event: Any, place: Place) -> Value:
        known = self._anchors.get(event.anchor)
        if known is None:
            raise YamlProblem(place, f"*{event.anchor} stands for nothing that is written above it")
        value, values = known
        self._aliased += values
        if self._aliased > _ALIASED_MAX:
            raise YamlProblem(place, "nested too deep, or too many values")
        return value

    def _items(self, depth: int) -> tuple[Value, ...]:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return tuple(items)

    def _fields(self, depth: int) -> dict[str, Value]:
        fields: dict[str, Value] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            place = self._place(key)
            if not isinstance(key, yaml.ScalarEvent):
                raise YamlProblem(place, "a key is a single word")
            if key.value in fields:
                raise YamlProblem(
                    place, f"key {key.value!r} is written twice, first in line {fields[key.value].place.line}"
                )
            fields[key.value] = self._value(next(self._events), depth + 1)
        return fields

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1)
