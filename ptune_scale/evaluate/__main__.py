"""The harness's own command line, which knows the model ``ptune_scale`` and the tasks here.

python -m ptune_scale.evaluate run --model ptune_scale --model_args prompt=out/prompt --tasks ...
"""

import sys

from lm_eval.__main__ import cli_evaluate

# With it comes the model, which registers itself.
from ptune_scale.evaluate.harness_run import TASKS

if __name__ == "__main__":
    if not any(word.partition("=")[0] == "--include_path" for word in sys.argv[1:]):
        sys.argv += ["--include_path", str(TASKS)]
    cli_evaluate()
