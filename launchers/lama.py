"""P-tune a frozen language model on LAMA-style facts; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("lama"))
