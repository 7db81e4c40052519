"""Run rows of the paper's tables and compare with its numbers; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("paper"))
