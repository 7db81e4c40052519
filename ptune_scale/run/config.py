"""What every run can be told: sections of settings that are the flags of several commands.

Values are layered: defaults, then the preset, then those of the run that is resumed, then those of
a ``--config`` file, then what was typed; see ``ptune_scale.run.settle``. Imports nothing heavy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ptune_scale.backbone.options import Dtype, Speed, WeightBits
from ptune_scale.errors import UserError
from ptune_scale.flags import OnOff, Sections, flag
from ptune_scale.prompt.kinds import EncoderKind, EncoderPlacementKind, EncoderSharing, PromptStart
from ptune_scale.trackers import TRACKERS
from ptune_scale.train.config import TrainConfig, TuneConfig

__all__ = [
    "JobConfig",
    "MethodConfig",
    "ModelConfig",
    "ParallelConfig",
    "PromptConfig",
    "RanksConfig",
    "RunConfig",
    "SearchConfig",
    "SearchingConfig",
    "ServedConfig",
    "TrainConfig",
    "TuneConfig",
]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """the frozen language model"""

    model: str = flag(
        "smollm2-135m",
        "packaged model, model directory, GGUF file or Hugging Face id",
        common=True,
    )
    dtype: Dtype = flag(
        "auto",
        "precision of the backbone; auto: bfloat16 where the machine multiplies it by itself, else "
        "float32, which is faster there and takes twice the memory",
        common=True,
    )
    speed: Speed = flag(
        "auto",
        "auto: the forward pass in the way that is fastest here, with layers compiled where the "
        "job is long enough; plain: as the model was written, for comparison",
    )
    self_check: OnOff = flag(
        "on", "compare with the library's own forward pass on a few rows before anything is done"
    )
    weight_bits: WeightBits = flag(
        "full",
        "bits of the frozen weights: full, those of dtype; 8 or 4 in all layers, for models that "
        "are whole on each rank (needs bitsandbytes, the extra 'quantized')",
    )
    text_cache: float = flag(
        -1.0,
        "GiB on each rank for keys and values of what stands before all slots of a row, which is "
        "computed once; 0: none, -1: half of what is free",
        at_least=-1,
    )


@dataclass(frozen=True, kw_only=True)
class ServedConfig:
    """a served model, instead of one here"""

    backbone: str = flag(
        "",
        "address of a server (ptune serve) that has the model, as http://HOST:PORT; several of the "
        "same model by commas",
        common=True,
    )
    backbone_token: str = flag("", "file with the token that the servers know you by")
    backbone_patience: float = flag(
        300.0,
        "seconds in which a server has to answer; where none does, the run ends, and can be "
        "resumed",
        positive=True,
    )


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """the prompt"""

    encoder: EncoderKind = flag("lstm", "prompt encoder; none trains the prompt itself")
    encoder_sharing: EncoderSharing = flag(
        "all", "all: one encoder for all tasks; none: one each, as in the paper"
    )
    prompt_start: PromptStart = flag(
        "mean_word", "where prompts begin: around the mean word embedding, or as the encoder falls"
    )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """the search"""

    search: str = flag(
        "",
        "TOML file of settings to try for each task in one job; the worse half stops again and "
        "again, and what is best on dev takes the place of ptuning",
        common=True,
    )

    def methods(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The methods that are named, with P-tuning searched for where there is what to try.

        Raises:
            UserError: a search is named and nothing to try, or the other way round.
        """
        if "ptuning_search" in names and not self.search:
            raise UserError("--method ptuning_search needs --search FILE, the settings to try")
        if not self.search or "ptuning_search" in names:
            return names
        if "ptuning" not in names:
            raise UserError(f"--search is for ptuning, which --method {','.join(names)} leaves out")
        return tuple("ptuning_search" if name == "ptuning" else name for name in names)


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """the layout"""

    num_gpus: int = flag(
        0,
        "number of ranks on this machine; 0: as launched. How they share the work is chosen, "
        "unless the next three say it",
        common=True,
        at_least=0,
    )
    tensor_parallel: int = flag(
        1, "ranks that share each layer; -1: all that are left", common=True
    )
    pipeline_parallel: int = flag(
        1, "stages of consecutive layers; -1: all that are left", common=True
    )
    zero_stage: int = flag(
        -1,
        "3: data-parallel ranks share each weight (DeepSpeed ZeRO-3); 0: each has a replica; "
        "-1: 0 where a replica fits into memory, or where layers are spread; else 3",
    )
    encoder_placement: EncoderPlacementKind = flag(
        "replicated",
        "replicated: each rank of the first stage holds all prompt encoders; owned: each encoder "
        "on one of these ranks, which needs --encoder_sharing none to spread anything (after a "
        "crash the last periodic checkpoint is what remains)",
    )
    deepspeed_config: str = flag(
        "", "another DeepSpeed JSON than ds_configs/zero3.json, for layouts with ZeRO-3"
    )

    @property
    def stage(self) -> int:
        """The ZeRO stage that is asked for, -1 for none: DeepSpeed's settings ask for 3 too."""
        spreads_layers = (self.tensor_parallel, self.pipeline_parallel) != (1, 1)
        if self.zero_stage == -1 and self.deepspeed_config and not spreads_layers:
            return 3
        return self.zero_stage

    @property
    def is_open(self) -> bool:
        """Whether it is left to be chosen how ranks share the work."""
        return (self.tensor_parallel, self.pipeline_parallel, self.stage) == (1, 1, -1)

    @property
    def deepspeed_json(self) -> Path | None:
        """The file that is to be read in place of the project's own, if any."""
        return Path(self.deepspeed_config) if self.deepspeed_config else None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """the run"""

    output_dir: str = flag("", "where results go; by default runs/DATE-TIME", common=True)
    resume_from: str = flag(
        "", "output directory or checkpoint of an earlier run to go on with", common=True
    )
    checkpoint_every: int = flag(
        50, "steps between checkpoints, 0 for none but on a signal", at_least=0
    )
    report_to: str = flag(
        "tensorboard", f"where curves of training go, comma-separated: {', '.join(TRACKERS)}; none"
    )


class RanksConfig(Sections):
    """A configuration of what runs on ranks; a subclass has this section among its own."""

    parallel: ParallelConfig


class JobConfig(RanksConfig):
    """A configuration of what has a directory for its results too, and can be resumed."""

    run: RunConfig


class MethodConfig(Protocol):
    """The sections that the configuration of every job has."""

    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def model(self) -> ModelConfig: ...
    @property
    def served(self) -> ServedConfig: ...
    @property
    def prompt(self) -> PromptConfig: ...
    @property
    def train(self) -> TrainConfig: ...
    @property
    def tune(self) -> TuneConfig: ...
    @property
    def parallel(self) -> ParallelConfig: ...
    @property
    def run(self) -> RunConfig: ...
    def as_flags(self) -> dict[str, Any]: ...
    def as_dict(self) -> dict[str, dict[str, Any]]: ...


class SearchingConfig(MethodConfig, Protocol):
    """The same where settings can be searched for."""

    @property
    def search(self) -> SearchConfig: ...
