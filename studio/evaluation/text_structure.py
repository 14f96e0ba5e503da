"""What undescribed texts and tables of texts are: which tokenizer, which columns, which labels."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from studio.errors import DataError
from studio.evaluation import tables, texts
from studio.evaluation.data_guess import place_for
from studio.evaluation.description import DataDescription
from studio.models.layer import ModelInfo

#: Names by which label arrays and columns go, the likeliest first.
LABELS = ("y", "label", "labels", "target", "targets", "class", "classes", "species", "outcome", "category")

#: Names of columns that number the rows.
NUMBERS = ("", "id", "index", "idx", "row", "unnamed: 0")

#: Names by which columns of text go, the likeliest first.
TEXTS = ("text", "sentence", "content", "review", "document", "question", "tweet", "comment", "title", "body")

#: Names of two columns that belong together.
PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b"),
    ("question", "sentence"), ("question", "answer"), ("query", "passage"),
)  # fmt: skip

#: Where the description belongs, the description, the reasons, and others that only measuring can tell from it.
Guess = tuple[Path, DataDescription, tuple[str, ...], tuple[DataDescription, ...]]


def outputs_of(info: ModelInfo) -> int | None:
    """How many scores the model gives at the end of its first output."""
    shape = info.outputs[0].shape if info.outputs else ()
    return shape[-1] if len(shape) > 1 else None


def takes_tokens(info: ModelInfo) -> bool:
    """Whether a model's first input is ids of tokens."""
    return bool(info.inputs) and len(info.inputs[0].shape) == 2 and not info.inputs[0].dtype.startswith("float")


def whole_text(path: Path, info: ModelInfo) -> Guess:
    """Text that goes on from window to window.

    Raises:
        DataError: nothing tells how it becomes tokens.
    """
    (described, reason), *others = _tokenizers(path, info, outputs_of(info))
    reasons = (reason, "Every token is to be told from those before it.")
    return place_for(path), described, reasons, tuple(other for other, _ in others)


def _tokenizers(path: Path, info: ModelInfo, known: int | None, **fields: Any) -> list[tuple[DataDescription, str]]:
    """Ways to make tokens, each with its reason: by the tokenizer beside the data or the model, by bytes or characters.

    Args:
        path: of the data.
        info: the model.
        known: how many tokens it knows, None if that is not known.
        **fields: what else the description holds.

    Raises:
        DataError: there is none.
    """
    found = list[tuple[DataDescription, str]]()
    near = [folder / "tokenizer.json" for folder in dict.fromkeys((path.parent, _home(info)))]
    if find_spec("tokenizers") is not None:
        for file in filter(Path.is_file, near):
            size = texts.vocabulary_size(str(file), None, path.parent)
            if known is None or size <= known:
                name = file.name if file.parent == path.parent else str(file.resolve())
                reason = f"It is cut into the {size:,} words of {file.name}."
                found.append((_text_as(path, tokenizer=name, **fields), reason))
    if known is None or known >= 256:
        found.append((_text_as(path, tokenizer="bytes", **fields), "Its bytes are the tokens."))
    elif not fields:
        characters = _characters(path)
        if len(characters) == known:
            how = _text_as(path, tokenizer="characters", vocabulary=characters)
            found.append((how, f"Its {known} different characters, in the order of their codes, are the tokens."))
    if not found:
        raise DataError(
            f"{path}: nothing tells how the text becomes the model's {known} tokens; put its tokenizer.json beside it, "
            "or describe it in a .data.yaml ('tokenizer' and 'vocabulary')."
        )
    return found


def _home(info: ModelInfo) -> Path:
    """The model's folder: itself, or where its file lies."""
    path = Path(info.path)
    return path if path.is_dir() else path.parent


def _text_as(path: Path, **fields: Any) -> DataDescription:
    return DataDescription(source=path.name, kind="tokens", **fields)


def _characters(path: Path) -> str:
    try:
        if path.stat().st_size > texts.LARGEST_TEXT:
            return ""
        return "".join(sorted(set(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError):
        return ""  # whoever opens it says what is wrong


def text_table(path: Path, info: ModelInfo) -> Guess:
    """A table with a column of text, or two that belong together, and one of labels where the model gives classes.

    Raises:
        DataError: there is no column of text, or nothing tells how it becomes tokens.
    """
    head = tables.read_head(path)
    worded = [name for name in head.names if name not in head.numeric()]
    whole = len(info.outputs[0].shape) == 2 if info.outputs else False
    label = _label_column(head, worded) if whole else None
    columns = _text_columns(head, [name for name in worded if name != label])
    if not columns:
        raise DataError(
            f"{path}: has no column of text for the model's tokens; it has {', '.join(head.names)}. "
            "Describe which in a .data.yaml ('input' and 'label')."
        )
    fields: dict[str, Any] = {"input": columns[0] if len(columns) == 1 else columns}
    named = " and ".join(f"'{name}'" for name in columns)
    if label is not None:
        fields["label"] = label
        reasons = [f"{named} is the text, '{label}' the label."]
    elif whole:
        reasons = [f"{named} is the text; no column fits as labels: it is compared with the original."]
    else:
        reasons = [f"{named} is the text, of which every token is to be told from those before it."]
    (described, reason), *others = _tokenizers(path, info, _vocabulary(info), **fields)
    return place_for(path), described, (*reasons, reason), tuple(other for other, _ in others)


def _label_column(head: tables.TableHead, worded: Sequence[str]) -> str | None:
    """The column that is called a label, or else the last that is no text and numbers no rows."""
    named = [name for known in LABELS for name in head.names if name.lower() == known]
    numbers = [name for name in head.names if name not in worded and name.lower() not in NUMBERS]
    return next(iter((*named, *numbers[::-1])), None)


def _text_columns(head: tables.TableHead, worded: Sequence[str]) -> list[str]:
    """Two that belong together by their names, or the one that is called a text, or the one that holds most."""
    lower = {name.lower(): name for name in worded}
    for pair in PAIRS:
        if all(name in lower for name in pair):
            return [lower[name] for name in pair]
    if not worded or any(known in lower for known in TEXTS):
        return [likeliest(worded, TEXTS)] if worded else []
    places = {name: head.names.index(name) for name in worded}
    return [max(worded, key=lambda name: sum(len(str(row[places[name]])) for row in head.rows))]


def _vocabulary(info: ModelInfo) -> int | None:
    """How many tokens a model knows: the rows of its first embedding."""
    return next((layer.shape[0] for layer in info.layers if layer.kind == "embedding"), None)


def likeliest(names: Iterable[str], known: Sequence[str]) -> str:
    """Of several names the one that comes first in `known`, or the first at all."""
    lower = {name.lower(): name for name in reversed(list(names))}
    return next((lower[one.lower()] for one in known if one.lower() in lower), next(iter(names)))
