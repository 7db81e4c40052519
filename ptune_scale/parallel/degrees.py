"""How many ranks share what: the degrees of a layout and the rules between them."""

from dataclasses import astuple, dataclass, replace

from ptune_scale.errors import UserError

INFER = -1


@dataclass(frozen=True)
class Degrees:
    """Degrees of parallelism; their product is the number of ranks.

    Ranks are numbered so that tensor-parallel peers, which talk most, are neighbours:
    rank = (data * pipeline degree + stage) * tensor degree + tensor rank.

    Attributes:
        data: replicas of the backbone that share the rows of a batch; under ZeRO-3 also the ranks
            that share each weight.
        pipeline: stages, each with a part of the layers.
        tensor: ranks that share each layer's matrices.
        zero_stage: 3 to shard the weights over the data-parallel ranks by DeepSpeed, else 0.
    """

    data: int = 1
    pipeline: int = 1
    tensor: int = 1
    zero_stage: int = 0

    @property
    def world_size(self) -> int:
        return self.data * self.pipeline * self.tensor

    @property
    def has_tensor(self) -> bool:
        """Whether ranks share layers."""
        return self.tensor > 1

    @property
    def has_pipeline(self) -> bool:
        """Whether ranks have different layers."""
        return self.pipeline > 1

    @property
    def is_replicated(self) -> bool:
        """Whether all ranks compute the whole backbone, on rows of their own."""
        return not self.has_tensor and not self.has_pipeline

    @property
    def is_sharded(self) -> bool:
        """Whether ZeRO-3 shares each weight out over the data-parallel ranks."""
        return self.zero_stage == 3

    @property
    def is_whole(self) -> bool:
        """Whether each rank keeps the whole backbone."""
        return self.is_replicated and not self.is_sharded

    @classmethod
    def resolve(
        cls, world_size: int, *, tensor: int = 1, pipeline: int = 1, zero_stage: int = INFER
    ) -> "Degrees":
        """Complete what was asked for to the number of ranks there are.

        Args:
            tensor, pipeline: degrees; one of them may be -1 for all ranks that the other leaves.
            zero_stage: 0, 3, or -1 for 0.

        Raises:
            UserError: the product cannot be the world size, ZeRO-3 has no ranks to shard over, or
                the libraries do not allow it.
        """
        asked = f"--tensor_parallel {tensor} --pipeline_parallel {pipeline}"
        if tensor == INFER and pipeline == INFER:
            raise UserError(f"{asked}: only one of them can be inferred (-1)")
        if min(tensor, pipeline) < INFER or 0 in (tensor, pipeline):
            raise UserError(f"{asked}: a degree is 1 or more, or -1 for what is left")
        fixed = max(tensor, 1) * max(pipeline, 1)
        if fixed > world_size == 1:
            raise UserError(
                f"{asked} needs {fixed} ranks and this is one: add --num_gpus {fixed}, or start "
                f"the script by torchrun --nproc_per_node {fixed}"
            )
        if world_size % fixed:
            raise UserError(
                f"{asked} on {world_size} ranks: {world_size} is not a multiple of "
                f"{max(tensor, 1)} x {max(pipeline, 1)} = {fixed}, so no number of data-parallel "
                "replicas makes the product equal to the number of ranks"
            )
        if tensor == INFER:
            tensor, fixed = world_size // fixed, world_size
        elif pipeline == INFER:
            pipeline, fixed = world_size // fixed, world_size
        data = world_size // fixed
        degrees = cls(data, pipeline, tensor, 0 if zero_stage == INFER else zero_stage)
        degrees.check()
        if zero_stage == 3 and data == 1 < world_size:
            raise UserError(
                f"--zero_stage 3 with {asked} on {world_size} ranks: {tensor} x {pipeline} = "
                f"{world_size} leaves one data-parallel rank, and none to share weights with; use "
                "--zero_stage 0"
            )
        # One process has nothing to share: a run of several can go on in it with the same flags.
        return replace(degrees, zero_stage=0) if data == 1 else degrees

    def check(self) -> None:
        """Refuse what the libraries do not allow.

        Raises:
            UserError: with the reason.
        """
        if self.zero_stage not in (0, 3):
            raise UserError(
                f"--zero_stage {self.zero_stage}: 0 or 3; stages 1 and 2 shard gradients and "
                "optimizer state, and a frozen backbone has neither"
            )
        if self.is_sharded and self.has_pipeline:
            raise UserError(
                f"--zero_stage 3 with --pipeline_parallel {self.pipeline}: DeepSpeed fetches and "
                "drops weights in the order of one forward and one backward pass, which the "
                "interleaved micro-batches of a pipeline break; use --zero_stage 0"
            )

    @property
    def name(self) -> str:
        """What results record, for example "single", "zero3" or "dp2 x pp2 x tp2"."""
        parts = []
        if self.is_sharded:
            parts.append("zero3" if self.world_size == self.data else f"zero3({self.data})")
        elif self.data > 1:
            parts.append(f"dp{self.data}")
        parts += [f"pp{self.pipeline}"] if self.has_pipeline else []
        parts += [f"tp{self.tensor}"] if self.has_tensor else []
        return " x ".join(parts) or "single"

    @property
    def written(self) -> str:
        """All degrees in a word, which ``read`` takes."""
        return ":".join(map(str, astuple(self)))

    @classmethod
    def read(cls, word: str) -> "Degrees":
        """The degrees that ``written`` gave."""
        return cls(*map(int, word.split(":")))

    def coordinates(self, rank: int) -> tuple[int, int, int]:
        """(data, pipeline, tensor) position of a rank."""
        rest, tensor = divmod(rank, self.tensor)
        data, stage = divmod(rest, self.pipeline)
        return data, stage, tensor
