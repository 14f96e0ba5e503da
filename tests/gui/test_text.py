from studio.evaluation.prediction import Estimate
from studio.evaluation.result import Measurement
from studio.gui import text
from studio.gui.text import one_unit, two_sizes
from studio.recipe.factorization import Factorization
from studio.recipe.settings import LayerSettings, PruneSettings, QuantizeSettings, RankSettings


def test_bytes_keep_one_to_three_digits_before_the_point():
    assert [text.bytes_text(n) for n in (0, 999, 1000, 12_345, 999_949, 999_950, 2_500_000_000)] == [
        "0 B", "999 B", "1.0 kB", "12.3 kB", "999.9 kB", "1.0 MB", "2.50 GB",
    ]  # fmt: skip


def test_a_saving_has_a_minus_sign_and_a_growth_a_plus():
    assert text.saved_text(20_000, 7_700) == "−12.3 kB"
    assert text.saved_text(7_700, 20_000) == "+12.3 kB"
    assert text.saved_text(5, 5) == "no change"


def test_a_ratio_says_smaller_or_larger():
    assert text.ratio_text(400, 100) == "4.0× smaller"
    assert text.ratio_text(100, 150) == "1.50× larger"
    assert text.ratio_text(100, 100) == "unchanged"


def test_a_drop_reads_as_a_change_in_points():
    assert text.drop_text(Measurement("top1", 0.7, 0.4, 1.0, 500)) == "−0.70 ± 0.30 points"
    assert text.drop_text(Measurement("perplexity", 0.7, 0.4, 1.0, 500)) == "+0.70 ± 0.30"
    assert text.drop_short(Measurement("top1", -0.25, -0.5, 0.0, 500)) == "+0.25"
    assert text.drop_short(Measurement("top1", 0.0, -0.5, 0.5, 500)) == "0.00"


def test_a_lower_metric_is_better_where_its_drop_is_a_rise():
    assert text.change_of_value("top1", 0.7) == -0.7
    assert text.change_of_value("perplexity", 0.7) == 0.7
    assert text.drop_short(Measurement("perplexity", 0.0312, 0.01, 0.05, 500)) == "+0.0312"
    assert text.signed_change("perplexity", 0.0) == "0"
    assert text.predicted_text("perplexity", Estimate(0.0312, 0.004)) == "≈ +0.0312 ± 0.004"
    assert text.predicted_text("top1", Estimate(0.7, 0.3, at_least=True)) == "≈ −0.70 ± 0.30 or worse"
    assert [text.change_title(name) for name in ("top1", "perplexity")] == ["change, points", "change of perplexity"]


def test_a_perplexity_keeps_its_four_digits():
    assert [text.metric_value("perplexity", value) for value in (2.38, 23.8, 1234.0)] == ["2.380", "23.80", "1234"]


def test_settings_become_one_short_text_a_method():
    settings = LayerSettings(
        prune=PruneSettings(ratio=0.5),
        rank=RankSettings(rank=48),
        quantize=QuantizeSettings(weight_bits=4, granularity="group", group_size=32),
    )
    assert text.settings_chips(settings) == ("50 %", "r48", "4b g32")
    few = LayerSettings(prune=PruneSettings(kind="n_m", n=2, m=4), quantize=QuantizeSettings(weight_bits=3))
    assert text.settings_chips(few) == ("2:4", "3b")
    half = LayerSettings(quantize=QuantizeSettings(weight_bits=16, float_format="bf16"))
    assert text.settings_chips(half) == ("bf16",)
    asymmetric = LayerSettings(quantize=QuantizeSettings(weight_bits=4, symmetric=False))
    assert text.settings_chips(asymmetric) == ("4b asym",)
    rounded = LayerSettings(quantize=QuantizeSettings(activation_bits=8))
    assert text.settings_chips(rounded) == ("8b a8",)
    assert text.settings_chips(LayerSettings(keep=True)) == ("kept",)
    assert text.settings_chips(LayerSettings()) == ()


def test_durations_say_what_matters():
    assert [text.duration_text(s) for s in (4.4, 200, 7_500)] == ["4 s", "3 min 20 s", "2 h 5 min"]


def test_how_a_layer_was_split_is_told_in_words():
    assert text.factors_text(Factorization("spatial", (36,))) == "as k×1, 1×k of rank 36"
    assert text.factors_text(Factorization("tucker", (8, 16))) == "as Tucker of rank 8 and 16"


def test_two_figures_of_one_unit_name_it_once():
    assert one_unit("501.3 kB", "60.9 kB") == "501.3 → 60.9 kB"
    assert one_unit("1.2 MB", "60.9 kB") == "1.2 MB → 60.9 kB"


def test_two_sizes_are_told_in_the_unit_of_the_smaller_one():
    assert two_sizes(501_300, 60_900) == "501.3 → 60.9 kB"
    assert two_sizes(2_630_000, 813_100) == "2,630 → 813.1 kB"
    assert two_sizes(1_500_000_000, 40_100_000) == "1,500 → 40.1 MB"
    assert two_sizes(2_630_000_000, 813_100) == "2.63 GB → 813.1 kB"
