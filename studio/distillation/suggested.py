"""What a distillation is asked where nobody says, and what of a model it cannot be asked."""

import math

from studio.distillation.settings import DistillSettings
from studio.models.layer import ModelInfo

#: Names of the settings that are suggested.
SUGGESTED = ("epochs", "batch_size", "temperature")

#: Steps of a run, and of an epoch, that it takes to learn anything; fewer samples pass more often in smaller batches.
_STEPS, _STEPS_PER_EPOCH = 550, 80

#: Names of the settings that are for images alone.
OF_IMAGES = ("flip", "crop")

_BATCHES = (16, 128)
_EPOCHS = (2, 20)

#: Of answers for every token: a perplexity is measured without softening. On held-out text of the built-in sample, at 4
#: bits and half rank, three epochs end at 3.21 with it and at 3.25 with 4 (3.90 before).
_TOKEN_TEMPERATURE = 1.0


def suggested(given: DistillSettings, samples: int, info: ModelInfo) -> DistillSettings:
    """`given` with a value for those of `SUGGESTED` that it leaves open.

    Args:
        given: fields that were set stay.
        samples: to train on.
        info: of the teacher.
    """
    fields = given.model_fields_set
    least, most = _BATCHES
    wanted = 2 ** math.floor(math.log2(max(1, samples / _STEPS_PER_EPOCH)))
    batch = given.batch_size if "batch_size" in fields else min(max(wanted, least), most)
    few, many = _EPOCHS
    wanted = round(_STEPS / math.ceil(samples / batch))
    epochs = given.epochs if "epochs" in fields else min(max(wanted, few), many)
    tokens = bool(info.outputs) and len(info.outputs[0].shape) == 3
    temperature = given.temperature if "temperature" in fields or not tokens else _TOKEN_TEMPERATURE
    return given.model_copy(update={"batch_size": batch, "epochs": epochs, "temperature": temperature})


def why_no_images(info: ModelInfo) -> str:
    """Why `OF_IMAGES` do not fit a model, empty where they do: images are ``[batch, channels, height, width]``."""
    return "" if any(len(spec.shape) == 4 for spec in info.inputs) else "Only for images, and this model takes none."
