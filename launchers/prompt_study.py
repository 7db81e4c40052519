"""Ask with many manual prompts and compare; ``--help`` lists the flags."""

import sys

from ptune_scale.experiments.prompt_study.launcher import main

if __name__ == "__main__":
    sys.exit(main())
