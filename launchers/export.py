"""Write a tuned prompt in a format of other software; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("export"))
