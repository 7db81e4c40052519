"""P-tune a frozen language model on LAMA-style facts; see ``--help``."""

import sys

from ptune_scale.lama.launcher import main

if __name__ == "__main__":
    sys.exit(main())
