"""Plan how a model is laid out over GPUs, without using any; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("plan"))
