"""Text as tokens: cut into windows of one length, each labelled with the tokens that come next."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from studio.errors import DataError
from studio.evaluation.arrays import Array, Indices

#: Endings of text files.
ENDINGS = (".txt", ".text", ".md")

#: Bytes of text that are turned into characters or words; as bytes a text of any length is mapped, never read.
LARGEST_TEXT = 256 << 20

#: Bytes of a file of words; the largest vocabularies take some 20 MB.
LARGEST_TOKENIZER = 200 << 20

#: Characters handed to a tokenizer at once.
PIECE = 1 << 16

#: Tokens in a sample where neither the description nor the model says how many.
DEFAULT_LENGTH = 128

#: What a person without the extra is told.
NEEDS_TOKENIZERS = (
    "a tokenizer.json takes the extra 'text' (the package tokenizers): install it, or use 'tokenizer: bytes'."
)


class Windows:
    """Tokens ``[samples, length]`` cut from one long row where they are indexed.

    Attributes:
        shape: of the array.
        dtype: of the ids.
    """

    ndim = 2

    def __init__(self, tokens: Array, length: int, shift: int = 0) -> None:
        self._tokens = tokens
        self._length = length
        self._shift = shift
        self.shape = (max(0, (len(tokens) - 1) // length), length)
        self.dtype: np.dtype[Any] = tokens.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Indices) -> Array:
        starts = np.asarray(rows, dtype=np.int64) * self._length + self._shift
        return np.asarray(self._tokens[starts[:, None] + np.arange(self._length)])


class Repeated:
    """The same row for every sample, as a mask of ones is; ``[samples, length]``."""

    ndim = 2

    def __init__(self, row: Array, samples: int) -> None:
        self._row = row
        self.shape = (samples, len(row))
        self.dtype: np.dtype[Any] = row.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Indices) -> Array:
        return np.repeat(self._row[None], len(np.asarray(rows)), 0)


def read_tokens(path: Path, tokenizer: str, vocabulary: str | None, home: Path) -> Array:
    """The whole text as token ids ``[tokens]``.

    Args:
        path: of the text, in UTF-8 unless it is taken as bytes.
        tokenizer: ``bytes``, ``characters``, or the path of a ``tokenizer.json``.
        vocabulary: the characters in the order of their ids, for ``characters``.
        home: folder that the tokenizer's path starts from.

    Raises:
        DataError: the text or the tokenizer cannot be read, or a character is not in the vocabulary.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path}: holds no samples.")
        if tokenizer == "bytes":
            return np.memmap(path, np.uint8, "r")
        if size > LARGEST_TEXT:
            raise DataError(f"{path}: is longer than {LARGEST_TEXT:,} bytes; split it, or use 'tokenizer: bytes'.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8 (byte {error.start:,}).") from error
    if tokenizer == "characters":
        return characters_of(path, text, vocabulary)
    return _words(home / tokenizer, text)


def text_of(ids: Array, tokenizer: str, vocabulary: str | None, home: Path) -> str:
    """Token ids as the text they stand for.

    Raises:
        DataError: the tokenizer cannot be read.
    """
    if tokenizer == "bytes":
        return bytes(ids.astype(np.uint8)).decode("utf-8", "replace")
    if tokenizer == "characters":
        return "".join((vocabulary or "")[number] for number in ids)
    return str(load_tokenizer(home / tokenizer).decode(ids.tolist(), skip_special_tokens=False))


def vocabulary_size(tokenizer: str, vocabulary: str | None, home: Path) -> int:
    """How many tokens there are.

    Raises:
        DataError: the tokenizer cannot be read.
    """
    if tokenizer == "bytes":
        return 256
    return (
        len(vocabulary or "") if tokenizer == "characters" else int(load_tokenizer(home / tokenizer).get_vocab_size())
    )


def characters_of(path: Path, text: str, vocabulary: str | None) -> Array:
    """Ids of characters ``[characters]``.

    Raises:
        DataError: there is no vocabulary, or a character is not in it.
    """
    if not vocabulary:
        raise DataError(f"{path}: vocabulary: is missing; list the characters in the order of their ids.")
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    known = np.frombuffer(vocabulary.encode("utf-32-le"), np.uint32)
    order = np.argsort(known, kind="stable")
    places = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    ids = order[places]
    strange = np.flatnonzero(known[ids] != codes)
    if len(strange):
        line = text.count("\n", 0, int(strange[0])) + 1
        raise DataError(f"{path}: line {line} has {text[int(strange[0])]!r}, which is not in the vocabulary.")
    return np.asarray(ids.astype(np.int32))


def _words(path: Path, text: str) -> Array:
    tokenizer = load_tokenizer(path)
    pieces = [np.array(tokenizer.encode(piece, add_special_tokens=False).ids, np.int32) for piece in _pieces(text)]
    return np.concatenate(pieces)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of whole lines, as far as lines allow."""
    start = 0
    while start < len(text):
        end = start + PIECE
        line_end = text.rfind("\n", start, end)
        end = line_end + 1 if line_end > start and end < len(text) else end
        yield text[start:end]
        start = end


def load_tokenizer(path: Path) -> Any:
    """A Hugging Face tokenizer, which is data alone; a length that it was saved with does not count.

    Raises:
        DataError: the extra is not installed, or the file is no tokenizer.
    """
    try:
        tokenizers = import_module("tokenizers")
    except ImportError as error:
        raise DataError(f"{path}: {NEEDS_TOKENIZERS}") from error
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    if size > LARGEST_TOKENIZER:
        raise DataError(f"{path}: too large to be a tokenizer.")
    try:
        found = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises plain exceptions
        raise DataError(f"{path}: is no tokenizer.json.") from error
    found.no_padding()
    found.no_truncation()
    return found
