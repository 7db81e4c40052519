"""What prompts can be made of, by the names that are typed; imports nothing heavy."""

from typing import Literal

EncoderKind = Literal["lstm", "mlp", "none"]
EncoderSharing = Literal["all", "none"]
PromptStart = Literal["mean_word", "random"]
EncoderPlacementKind = Literal["replicated", "owned"]
