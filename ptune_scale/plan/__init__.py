"""What a layout needs, before any GPU is asked for: memory, communication, the largest batch.

request.py        what is planned for, checked; a model's configuration by name, directory or file
activations.py    what layers keep and send, counted in dry runs
communication.py  what is sent beside: weights under ZeRO-3, hidden states, P and dP
ranks.py          one rank of a layout: what it holds, needs and sends
layouts.py        all ranks of a layout; the layouts worth considering and which of them to take
report.py         tables and JSON
cli.py            the command line of launchers/plan.py
"""

from ptune_scale.plan.layouts import LayoutPlan, Planner, considered, recommended
from ptune_scale.plan.ranks import RankPlan
from ptune_scale.plan.request import Request, find_config

__all__ = [
    "LayoutPlan",
    "Planner",
    "RankPlan",
    "Request",
    "considered",
    "find_config",
    "recommended",
]
