"""Answer the records of a file with tuned prompts; see ``--help``."""

import sys

from ptune_scale.tune.predict import main

if __name__ == "__main__":
    sys.exit(main())
