"""The gate before a ``.pt2`` archive: `torch.export.load` can run code hidden in one, so each part is checked first.

Ways in that are known: pickled sample inputs, weights and custom objects; shape expressions, which are evaluated by
sympy; and operator names, which are looked up anywhere in torch. So nothing is looked for: every member, operator
and expression must be on a list of what an honest archive holds, and anything else refuses the file. What passes is
written anew into a clean archive in memory, and only that is loaded.
"""

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from studio.errors import ModelFileError

_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|models/[\w-]+\.json|data/sample_inputs/[\w-]+\.pt"
    r"|data/weights/([\w-]+_weights_config\.json|weight_\d+)"
    r"|data/constants/([\w-]+_constants_config\.json|tensor_\d+)"
)
_OPERATORS = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|torch\.sym_(int|float|max|min|not|ite|sqrt|sum)"
    r"|math\.(ceil|floor|trunc|sqrt)"
)
#: ATen operators that reach outside the model's own tensors.
_FORBIDDEN_OPERATORS = re.compile(r"torch\.ops\.aten\.(from_file|_?print|_?save|_?load).*")
_PAYLOADS = re.compile(r"(weight|tensor)_\d+")
_SYMBOLS = re.compile(r"[a-z]{1,2}\d+")
_FUNCTIONS = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Pow",
        "Max",
        "Min",
        "Mod",
        "FloorDiv",
        "ModularIndexing",
        "PythonMod",
        "CeilToInt",
        "FloorToInt",
        "CleanDiv",
        "CeilDiv",
        "IntTrueDiv",
        "FloatTrueDiv",
        "TruncToInt",
        "RoundToInt",
        "ToFloat",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Equality",
        "Unequality",
        "StrictLessThan",
        "LessThan",
        "StrictGreaterThan",
        "GreaterThan",
        "And",
        "Or",
        "Not",
        "Where",
        "Piecewise",
        "PowByNatural",
        "Identity",
    ]
)
_NAMES = _FUNCTIONS | {"true", "false", "True", "False", "oo", "int_oo", "positive", "integer", "nonnegative"}
_NODES = (
    ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.UnaryOp, ast.BinOp,
    ast.Compare, ast.unaryop, ast.operator, ast.cmpop,
)  # fmt: skip
_LONGEST_EXPRESSION = 4000
_MOST_BYTES = 2**31 - 1


def scan(content: bytes) -> bytes:
    """Checks an archive and returns it anew, holding nothing but what was checked.

    Raises:
        ModelFileError: naming the first part that is not on the list.
    """
    clean = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(clean, "w") as copy:
            for info in _members(archive):
                folder, name = _split(info.filename)
                copy.writestr(f"{folder}/{name}", _checked(name, archive.read(info)))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise ModelFileError(f"The .pt2 archive is damaged: {error}") from error
    return clean.getvalue()


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The archive's members.

    Raises:
        ModelFileError: two have one name, one is unknown, compressed or encrypted, or they lie in several folders.
    """
    members = archive.infolist()
    names = [info.filename for info in members]
    if len(names) != len(set(names)):
        raise _unsafe("two parts of the same name")
    if len({_split(name)[0] for name in names}) != 1 or not any(_split(name)[1] == "archive_format" for name in names):
        raise ModelFileError("The archive was not written by torch.export.save of torch 2.8 or newer.")
    for info in members:
        if not _MEMBERS.fullmatch(_split(info.filename)[1]):
            raise _unsafe(f"the part '{info.filename}'")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise _unsafe(f"the part '{info.filename}', which is compressed or encrypted")
    if sum(info.file_size for info in members) > _MOST_BYTES:
        raise ModelFileError("The archive holds more than 2 GiB.")
    return members


def _checked(name: str, content: bytes) -> bytes:
    """One member's bytes, without the guards, which are code that the studio never runs.

    Raises:
        ModelFileError: it holds something that could run.
    """
    if name.startswith("data/sample_inputs/"):
        _check_sample_inputs(content)
    if not name.endswith(".json"):
        return content
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"The part '{name}' of the archive is damaged: {error}") from error
    for key, value in _walk(tree):
        _check_entry(key, value)
    if name.startswith("models/") and isinstance(tree, dict) and "guards_code" in tree:
        tree["guards_code"] = []
    return json.dumps(tree).encode()


def _check_sample_inputs(content: bytes) -> None:
    """Makes sure that sample inputs are tensors and plain containers, or are left out.

    Raises:
        ModelFileError: they are anything else.
    """
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        raise _unsafe("sample inputs that are not plain tensors") from error


def _check_entry(key: str, value: Any) -> None:
    """Checks one entry of a JSON object.

    Raises:
        ModelFileError: it could run code, or reach another part than it should.
    """
    if key == "use_pickle" and value is not False:
        raise _unsafe("pickled weights")
    if key == "path_name" and not _PAYLOADS.fullmatch(str(value)):
        raise _unsafe(f"the weight file '{value}'")
    if key in ("target", "as_operator") and isinstance(value, str) and "." in value:
        _check_operator(value)
    if "expr" in key and isinstance(value, str) and not is_plain_expression(value):
        raise _unsafe(f"the shape expression '{value[:60]}'")


def _check_operator(target: str) -> None:
    """Lets tensor operators and arithmetic pass.

    Raises:
        ModelFileError: for all others.
    """
    reaches = target.startswith(("torch", "math", "_operator", "#"))
    if reaches and (not _OPERATORS.fullmatch(target) or _FORBIDDEN_OPERATORS.fullmatch(target)):
        raise _unsafe(f"the operator '{target[:60]}'")


def is_plain_expression(text: str) -> bool:
    """Whether `text` is arithmetic on size symbols such as ``2*s0 + 1`` and nothing else."""
    if len(text) > _LONGEST_EXPRESSION:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _NODES) and _is_plain(node) for node in ast.walk(tree))


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in _NAMES or _SYMBOLS.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float)) or bool(_SYMBOLS.fullmatch(str(node.value)))
    return True


def _walk(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every entry of every object in a JSON tree."""
    queue = [tree]
    while queue:
        value = queue.pop()
        if isinstance(value, dict):
            yield from value.items()
            queue.extend(value.values())
        elif isinstance(value, list):
            queue.extend(value)


def _split(filename: str) -> tuple[str, str]:
    """The archive's top folder and the path below it."""
    folder, _, name = filename.partition("/")
    return folder, name


def _unsafe(what: str) -> ModelFileError:
    return ModelFileError(f"The .pt2 archive is refused: it holds {what}, which could run code or reach other files.")
