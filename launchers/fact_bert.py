"""Teach a small BERT facts, to P-tune it frozen; see ``--help``."""

import sys

from ptune_scale.experiments.fact_bert.cli import main

if __name__ == "__main__":
    sys.exit(main())
