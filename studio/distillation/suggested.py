"""How long a distillation runs, and in what batches, where nobody says: by how many samples there are."""

import math

from studio.distillation.settings import DistillSettings

#: Names of the settings that are suggested.
SUGGESTED = ("epochs", "batch_size")

#: Steps of a run, and of an epoch, that it takes to learn anything; fewer samples pass more often in smaller batches.
_STEPS, _STEPS_PER_EPOCH = 550, 80

_BATCHES = (16, 128)
_EPOCHS = (2, 20)


def suggested(given: DistillSettings, samples: int) -> DistillSettings:
    """`given` with a value for those of `SUGGESTED` that it leaves open.

    Args:
        given: fields that were set stay.
        samples: to train on.
    """
    fields = given.model_fields_set
    least, most = _BATCHES
    wanted = 2 ** math.floor(math.log2(max(1, samples / _STEPS_PER_EPOCH)))
    batch = given.batch_size if "batch_size" in fields else min(max(wanted, least), most)
    few, many = _EPOCHS
    wanted = round(_STEPS / math.ceil(samples / batch))
    epochs = given.epochs if "epochs" in fields else min(max(wanted, few), many)
    return given.model_copy(update={"batch_size": batch, "epochs": epochs})
