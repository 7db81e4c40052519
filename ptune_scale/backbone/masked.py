"""Which masked models can be a frozen backbone, and why others cannot.

A backbone is given embeddings instead of ids, and what it computes of a row must not depend on how
far the rows beside it made the batch reach.
"""

import inspect
from collections.abc import Iterable

from transformers import AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel

from ptune_scale.backbone.families import family_of


def check_masked(config: PretrainedConfig) -> None:
    """Make sure that a masked model can be a backbone.

    Args:
        config: of a model that ``model_kind`` calls masked.

    Raises:
        ValueError: it cannot; the message says why.
    """
    family = config.model_type
    architectures = getattr(config, "architectures", None) or ()
    if family == "electra" and "ElectraForPreTraining" in architectures:
        raise ValueError(
            "an ELECTRA discriminator tells true words from replaced ones and predicts none; "
            "use the generator that was trained beside it"
        )
    if getattr(config, "is_encoder_decoder", False):
        reason = "it has an encoder and a decoder, and answers are read from one model of either"
    elif unfit := family_of(config).unfit:
        reason = unfit
    elif type(config) not in AutoModelForMaskedLM._model_mapping:
        reason = "transformers has no masked-word head for it"
    elif not _takes_embeddings(config):
        reason = "it takes no embeddings in place of ids, so there is nowhere to put a prompt"
    else:
        return
    raise ValueError(f"models of type {family!r} cannot be prompted: {reason}")


def num_logits(model: PreTrainedModel) -> int:
    """Number V of logits of a model with any head."""
    # DeBERTa's later head multiplies with the word embeddings and calls its inner layer the head.
    if not getattr(model.config, "legacy", True):
        return model.get_input_embeddings().weight.shape[0]
    return model.get_output_embeddings().weight.shape[0]


def advice_on_head(config: PretrainedConfig, unused: Iterable[str]) -> str:
    """What to do about a head that was not found among the weights, if that is known.

    Args:
        unused: names of weights that the model has no place for.
    """
    has_later_head = any(name.startswith("lm_predictions.") for name in unused)
    if has_later_head and getattr(config, "legacy", False):
        return (
            '; its head is that of later DeBERTa models: put "legacy": false into its config.json'
        )
    return ""


def _takes_embeddings(config: PretrainedConfig) -> bool:
    network = AutoModelForMaskedLM._model_mapping[type(config)]
    return "inputs_embeds" in inspect.signature(network.forward).parameters
