"""Callbacks that write what a sweep tells: into files, TensorBoard, Weights & Biases, MLflow.

    vt.tune(..., callbacks=[vt.log.CSV("runs/a/history.csv"), vt.log.TensorBoard("runs/a/tb")])

A library is imported when its callback is made, and not before. May import `results` and what is
below it.
"""

from vtune.log.files import CSV, JSONLines
from vtune.log.tensorboard import TensorBoard
from vtune.log.wandb import WandB
from vtune.log.mlflow import MLflow

__all__ = ["CSV", "JSONLines", "MLflow", "TensorBoard", "WandB"]
