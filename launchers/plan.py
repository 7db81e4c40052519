"""Plan how a model is laid out over GPUs, without using any; see ``--help``."""

import sys

from ptune_scale.plan.cli import main

if __name__ == "__main__":
    sys.exit(main())
