"""Measure a tuned prompt on records, or in lm-evaluation-harness; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("eval"))
