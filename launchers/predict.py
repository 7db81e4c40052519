"""Answer the records of a file with tuned prompts; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("predict"))
