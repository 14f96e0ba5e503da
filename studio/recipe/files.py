"""Recipes as YAML files: read with the line of every mistake, written whole or not at all."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from studio.errors import RecipeError, did_you_mean
from studio.files import write_text_atomically
from studio.models.layer import Layer
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings

#: A recipe is a few kB; anything far larger is another kind of file.
LARGEST_FILE = 4_000_000

#: The names that a message of pydantic quotes, such as those that would have been valid.
_QUOTED = re.compile(r"'([^']*)'")


def load_recipe(path: str | Path, layers: Iterable[Layer] | None = None) -> Recipe:
    """Reads a recipe file.

    Args:
        path: the file.
        layers: of the model that the recipe is for; None reads it for no model in particular.

    Raises:
        RecipeError: the file is missing, not YAML, holds an unknown field or a value out of range, or does not fit
            the layers; the message gives file, line and the nearest valid name.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise RecipeError(f"{path}: too large to be a recipe.")
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        plain = yaml.safe_load(text)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not a text file.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{path}{_at(_mark(error))}: is not valid YAML.") from error
    if not isinstance(plain, dict) or root is None:
        raise RecipeError(f"{path}: holds no recipe; it should begin with 'studio: 1'.")
    try:
        recipe = Recipe.model_validate(plain)
        if layers is not None:
            recipe.check(layers)
    except ValidationError as error:
        raise RecipeError(f"{path}{_explain(error, root)}") from error
    except RecipeError as error:
        line = _deepest(root, error.place).start_mark.line
        raise RecipeError(f"{path}{_at(line)}: {error}", error.place) from error
    return recipe


def save_recipe(recipe: Recipe, path: str | Path) -> None:
    """Writes a recipe file that `load_recipe` reads back as an equal recipe.

    Raises:
        RecipeError: the folder is missing or cannot be written to.
    """
    text = yaml.safe_dump(recipe.plain(), sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    try:
        write_text_atomically(Path(path), text)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be written: {error.strerror}.") from error


def _explain(error: ValidationError, root: yaml.Node) -> str:
    """Line, place and reason of the first mistake, such as ``:4: layers.conv1.prune.ratio: …``."""
    first = error.errors()[0]
    place = first["loc"]
    where = ".".join(str(part) for part in place)
    line = _at(_deepest(root, place).start_mark.line)
    if first["type"] == "extra_forbidden":
        valid = _fields_at(place[:-1])
        return f"{line}: {where}: unknown field; valid: {', '.join(valid)}.{did_you_mean(str(place[-1]), valid)}"
    hint = did_you_mean(str(first["input"]), _QUOTED.findall(first["msg"])) if first["type"] == "literal_error" else ""
    return f"{line}: {where}: {first['msg'].removeprefix('Value error, ')} (given: {first['input']!r}).{hint}"


def _deepest(node: yaml.Node, place: Sequence[int | str]) -> yaml.Node:
    """The node that `place` leads to, or the last one on the way that exists."""
    found = node
    for part in place:
        if not isinstance(node, yaml.MappingNode):
            break
        pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
        if pair is None:
            break
        found, node = pair
    return found


def _fields_at(place: Sequence[int | str]) -> list[str]:
    """Names of the fields that are valid at `place` of a recipe."""
    model: type[BaseModel] = Recipe
    for part in place:
        inner = next(_models_in(model.model_fields[part].annotation), None) if part in model.model_fields else None
        model = inner or LayerSettings
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every settings class inside a type annotation such as ``PruneSettings | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


def _mark(error: Exception) -> int | None:
    mark = getattr(error, "problem_mark", None)
    return mark.line if mark is not None else None


def _at(line: int | None) -> str:
    return f":{line + 1}" if line is not None else ""
