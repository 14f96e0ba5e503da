"""Standard output holds answers and nothing else."""

import json
import subprocess
import sys
from math import inf, nan

from studio.console import figure, out, print_answer, print_scan, say, table_of
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.recipe.settings import LayerSettings, QuantizeSettings

NOISY = """
import os
from studio.console import keep_output_for_answers, out
keep_output_for_answers()
os.write(1, b"a library's own words\\n")
out.print("the answer")
"""


def test_what_a_library_prints_on_its_own_goes_to_standard_error():
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, check=True)
    assert done.stdout == "the answer\n"
    assert "a library's own words" in done.stderr


LONG = "encoder.layers.11.self_attention.output.dense"


def point(setting: str, drop: float) -> ScanPoint:
    chosen = LayerSettings(quantize=QuantizeSettings(weight_bits=8))
    return ScanPoint(
        layer=LONG, method="quantize", setting=setting, settings=chosen, bytes=1, macs=1, metric="perplexity",
        value=2.8, low=2.7, high=2.9, samples=64, drop=drop, drop_low=0.0, drop_high=0.1, distortion=0.0,
    )  # fmt: skip


def test_drops_of_a_scan_are_told_a_method_a_table_with_names_whole_and_the_digits_they_have(capsys):
    other = point("50 %", 0.5).model_copy(update={"method": "prune"})
    print_scan(Scan(key="k", points=(point("8 bit", 0.00123), point("4 bit", 0.0456), other)))
    told = capsys.readouterr().out
    assert [line.strip() for line in told.splitlines() if "Drop" in line] == [
        "Drop of each layer alone: quantize",
        "Drop of each layer alone: prune",
    ]
    assert told.count(LONG) == 2
    assert "0.00123" in told
    assert "0.0456" in told


def test_percents_have_two_digits_and_other_metrics_four():
    assert [figure("top1", 98.4), figure("drop", 0.125)] == ["98.40", "0.12"]
    assert [figure("perplexity", 2.76843), figure("mse", 0.0000123456)] == ["2.768", "1.235e-05"]


def test_names_that_look_like_markup_or_an_emoji_are_told_as_they_are(capsys):
    out.print("models[old]/[/x].onnx: :car:")
    table = table_of("layer", title="m[/x].onnx")
    table.add_row("block[/y].conv")
    out.print(table)
    say("error: [/z] is no file.")
    told = capsys.readouterr()
    assert told.out.startswith("models[old]/[/x].onnx: :car:\n")
    assert {"m[/x].onnx", "block[/y].conv"} <= set(told.out.replace("│", " ").split())
    assert told.err == "error: [/z] is no file.\n"


def test_what_json_has_no_number_for_is_null(capsys):
    print_answer({"before": inf, "layers": [{"drop": nan, "bytes": 3, "rank": 1.5}]}, True, lambda: None)
    told = json.loads(capsys.readouterr().out, parse_constant=lambda name: f"{name} is no JSON")
    assert told == {"before": None, "layers": [{"drop": None, "bytes": 3, "rank": 1.5}]}
