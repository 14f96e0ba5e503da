"""Texts of a table as tokens: one sample for each row, cut or filled up to one length."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from studio.errors import DataError, first_line
from studio.evaluation.arrays import Array
from studio.evaluation.metric_kinds import IGNORED
from studio.evaluation.texts import characters_of, load_tokenizer

#: Tokens of a sample where neither the description nor the model says how many, and rows are longer.
LONGEST = 128

#: Names of the token that fills up, in the usual vocabularies.
_FILLING = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")


@dataclass(frozen=True)
class TokenRows:
    """Samples of one length, all ``[samples, length]``.

    Attributes:
        ids: of the tokens.
        mask: 1 where there is a token, 0 where a row is filled up.
        types: 0 for the first text of a row, 1 for the second.
    """

    ids: Array
    mask: Array
    types: Array

    def following(self) -> Array:
        """The token that comes next, int64; behind the last one a label that does not count."""
        after = np.full(self.ids.shape, IGNORED, np.int64)
        after[:, :-1] = np.where(self.mask[:, 1:] > 0, self.ids[:, 1:], IGNORED)
        return after


def token_rows(
    path: Path,
    rows: Sequence[tuple[str, ...]],
    tokenizer: str,
    vocabulary: str | None,
    home: Path,
    length: int | None,
) -> TokenRows:
    """Cuts texts into tokens.

    Args:
        path: of the table, for messages.
        rows: of each sample its text, or two that belong together.
        tokenizer: ``bytes``, ``characters``, or the path of a ``tokenizer.json``, which also puts its own tokens around
            a text and between two.
        vocabulary: the characters in the order of their ids, for ``characters``.
        home: folder that the tokenizer's path starts from.
        length: tokens of a sample; None takes as many as the longest has, `LONGEST` at most.

    Raises:
        DataError: there are more than two texts in a row, or the tokenizer cannot be read or take them.
    """
    if not rows:
        raise DataError(f"{path}: holds no samples.")
    if len(rows[0]) > 2:
        raise DataError(f"{path}: input: names {len(rows[0])} columns; a sample is one text, or a pair.")
    if tokenizer in ("bytes", "characters"):
        cut = [_simple(path, " ".join(row), tokenizer, vocabulary) for row in rows]
        return _filled(cut, [[0] * len(ids) for ids in cut], 0, length)
    words = load_tokenizer(home / tokenizer)
    if length is not None:
        words.enable_truncation(length)
    try:
        encoded = words.encode_batch([row if len(row) > 1 else row[0] for row in rows])
    except Exception as error:  # the package raises plain exceptions
        raise DataError(f"{path}: cannot be cut into tokens by {tokenizer}: {first_line(error)}.") from error
    return _filled([one.ids for one in encoded], [one.type_ids for one in encoded], _filling(words), length)


def _simple(path: Path, text: str, tokenizer: str, vocabulary: str | None) -> list[int]:
    if tokenizer == "bytes":
        return list(text.encode())
    return [int(number) for number in characters_of(path, text, vocabulary)]


def _filling(words: Any) -> int:
    """The token that a vocabulary fills up with, 0 where it has none."""
    named = (words.token_to_id(name) for name in _FILLING)
    return next((number for number in named if number is not None), 0)


def _filled(
    cut: Sequence[Sequence[int]], types: Sequence[Sequence[int]], filling: int, length: int | None
) -> TokenRows:
    length = length or max(1, min(LONGEST, max(map(len, cut))))
    ids = np.full((len(cut), length), filling, np.int32)
    mask, kinds = np.zeros(ids.shape, np.int8), np.zeros(ids.shape, np.int8)
    for place, (tokens, of) in enumerate(zip(cut, types, strict=True)):
        count = min(len(tokens), length)
        ids[place, :count], mask[place, :count], kinds[place, :count] = tokens[:count], 1, of[:count]
    return TokenRows(ids, mask, kinds)
