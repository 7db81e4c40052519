"""What a layout needs, before any GPU is asked for: memory, communication, the largest batch.

request.py        what is planned for, checked; a model's configuration by name, directory or file
activations.py    what layers keep and send, counted in dry runs
communication.py  what is sent beside: weights under ZeRO-3, hidden states, P and dP
ranks.py          one rank of a layout: what it holds, needs and sends
layouts.py        all ranks of a layout; the layouts worth considering and which of them to take
choose.py         the layout of a job that asks for ranks and for no degrees
serving.py        a layout as a server of many clients
report.py         tables and JSON
"""

from typing import TYPE_CHECKING

from ptune_scale.lazy import exports

if TYPE_CHECKING:
    from ptune_scale.plan.layouts import LayoutPlan, Planner, considered, recommended
    from ptune_scale.plan.request import Request, find_config

__all__ = ["LayoutPlan", "Planner", "Request", "considered", "find_config", "recommended"]

if not TYPE_CHECKING:  # else any name would be taken for one that is there
    _LAYOUTS = dict.fromkeys(("LayoutPlan", "Planner", "considered", "recommended"), "layouts")
    __getattr__ = exports(__name__, {**_LAYOUTS, "Request": "request", "find_config": "request"})
