"""Measure a server under many clients beside local jobs; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("serving"))
