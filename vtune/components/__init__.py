"""Parts for users' own models and optimizers, with hyperparameters that may be traced.

Dropout, learning-rate schedules, penalties, augmentation, averaged weights. May import: `types`,
`hparams`, `validation`. Knows nothing of vtune's learners, populations or programs.
"""

from vtune.components import augment, nn, penalties, schedules
from vtune.components.averaging import averaged, weight_average

__all__ = ["augment", "averaged", "nn", "penalties", "schedules", "weight_average"]
