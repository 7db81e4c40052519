"""Ranks and layouts. Nothing outside this package asks for a rank or a process group.

launch/relaunch.py  from a command line to exactly the ranks that were asked for
launch/agent.py     starts the ranks of this machine, and ends with them
launch/guard.py     a process that ends with one line, from its first moment on
launch/lifeline.py  the launchers above a rank, and whether one of them is gone
launch/speaker.py   who says why a job ended
launch/store.py     where ranks find each other
launch/contact.py   another rank lost, told apart from an error of this one
launch/stop.py      signals, agreed between ranks at safe points
launch/start.py     DeepSpeed started, also without a launcher
world.py            the ranks of a job and the few collectives in use
prompt_function.py  the waist: (batch, P) -> (losses, dP), rows spread over ranks
engine.py           what runs rows through this rank's part of the backbone
rows.py             which rows each replica computes, and in which parts
generation.py       what a causal model goes on with behind rows
vocabulary.py       losses, ranks and the likeliest tokens, from all logits or a rank's shard
chunked_cross_entropy.py  cross-entropy some columns at a time
placement.py        which ranks hold which prompt encoders
degrees.py          how many ranks share what, and which products are allowed
mesh.py             the ranks arranged by degree
layout.py           the one place where a layout is chosen and applied
slices.py           which part of the checkpoint a rank reads
zero3.py            weights sharded by DeepSpeed ZeRO-3
tensor/             layers spread over ranks: DTensor, fairscale
pipeline/           stages of consecutive layers, 1F1B
remote/             a backbone that servers hold: the protocol, and the side that asks
tuned.py            the waist with a backbone that trains; tuned_settings.py: how it does
footprint.py        bytes in use and bytes sent, counted as operations come by
dry_run.py          a layout without its ranks, on memory that does not exist

Names are imported when they are first asked for: a command line is parsed, and its help printed,
without PyTorch.
"""

from typing import TYPE_CHECKING

from ptune_scale.lazy import exports

# ruff: noqa: F401 (the names below are imported for others)
if TYPE_CHECKING:
    from ptune_scale.parallel.degrees import Degrees
    from ptune_scale.parallel.generation import Generated
    from ptune_scale.parallel.launch.contact import LostContact
    from ptune_scale.parallel.launch.stop import Stopped, StopSignal
    from ptune_scale.parallel.layout import TextLimit, parallelize, replicated, single
    from ptune_scale.parallel.mesh import Mesh
    from ptune_scale.parallel.placement import EncoderPlacement
    from ptune_scale.parallel.prompt_function import PromptFunction, Question, Unanswerable
    from ptune_scale.parallel.remote.backbone import ServedBackbone
    from ptune_scale.parallel.slices import count_local_elements
    from ptune_scale.parallel.tuned import TunedFunction, tune
    from ptune_scale.parallel.tuned_settings import TuneSettings, check_tuned
    from ptune_scale.parallel.world import World

if not TYPE_CHECKING:  # else any name would be taken for one that is there
    __getattr__ = exports(
        __name__,
        {
            "Degrees": "degrees",
            "EncoderPlacement": "placement",
            "Generated": "generation",
            "LostContact": "launch.contact",
            "Mesh": "mesh",
            "PromptFunction": "prompt_function",
            "Question": "prompt_function",
            "ServedBackbone": "remote.backbone",
            "StopSignal": "launch.stop",
            "Stopped": "launch.stop",
            "TextLimit": "layout",
            "TuneSettings": "tuned_settings",
            "TunedFunction": "tuned",
            "Unanswerable": "prompt_function",
            "World": "world",
            "check_tuned": "tuned_settings",
            "count_local_elements": "slices",
            "parallelize": "layout",
            "replicated": "layout",
            "single": "layout",
            "tune": "tuned",
        },
    )
