"""What an editor needs to know of a settings field, read from the field's own metadata (its JSON schema)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio.recipe.settings import Settings


@dataclass(frozen=True)
class FieldSpec:
    """One field.

    Attributes:
        name: its name in the settings class.
        title, help, unit: for people.
        kind: ``integer``, ``number``, ``choice``, ``boolean``, ``list`` (of words) or ``text``.
        default: its default, None when there is none.
        low, high: smallest and largest value; None where there is no limit.
        above: whether `low` itself is excluded.
        below: whether `high` itself is excluded.
        scale: factor from the stored value to the shown one (100 for shares shown in percent).
        choices: the values of a ``choice``.
        labels: what a choice is called for people, where that is not its value.
        optional: whether None is a value.
        start: what an optional number begins with once it is switched on, None for its smallest.
        more: whether only a few need it.
    """

    name: str
    title: str
    help: str
    unit: str
    kind: str
    default: Any
    low: float | None
    high: float | None
    above: bool
    below: bool
    scale: float
    choices: tuple[Any, ...]
    labels: Mapping[Any, str]
    optional: bool
    start: float | None
    more: bool


def field_specs(settings: type[Settings]) -> dict[str, FieldSpec]:
    """The fields of a settings class by name, in their order; those with only one possible value are left out."""
    properties = settings.model_json_schema()["properties"]
    return {name: _read(name, schema) for name, schema in properties.items() if "const" not in schema}


def _read(name: str, schema: Mapping[str, Any]) -> FieldSpec:
    branches = [branch for branch in schema.get("anyOf", [schema]) if branch.get("type") != "null"]
    value = {**schema, **branches[0]}
    return FieldSpec(
        name=name,
        title=schema.get("title", name),
        help=schema.get("description", ""),
        unit=schema.get("unit", ""),
        kind=_kind(value),
        default=schema.get("default"),
        low=value.get("minimum", value.get("exclusiveMinimum")),
        high=value.get("maximum", value.get("exclusiveMaximum")),
        above="exclusiveMinimum" in value,
        below="exclusiveMaximum" in value,
        scale=float(schema.get("scale", 1)),
        choices=_choices(value),
        labels=schema.get("labels", {}),
        optional="anyOf" in schema,
        start=schema.get("default_start"),
        more=schema.get("more", False),
    )


def _choices(schema: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of a choice: those listed, or the only one there is beside None."""
    return (None, schema["const"]) if "const" in schema else tuple(schema.get("enum", ()))


def _kind(schema: Mapping[str, Any]) -> str:
    if _choices(schema):
        return "choice"
    kind = schema.get("type", "text")
    return {"integer": "integer", "number": "number", "boolean": "boolean", "array": "list"}.get(kind, "text")
