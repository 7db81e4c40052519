"""Measure layouts side by side on the LAMA job; see ``--help``."""

import sys

from ptune_scale.experiments.layouts.cli import main

if __name__ == "__main__":
    sys.exit(main())
