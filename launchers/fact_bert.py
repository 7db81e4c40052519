"""Teach a small BERT facts, to P-tune it frozen; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("fact_bert"))
