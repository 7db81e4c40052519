"""Ranks and layouts. Nothing outside this package asks for a rank or a process group.

launch.py           from a command line to exactly the ranks that were asked for
lifeline.py         ranks that end when their launcher is gone
stop.py             signals, agreed between ranks at safe points
world.py            the ranks of a job and the few collectives in use
prompt_function.py  the waist: (batch, P) -> (losses, dP), rows spread over ranks
zero3.py            a backbone sharded by DeepSpeed ZeRO-3
parallelize.py      the one place where a layout is chosen and applied
"""

from ptune_scale.parallel.parallelize import parallelize
from ptune_scale.parallel.prompt_function import PromptFunction
from ptune_scale.parallel.stop import Stopped, StopSignal
from ptune_scale.parallel.world import World

__all__ = ["PromptFunction", "StopSignal", "Stopped", "World", "parallelize"]
