"""What can be found wrong with a model in a layout before ranks meet, whatever is to be done."""

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.backbone.precision import torch_dtype
from ptune_scale.backbone.quantized import check_quantizable
from ptune_scale.backbone.quantized_linear import load_library
from ptune_scale.backbone.shortcuts import DEFAULT, PLAIN
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees, check_tuned, zero3
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.parallel.layout import check_backbone
from ptune_scale.run.config import ModelConfig, ParallelConfig, PromptConfig, ServedConfig


def check_layout(
    model: ModelConfig, parallel: ParallelConfig, *, tunes_backbone: bool, method: str
) -> Degrees:
    """The layout that is asked for, if the model can be treated in it as it is asked to be.

    Args:
        tunes_backbone: a copy of it is to be trained.
        method: as it was typed, for messages.

    Raises:
        UserError: flags that do not go together, or a DeepSpeed configuration that does not fit.
    """
    degrees = Degrees.resolve(
        parallel.num_gpus or launch.world_size(),
        tensor=parallel.tensor_parallel,
        pipeline=parallel.pipeline_parallel,
        zero_stage=parallel.stage,
    )
    if parallel.deepspeed_json:
        zero3.read_config(parallel.deepspeed_json, torch_dtype(model.dtype))
    # One process has nothing to shard: a run of several can go on in it with the same flags.
    if parallel.deepspeed_config and degrees.zero_stage != 3 and degrees.world_size > 1:
        raise UserError(
            f"--deepspeed_config {parallel.deepspeed_config} with layout {degrees.name}: only "
            "ZeRO-3 (--zero_stage 3) reads it; leave it out (--deepspeed_config '' where the run "
            "resumed had it)"
        )
    if tunes_backbone:
        check_tuned(degrees)
    if model.weight_bits != "full":
        _check_weight_bits(model, degrees, method if tunes_backbone else "")
    return degrees


def open_backbone(model: ModelConfig, *, dropout: bool = False) -> Backbone:
    """The model; none of its weights is loaded.

    Args:
        dropout: run the model's own dropout in passes with a gradient.

    Raises:
        UserError: it is not there, or damaged.
    """
    return load_backbone(
        model.model,
        dtype=torch_dtype(model.dtype),
        shortcuts=PLAIN if model.speed == "plain" else DEFAULT,
        weight_bits=model.weight_bits,
        dropout=dropout,
    )


def check_served(
    served: ServedConfig, parallel: ParallelConfig, *, tunes: str, dropout: bool
) -> None:
    """Make sure that what is asked for can be done with a model that is somewhere else.

    Args:
        tunes: the methods, as they were typed, if a copy of the model is to be trained.
        dropout: it is to run the model's own dropout.

    Raises:
        UserError: it cannot.
    """
    where = f"--backbone {served.backbone}"
    if tunes:
        raise UserError(
            f"--method {tunes} with {where}: weights of a served model do not train; leave the "
            "methods out that train them, or --backbone"
        )
    if dropout:
        raise UserError(f"--backbone_dropout on with {where}: servers run without dropout")
    ranks = parallel.num_gpus or launch.world_size()
    if ranks > 1 or not parallel.is_open:
        raise UserError(
            f"{where} with a layout of {ranks} ranks: the layout is the servers'; leave out "
            "--num_gpus, --tensor_parallel, --pipeline_parallel and --zero_stage"
        )


def check_parts(backbone: Backbone, degrees: Degrees) -> None:
    """Make sure that each rank can have its part of the weights, rounded if it is to be.

    Raises:
        UserError: it cannot be laid out or rounded so.
    """
    check_backbone(backbone, degrees)
    if backbone.weight_bits != "full":
        check_quantizable(backbone.empty_model())


def check_encoder(prompt: PromptConfig, backbone: Backbone) -> None:
    """Make sure that prompts of the model's embedding size can be encoded.

    Raises:
        UserError: the two directions of an LSTM cannot share it.
    """
    size = backbone.hidden_size
    if prompt.encoder == "lstm" and size % 2:
        raise UserError(
            f"--encoder lstm: its two directions share the embedding size, which is {size} and "
            "odd; use --encoder mlp or none"
        )


def _check_weight_bits(model: ModelConfig, degrees: Degrees, tuning: str) -> None:
    load_library()
    if tuning:
        raise UserError(
            f"--weight_bits {model.weight_bits} with --method {tuning}: it takes weights that stay "
            "as they are, rounded weights cannot train; leave it out"
        )
    if not degrees.is_whole:
        raise UserError(
            f"--weight_bits {model.weight_bits} with layout {degrees.name}: weights are rounded "
            "where they are whole, and this layout gives each rank a part of them. Use "
            "--zero_stage 0 without --tensor_parallel and --pipeline_parallel, under which each "
            "rank has all of them, or --weight_bits full"
        )
