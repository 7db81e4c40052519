"""Run rows of the paper's tables and compare with its numbers; see ``--help``."""

import sys

from ptune_scale.experiments.paper.cli import main

if __name__ == "__main__":
    sys.exit(main())
