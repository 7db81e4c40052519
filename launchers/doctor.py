"""Tell what is installed and what will work here; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("doctor"))
