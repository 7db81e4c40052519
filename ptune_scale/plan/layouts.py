"""All ranks of a layout, the layouts worth considering, and which of them to take."""

from dataclasses import dataclass
from functools import cached_property

from ptune_scale.backbone.families import anatomy_of
from ptune_scale.errors import UserError
from ptune_scale.parallel import dry_run, pipeline
from ptune_scale.parallel.degrees import Degrees
from ptune_scale.parallel.layout import check, shape
from ptune_scale.plan import activations
from ptune_scale.plan.activations import Activations
from ptune_scale.plan.ranks import RESERVE, RankPlan, padded_length, plan_rank
from ptune_scale.plan.request import Request

_RANKS_OF_A_NODE = 8


@dataclass(frozen=True)
class LayoutPlan:
    """A layout with one plan for each kind of rank.

    Attributes:
        request: what was planned for.
        ranks: one for each kind of pipeline stage.
    """

    request: Request
    degrees: Degrees
    ranks: tuple[RankPlan, ...]

    @property
    def fullest(self) -> RankPlan:
        """The rank that needs the most memory."""
        return max(self.ranks, key=lambda rank: rank.memory["total"])

    @property
    def largest_batch(self) -> int:
        """Most rows per step in one pass for which all ranks have the memory."""
        return min(rank.largest_batch for rank in self.ranks)

    @property
    def fits(self) -> bool:
        return self.fullest.memory["total"] <= self.request.gpu_memory * (1 - RESERVE)

    @property
    def sent(self) -> int:
        """Bytes per step of the rank that sends the most."""
        return max(rank.sent for rank in self.ranks)


class Planner:
    """Plans layouts of one request; what they have in common is run dry once."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._activations: dict[tuple[object, ...], Activations] = {}

    def plan(self, degrees: Degrees) -> LayoutPlan:
        """Shape each kind of rank on the meta device and work out what it needs.

        Raises:
            UserError: the model cannot be laid out so, or not be run dry.
        """
        check(self.request.config, degrees)
        stages: dict[tuple[bool, bool, int], list[int]] = {}
        for stage, layers in enumerate(self._stages(degrees.pipeline)):
            kind = (stage == 0, stage == degrees.pipeline - 1, layers)
            stages.setdefault(kind, []).append(stage)
        ranks_of_a_stage = degrees.data * degrees.tensor
        return LayoutPlan(
            self.request,
            degrees,
            tuple(
                self._plan_rank(degrees, alike[0], len(alike) * ranks_of_a_stage)
                for alike in stages.values()
            ),
        )

    def _plan_rank(self, degrees: Degrees, stage: int, count: int) -> RankPlan:
        # The first of a stage's ranks: it holds as many prompt encoders as any.
        with dry_run.pretend(degrees, rank=stage * degrees.tensor) as mesh:
            model = shape(self.request.empty_model(), mesh)[0]
            layers = activations.num_layers(model)
            length = padded_length(self.request.sequence_length, mesh)
            sampled = activations.sampled_layers(model)
            key = (degrees.tensor, mesh.is_first_stage, mesh.is_last_stage, length, sampled)
            if key not in self._activations:
                # It takes layers out of the model.
                spare, _, _, vocabulary = shape(self.request.empty_model(), mesh)
                self._activations[key] = activations.count(spare, mesh, vocabulary, length)
            return plan_rank(
                self.request,
                mesh,
                model,
                self._activations[key],
                layers=layers,
                count=count,
                tied=self._is_tied,
            )

    def _stages(self, degree: int) -> list[int]:
        """Number of layers of each stage."""
        if degree == 1:
            return [self.request.config.num_hidden_layers]
        return [len(stage) for stage in pipeline.balanced_stages(*self._layer_costs, degree)]

    @cached_property
    def _layer_costs(self) -> tuple[list[float], float]:
        anatomy = anatomy_of(self.request.config)
        assert anatomy is not None  # else ``check`` has refused stages
        return pipeline.layer_costs(self.request.empty_model(), anatomy)

    @cached_property
    def _is_tied(self) -> bool:
        model = self.request.empty_model()
        words = getattr(model.get_input_embeddings(), "weight", None)
        return words is model.get_output_embeddings().weight


def considered(request: Request) -> list[Degrees]:
    """Layouts that the model allows, tensor parallelism within a node of eight ranks."""
    size, found = request.num_gpus, []
    for tensor in range(1, min(size, _RANKS_OF_A_NODE) + 1):
        for stages in range(1, size + 1):
            for zero_stage in (0, 3):
                if size % (tensor * stages) or (zero_stage == 3 and size == tensor * stages):
                    continue
                degrees = Degrees(size // tensor // stages, stages, tensor, zero_stage)
                try:
                    degrees.check()
                    check(request.config, degrees)
                except UserError:
                    continue
                found.append(degrees)
    return found


def recommended(plans: list[LayoutPlan]) -> tuple[LayoutPlan, str]:
    """The layout to take, with the reason in a line.

    Stages of a pipeline wait for each other at the beginning and the end of each step, so of the
    layouts that fit, those with the fewest stages come first; then, that which sends the least.
    """
    fitting = [plan for plan in plans if plan.fits]
    if not fitting:
        best = min(plans, key=lambda plan: plan.fullest.memory["total"])
        return best, f"no layout fits; {best.degrees.name} needs the least memory"
    best = min(fitting, key=lambda plan: (plan.degrees.pipeline, plan.sent))
    if best.degrees.pipeline == 1:
        return best, f"{best.degrees.name} fits, leaves no rank waiting, and sends the least then"
    return best, f"{best.degrees.name} fits with the fewest pipeline stages, and sends the least"
