"""P-tune a language model on SuperGLUE; ``--help`` lists the flags."""

import sys

from ptune_scale.superglue.launcher import main

if __name__ == "__main__":
    sys.exit(main())
