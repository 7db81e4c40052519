"""A layout as a server: memory without prompts, tokens and steps a second, traffic.

A token costs a forward pass (two operations for each parameter) and, where it is trained on, a
backward pass through the same layers (two more; the weights' own gradient is not computed). What a
client sends is P and token ids, and it gets dP, whatever the depth of the model.
"""

from dataclasses import asdict, dataclass, replace

from ptune_scale.plan.layouts import LayoutPlan, Planner
from ptune_scale.plan.report import aligned, size_of

_OPERATIONS = 4
"""Of a token that is trained on, for each parameter."""

_UTILIZATION = 0.4
"""Share of a GPU's peak that matrix products of such batches reach; an assumption."""

_TOKEN_BYTES = 8
_ROW_BYTES = 40
"""Id and slot number of a token; lengths, target, answer, task, weight ... of a row."""


@dataclass(frozen=True)
class ServingPlan:
    """A served layout, and clients whose steps are those that the plan is for.

    Attributes:
        memory: bytes of the fullest rank in a pass of one client's step.
        rows_in_a_pass: most rows of all clients together, for which all ranks have the memory.
        tokens_per_second: trained on, over all ranks.
        steps_per_second: of all clients together.
        sent_up, sent_down: bytes of a step between a client and the server.
    """

    memory: int
    rows_in_a_pass: int
    tokens_per_second: float
    steps_per_second: float
    sent_up: int
    sent_down: int

    @property
    def network(self) -> float:
        """Bytes a second, both ways, of all clients together."""
        return self.steps_per_second * (self.sent_up + self.sent_down)


def plan_serving(plan: LayoutPlan, tflops: float, tasks_per_step: int) -> ServingPlan:
    """Plan the same layout as a server: prompts and their encoders are the clients'.

    Args:
        tflops: 10^12 operations a second of a GPU in the model's precision, at its peak.
        tasks_per_step: tasks of a step, whose rows of P are sent.
    """
    request = replace(plan.request, encoder="none", tasks=min(plan.request.tasks, tasks_per_step))
    server = Planner(request).plan(plan.degrees)
    tokens = request.batch_size * request.sequence_length
    speed = request.num_gpus * tflops * 1e12 * _UTILIZATION / (_OPERATIONS * request.parameters)
    rows = tokens * _TOKEN_BYTES + request.batch_size * _ROW_BYTES
    return ServingPlan(
        server.fullest.memory["total"],
        server.largest_batch,
        speed,
        speed / tokens,
        request.prompt_bytes + rows,
        request.prompt_bytes,
    )


def serving_table(serving: ServingPlan, tflops: float) -> str:
    """Lines to read."""
    seconds = 1 / serving.steps_per_second
    return aligned(
        [
            [f"as a server, at {_UTILIZATION:.0%} of {tflops:g} TFLOP/s a GPU (assumed)", ""],
            ["memory of the fullest rank", size_of(serving.memory)],
            ["rows of all clients in a pass, at most", f"{serving.rows_in_a_pass:,}"],
            ["tokens a second, trained on", f"{serving.tokens_per_second:,.0f}"],
            ["steps a second, of all clients together", f"{serving.steps_per_second:,.1f}"],
            ["clients that make a step each 10 s", f"{10 / seconds:,.0f}"],
            ["sent up by a client in a step", size_of(serving.sent_up)],
            ["sent down to it", size_of(serving.sent_down)],
            ["network at that rate, a second", size_of(round(serving.network))],
        ],
        left=1,
    )


def serving_dict(serving: ServingPlan) -> dict[str, float]:
    """The same for programs."""
    return {**asdict(serving), "network": serving.network}
