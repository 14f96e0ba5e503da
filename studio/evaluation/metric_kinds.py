"""What metrics are called and how their values read: plain values, so that the window can name them without torch."""

from collections.abc import Mapping
from dataclasses import dataclass

#: Label of a token that does not count, as PyTorch's losses have it.
IGNORED = -100


@dataclass(frozen=True)
class MetricKind:
    """A metric as people and files name it.

    Attributes:
        name: as the data description and the reports call it.
        title: for people.
        unit: of the value: ``%`` or empty.
        higher_is_better: whether a larger value is the better one.
        against: what the output is held against: ``labels``, the ``original``'s output, or ``either``, which takes
            the original's where there are no labels.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    against: str = "labels"


METRIC_KINDS: Mapping[str, MetricKind] = {
    kind.name: kind
    for kind in (
        MetricKind("top1", "Accuracy", "%", True),
        MetricKind("top5", "Top-5 accuracy", "%", True),
        MetricKind("auroc", "Area under the ROC curve", "%", True),
        MetricKind("perplexity", "Perplexity", "", False),
        MetricKind("mse", "Mean squared error", "", False),
        MetricKind("mae", "Mean absolute error", "", False),
        MetricKind("cosine", "Cosine similarity", "", True, "either"),
        MetricKind("agreement", "Agreement with the original", "%", True, "original"),
    )
}
