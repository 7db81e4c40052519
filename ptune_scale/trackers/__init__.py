"""Where the curves of a training go; ``TRACKERS`` has a record of each.

tracker.py      what a tracker is, and the curves of one training in all that were asked for
tensorboard.py  a file of events
jsonl.py        a line of JSON for each step
wandb.py        Weights & Biases, offline
mlflow.py       MLflow, in a database of the output directory
"""

from typing import TYPE_CHECKING

from ptune_scale.lazy import Registry

if TYPE_CHECKING:
    from ptune_scale.trackers.tracker import Tracker

TRACKERS: "Registry[Tracker]" = Registry(
    __name__,
    {
        "tensorboard": "tensorboard.TENSORBOARD",
        "jsonl": "jsonl.JSONL",
        "wandb": "wandb.WANDB",
        "mlflow": "mlflow.MLFLOW",
    },
)
"""Every tracker by the name that ``--report_to`` takes."""
