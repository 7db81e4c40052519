"""Sizes of a fairseq Megatron language model, and how its layers can be taken apart."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class MegatronConfig(PreTrainedConfig):
    """A decoder-only model of fairseq's ``transformer_lm_megatron`` family.

    The defaults are MegatronLM-11B. Token ids 0 to 3 are <s>, <pad>, </s> and <unk>; the lines of
    ``dict.txt`` follow.
    """

    model_type = "fairseq_megatron"

    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.out_proj": "rowwise",
        "layers.*.fc1": "colwise",
        "layers.*.fc2": "rowwise",
    }
    base_model_pp_plan = {
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "embed_positions": (["inputs_embeds"], ["hidden_states"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "layer_norm": (["hidden_states"], ["hidden_states"]),
    }

    vocab_size: int = 51200
    hidden_size: int = 3072
    num_hidden_layers: int = 72
    num_attention_heads: int = 32
    intermediate_size: int = 18432
    max_position_embeddings: int = 1024
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    bos_token_id: int | None = 0
    pad_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = True
    # The model keeps no keys and values between calls: P-tuning reads each input once.
    use_cache: bool = False

    def validate_architecture(self) -> None:
        """Called by Hugging Face whenever a configuration is made.

        Raises:
            ValueError: the heads do not divide the hidden size, or it is odd, which leaves the
                sines and cosines of the positions without room.
        """
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"hidden size {self.hidden_size} is odd or not a multiple of the "
                f"{self.num_attention_heads} attention heads"
            )


MEGATRON_11B = MegatronConfig(architectures=["MegatronForCausalLM"])
"""11,032,246,272 parameters."""

NAMED_CONFIGS = {"megatron-11b": MEGATRON_11B}
"""Models whose sizes are known without their files, so that a layout can be planned for them."""
