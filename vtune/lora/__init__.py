"""Low-rank adapters of models that know nothing of them (LoRA, Hu et al. 2021).

    adapted = vt.lora.adapt(learner, rank=8, only="attention")
    sweep = vt.tune(adapted, space, data, init_from=weights)
    plain = vt.lora.merge(sweep.best)

A weight W acts as W + (alpha / rank) A B where the model uses it. The model is traced, the weights
are followed to their products (`walk.py`), and x W becomes x W + (alpha / rank) (x A) B
(`products.py`). W + A B is never formed, so members can share W. May import: `results` and what it
may. Knows nothing of populations.
"""

from vtune.lora.adapt import adapt
from vtune.lora.labels import labels
from vtune.lora.merge import merge

__all__ = ["adapt", "labels", "merge"]
