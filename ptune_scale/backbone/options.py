"""How a backbone can be asked for, by the names that are typed; imports nothing heavy."""

from typing import Literal

Dtype = Literal["auto", "float32", "bfloat16"]
Attention = Literal["eager", "sdpa"]
Speed = Literal["auto", "plain"]
WeightBits = Literal["full", "8", "4"]
