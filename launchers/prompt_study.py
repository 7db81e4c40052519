"""Ask with many manual prompts and compare; ``--help`` lists the flags."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("prompt_study"))
