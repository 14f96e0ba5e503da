"""Tables and texts as data."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from studio.errors import DataError
from studio.evaluation import tables
from studio.evaluation.data import open_data
from studio.evaluation.evaluate import measure
from studio.models.layer import ModelInfo, TensorSpec

IRIS = "length,width,name\n5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,setosa\n"


def described(folder: Path, name: str, text: str | bytes, **fields: object) -> Path:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    path = folder / "set.data.yaml"
    path.write_text(yaml.safe_dump({"source": name, **fields}, allow_unicode=True), encoding="utf-8")
    return path


def takes(
    inputs: dict[str, tuple[int | None, ...]], output: tuple[int | None, ...], dtype: str = "float32"
) -> ModelInfo:
    specs = tuple(TensorSpec(name, dtype, shape) for name, shape in inputs.items())
    return ModelInfo("net.onnx", "onnx", "", specs, (TensorSpec("y", "float32", output),), (), 0, 0, 0)


def test_numeric_columns_are_the_input_and_words_are_classes(tmp_path: Path) -> None:
    path = described(tmp_path, "iris.csv", IRIS, label="name", mean=[5, 3], std=[1, 2])

    data = open_data(path, takes({"x": (None, 2)}, (None, 2)))

    np.testing.assert_allclose(data.inputs([1])[0].numpy(), [[2.0, 0.1]], rtol=1e-5)
    assert data.labels([0, 1, 2]).tolist() == [0, 1, 0]
    assert (data.metric, data.names) == ("top1", {"setosa": 0, "versicolor": 1})


@pytest.mark.parametrize(
    ("text", "label"), [("a;b\n1;2\n3;4\n", "b"), ("a\tb\r\n1\t2\r\n3\t4\r\n", "b"), ("1,2\n3,4", "column2")]
)
def test_other_separators_and_tables_without_headings_are_read(tmp_path: Path, text: str, label: str) -> None:
    data = open_data(described(tmp_path, "t.csv", text, label=label))

    assert data.inputs([0, 1])[0].tolist() == [[1], [3]]
    assert data.labels([0, 1]).tolist() == [2, 4]


def test_named_columns_come_in_their_order_and_fractions_are_targets(tmp_path: Path) -> None:
    path = described(tmp_path, "t.csv", 'a,"b",c,y\n1,2,3,0.5\n4,5,6,1\n', input=["c", "a"], label="y")

    data = open_data(path)

    assert data.inputs([0, 1])[0].tolist() == [[3, 1], [6, 4]]
    assert (data.labels([0, 1]).tolist(), data.metric) == ([0.5, 1.0], "mse")


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("a,b\n1,2\n3,\n", {}, "line 3, column 'b' is empty; a number is needed"),
        ("a,b\n1,2\n3,x\n", {"input": ["b"]}, "line 3, column 'b' holds 'x'; a number is needed"),
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 cells, the first has 2"),
        ("a,b\n1,2\n", {"label": "B"}, "has no column 'B'; it has a, b."),
        ("a,b\nx,y\n", {}, "has no column of numbers; it has a, b"),
        ("", {}, "holds no samples"),
        ("a,b\n1,2\n3,\n", {"input": "a", "label": "b"}, "sample 2 has no label"),
        (b"a,b\n\xff\xfe,1\n", {}, "is no table in UTF-8 text"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named_with_its_place(
    tmp_path: Path, text: str | bytes, fields: dict[str, object], message: str
) -> None:
    if "is empty" in message:  # the kind of a column is told by its first rows
        fields = {"input": ["a", "b"]}
    with pytest.raises(DataError) as refused:
        open_data(described(tmp_path, "t.csv", text, **fields))
    assert message in str(refused.value)


def test_a_table_that_would_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_NUMBERS", 5)

    with pytest.raises(DataError, match="holds more than 5 numbers"):
        open_data(described(tmp_path, "t.csv", "a,b\n" + "1,2\n" * 9))


def test_parquet_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(DataError, match="the extra 'parquet'"):
        open_data(described(tmp_path, "t.parquet", b"PAR1"))


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = described(tmp_path, "t.parquet", b"", label="name")
    table = arrow.table({"length": [5.1, 7.0], "count": [1, 2], "name": ["b", "a"]})
    parquet.write_table(table, tmp_path / "t.parquet")

    data = open_data(path)

    np.testing.assert_allclose(data.inputs([0, 1])[0].numpy(), [[5.1, 1], [7, 2]], rtol=1e-6)
    assert data.labels([0, 1]).tolist() == [1, 0]


def test_text_as_bytes_is_cut_into_windows_labelled_with_what_comes_next(tmp_path: Path) -> None:
    path = described(tmp_path, "t.txt", b"abcdefgh", tokenizer="bytes")

    data = open_data(path, takes({"ids": (None, 3)}, (None, 3, 256), "int64"))

    assert len(data) == 2
    assert data.inputs([1])[0].tolist() == [list(b"def")]
    assert data.labels([0, 1]).tolist() == [list(b"bcd"), list(b"efg")]
    assert data.metric == "perplexity"


def test_a_model_that_gives_one_answer_is_asked_for_the_last_token(tmp_path: Path) -> None:
    path = described(tmp_path, "t.txt", b"abcdefgh", length=3)

    data = open_data(path, takes({"ids": (None, None)}, (None, 256), "int64"))

    assert (data.labels([0, 1]).tolist(), data.metric) == (list(b"dg"), "top1")


def test_characters_have_the_ids_of_the_vocabulary(tmp_path: Path) -> None:
    path = described(tmp_path, "t.txt", "eäb\näbe", tokenizer="characters", vocabulary="\näbe", length=2)

    data = open_data(path)

    assert data.inputs(range(3))[0].tolist() == [[3, 1], [2, 0], [1, 2]]
    with pytest.raises(DataError, match=r"t.txt: line 2 has 'x', which is not in the vocabulary"):
        open_data(described(tmp_path, "t.txt", "eb\nx", tokenizer="characters", vocabulary="\nbe"))


def test_what_a_model_takes_beside_the_tokens_is_filled_in(tmp_path: Path) -> None:
    inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids", "position_ids"), (None, 3))
    path = described(tmp_path, "t.txt", b"abcdefgh")

    data = open_data(path, takes(inputs, (None, 3, 256), "int64"))

    assert [part.tolist() for part in data.inputs([1])] == [[list(b"def")], [[1, 1, 1]], [[0, 0, 0]], [[0, 1, 2]]]
    with pytest.raises(DataError, match="the model takes 'pixels' beside the tokens"):
        open_data(path, takes({"ids": (None, 3), "pixels": (None, 3)}, (None, 3, 256), "int64"))


def test_a_tokenizer_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(DataError, match="the extra 'text'"):
        open_data(described(tmp_path, "t.txt", b"abc", tokenizer="tokenizer.json"))


def test_words_of_a_tokenizer_are_the_tokens(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"a": 0, "rose": 1, "is": 2, "?": 3}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    data = open_data(described(tmp_path, "t.txt", "a rose is\na rose", tokenizer="tokenizer.json", length=2))

    assert data.inputs([0, 1])[0].tolist() == [[0, 1], [2, 0]]
    assert data.labels([0, 1]).tolist() == [[1, 2], [0, 1]]


def test_an_empty_text_and_one_of_another_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no samples"):
        open_data(described(tmp_path, "t.txt", b""))
    with pytest.raises(DataError, match=r"is no text in UTF-8 \(byte 1\)"):
        open_data(described(tmp_path, "t.txt", b"a\xff", tokenizer="characters", vocabulary="a"))


REVIEWS = 'id,review,stars\n1,"ab",good\n2,"abcd",bad\n3,,good\n'


def test_a_column_of_text_is_cut_into_tokens_and_filled_up_beside_its_mask(tmp_path: Path) -> None:
    path = described(tmp_path, "r.csv", REVIEWS, kind="tokens", input="review", label="stars", length=3)
    inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids", "position_ids"), (None, None))

    data = open_data(path, takes(inputs, (None, 2), "int64"))

    ids, mask, types, positions = (part.tolist() for part in data.inputs([0, 1, 2]))
    assert ids == [[97, 98, 0], [97, 98, 99], [0, 0, 0]]
    assert mask == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert (types, positions) == ([[0, 0, 0]] * 3, [[0, 1, 2]] * 3)
    assert (data.labels([0, 1, 2]).tolist(), data.names) == ([1, 0, 1], {"bad": 0, "good": 1})
    assert (data.metric, data.kind) == ("top1", "tokens")


def test_without_a_label_every_token_is_to_be_told_from_those_before_it(tmp_path: Path) -> None:
    path = described(tmp_path, "r.csv", REVIEWS, kind="tokens", input="review")

    data = open_data(path, takes({"ids": (None, None)}, (None, None, 256), "int64"))

    assert data.inputs([0, 1])[0].tolist() == [[97, 98, 0, 0], [97, 98, 99, 100]]
    assert data.labels([0, 1, 2]).tolist() == [[98, -100, -100, -100], [98, 99, 100, -100], [-100] * 4]
    assert data.metric == "perplexity"


def test_the_perplexity_of_rows_counts_their_tokens_alone(tmp_path: Path) -> None:
    path = described(tmp_path, "r.csv", REVIEWS, kind="tokens", input="review")
    data = open_data(path, takes({"ids": (None, None)}, (None, None, 256), "int64"))

    def always_b(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Gives ``b`` half of the probability, and the other half to all others alike."""
        scores = torch.full((*inputs[0].shape, 256), math.log(0.5 / 255))
        scores[..., ord("b")] = math.log(0.5)
        return scores

    found = measure(always_b, data).metric

    surprise = [-math.log(0.5)] * 2 + [-math.log(0.5 / 255)] * 2  # ab and abcd: b, b, c and d
    assert found.value == pytest.approx(math.exp(sum(surprise) / 4), rel=1e-4)


def test_two_columns_are_one_sample_with_the_tokenizer_s_own_tokens_between(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "rose": 4, "is": 5, "?": 6}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.enable_truncation(2)  # what a file was saved with does not count
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    fields = {"kind": "tokens", "input": ["q", "a"], "label": "same", "tokenizer": "tokenizer.json"}
    path = described(tmp_path, "p.csv", "q,a,same\na rose,is,1\nis,is,0\n", **fields)
    inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (None, None))

    data = open_data(path, takes(inputs, (None, 2), "int64"))

    ids, mask, types = (part.tolist() for part in data.inputs([0, 1]))
    assert ids == [[1, 3, 4, 2, 5, 2], [1, 5, 2, 5, 2, 0]]
    assert mask == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]
    assert types == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]]
    assert data.labels([0, 1]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "input: is missing; name the column of the text"),
        ({"input": "reviews"}, "has no column 'reviews'; it has id, review, stars. Did you mean 'review'?"),
        ({"input": ["id", "review", "stars"]}, "input: names 3 columns; a sample is one text, or a pair"),
        ({"input": "review", "tokenizer": "characters", "vocabulary": "ab"}, "has 'c', which is not in the vocabulary"),
    ],
)
def test_texts_that_cannot_be_used_are_named(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as refused:
        open_data(described(tmp_path, "r.csv", REVIEWS, kind="tokens", **fields))
    assert message in str(refused.value)
