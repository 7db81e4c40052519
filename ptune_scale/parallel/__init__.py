"""Ranks and layouts. Nothing outside this package asks for a rank or a process group.

launch.py           from a command line to exactly the ranks that were asked for
agent.py            torchrun without a report of its own where a rank has said what is wrong
lifeline.py         ranks that end when their launcher is gone
contact.py          another rank lost, told apart from an error of this one
stop.py             signals, agreed between ranks at safe points
world.py            the ranks of a job and the few collectives in use
prompt_function.py  the waist: (batch, P) -> (losses, dP), rows spread over ranks
placement.py        which ranks hold which prompt encoders
degrees.py          how many ranks share what, and which products are allowed
mesh.py             the ranks arranged by degree
vocabulary.py       losses and ranks from logits of which a rank holds all or a shard
slices.py           which part of the checkpoint a rank reads
pipeline/           stages of consecutive layers, 1F1B
tensor/             layers spread over ranks: DTensor, fairscale
start.py            DeepSpeed started, also without a launcher
zero3.py            weights sharded by DeepSpeed ZeRO-3
tuned.py            the waist with a backbone that trains
tuned_settings.py   how it trains
parallelize.py      the one place where a layout is chosen and applied
footprint.py        bytes in use and bytes sent, counted as operations come by
dry_run.py          a layout without its ranks, on memory that does not exist
"""

from ptune_scale.parallel.contact import LostContact
from ptune_scale.parallel.degrees import Degrees
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.parallelize import parallelize, single
from ptune_scale.parallel.placement import EncoderPlacement
from ptune_scale.parallel.prompt_function import Objective, PromptFunction, cross_entropy
from ptune_scale.parallel.slices import count_local_elements
from ptune_scale.parallel.stop import Stopped, StopSignal
from ptune_scale.parallel.tuned import TunedFunction, tune
from ptune_scale.parallel.tuned_settings import TuneSettings, check_tuned
from ptune_scale.parallel.world import World

__all__ = [
    "Degrees",
    "EncoderPlacement",
    "LostContact",
    "Mesh",
    "Objective",
    "PromptFunction",
    "StopSignal",
    "Stopped",
    "TuneSettings",
    "TunedFunction",
    "World",
    "check_tuned",
    "count_local_elements",
    "cross_entropy",
    "parallelize",
    "single",
    "tune",
]
