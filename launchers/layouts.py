"""Measure layouts side by side on the LAMA job; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("layouts"))
