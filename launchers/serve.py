"""Serve a frozen language model to everybody who tunes prompts; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("serve"))
