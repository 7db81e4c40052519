"""Measure facts per second of P-tuning beside other ways of doing it; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("bench"))
