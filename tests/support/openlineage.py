"""JSON schemas of OpenLineage's events and facets, for validating what is sent.

The classes of the client are generated from the published schemas (https://openlineage.io/spec),
and name the version of each. The schemas are made of them again here, so a later client brings
later ones.
"""

from __future__ import annotations

import enum
import importlib
import pkgutil
import sys
import types
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, Final, ForwardRef, Union, get_args, get_origin, get_type_hints

import attr
from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client import generated
from openlineage.client.event_v2 import RunEvent
from openlineage.client.facet_v2 import BaseFacet

from orders_dask.monitoring.lineage_datasets import FILES_FACET

Schema = dict[str, Any]

FORMATS: Final = {
    "eventTime": "date-time",
    "nominalStartTime": "date-time",
    "nominalEndTime": "date-time",
    "runId": "uuid",
    "producer": "uri",
    "schemaURL": "uri",
    "_producer": "uri",
    "_schemaURL": "uri",
}
"""Formats of texts, which the classes do not have."""

ALWAYS: Final = {"producer", "schemaURL", "_producer", "_schemaURL"}
"""Members that are required, though the classes fill them in by themselves."""

FACETS: Final = {
    "run": {"nominalTime", "parent", "processing_engine", "errorMessage", "tags"},
    "job": {"jobType"},
    "dataset": {"version", "schema", "columnLineage", FILES_FACET},
    "input": {"subset", "inputStatistics"},
    "output": {"outputStatistics"},
}
"""Names of the facets in the specification, by what they are on, and the one that is ours."""


def problems(event: Schema) -> list[str]:
    """Return what is wrong with an event and its facets."""
    found = [*_errors(_schema_of(RunEvent), event)]
    for kind, name, facet in _facets(event):
        if name not in FACETS[kind]:
            found.append(f"{name} is no facet of {kind}")
        found += [
            f"{name}: {error}" for error in _errors(_facet_schema(facet["_schemaURL"]), facet)
        ]
    return found


def _facets(event: Schema) -> Iterator[tuple[str, str, Schema]]:
    owners = [
        ("run", event["run"].get("facets")),
        ("job", event["job"].get("facets")),
        *(("dataset", each.get("facets")) for each in (*event["inputs"], *event["outputs"])),
        *(("input", each.get("inputFacets")) for each in event["inputs"]),
        *(("output", each.get("outputFacets")) for each in event["outputs"]),
    ]
    for kind, facets in owners:
        for name, facet in (facets or {}).items():
            yield kind, name, facet


def _errors(schema: Schema, value: Any) -> Iterator[str]:
    Draft202012Validator.check_schema(schema)
    checker = Draft202012Validator(schema, format_checker=FormatChecker())
    for error in checker.iter_errors(value):
        yield f"{error.json_path}: {error.message}"


@cache
def _facet_classes() -> dict[str, type]:
    for module in pkgutil.iter_modules(generated.__path__):
        importlib.import_module(f"{generated.__name__}.{module.name}")

    def below(parent: type) -> Iterator[type]:
        child: type
        for child in parent.__subclasses__():
            yield child
            yield from below(child)

    return {child._get_schema(): child for child in below(BaseFacet)}  # type: ignore[attr-defined]


def _facet_schema(url: str) -> Schema:
    return _schema_of(_facet_classes()[url])


@cache
def _schema_of(kind: type) -> Schema:
    """Return the schema of a class of the client, with those of the classes that it refers to."""
    definitions: dict[str, Schema] = {}
    return {**_reference(kind, definitions), "$defs": definitions}


def _reference(kind: type, definitions: dict[str, Schema]) -> Schema:
    """Return a reference to the schema of a class, which is added to the definitions."""
    name = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
    if name not in definitions:
        definitions[name] = {}  # it may refer to itself
        definitions[name] = _definition(kind, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _definition(kind: type, definitions: dict[str, Schema]) -> Schema:
    names: dict[str, Any] = {"ClassVar": ClassVar}
    for base in reversed(kind.__mro__):
        names |= vars(sys.modules[base.__module__])
    hints = get_type_hints(kind, names)
    fields = attr.fields(kind)
    return {
        "type": "object",
        "properties": {
            # Facets are validated by themselves, each by the schema that it names.
            field.name: {}
            if field.name.lower().endswith("facets")
            else {**_schema(hints[field.name], names, definitions), **_format(field.name)}
            for field in fields
        },
        "required": [
            field.name for field in fields if field.default is attr.NOTHING or field.name in ALWAYS
        ],
        "additionalProperties": False,
    }


def _format(name: str) -> Schema:
    return {"format": FORMATS[name]} if name in FORMATS else {}


def _schema(hint: Any, names: dict[str, Any], definitions: dict[str, Schema]) -> Schema:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, ForwardRef):
        return _schema(names[hint.__forward_arg__], names, definitions)
    if origin in (Union, types.UnionType):
        kinds = [each for each in arguments if each is not type(None)]
        return {"anyOf": [_schema(each, names, definitions) for each in kinds]}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], names, definitions)}
    if origin is dict:
        values = _schema(arguments[1], names, definitions)
        return {"type": "object", "additionalProperties": values}
    if hint is Any:
        return {}
    if issubclass(hint, enum.Enum):
        return {"enum": [each.value for each in hint]}
    simple = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"type": simple[hint]} if hint in simple else _reference(hint, definitions)
