"""Each file in ds_configs says what it is for, and trains: a real two-rank run of each."""

import json
from pathlib import Path

import torch

CONFIGS = Path(__file__).resolve().parents[2] / "ds_configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))


def test_every_configuration_states_its_purpose():
    assert len(NAMES) >= 4
    for name in NAMES:
        config = json.loads((CONFIGS / f"{name}.json").read_text())
        assert len(config["purpose"]) > 40
        assert config["zero_optimization"]["stage"] == 3


def test_every_configuration_gives_the_gradients_of_one_process(small_model, run_layouts):
    [one] = run_layouts(small_model("llama"), 1, ["1-1-0"])
    others = run_layouts(small_model("llama"), 2, [f"1-1-3-{name}" for name in NAMES])
    for name, other in zip(NAMES, others, strict=True):
        for expected, found in zip(one["gradients"], other["gradients"], strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(
                found, expected, atol=1e-5 * scale, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
            )
        assert other["untouched"] and other["same_bytes"]
