"""``python -m ptune_scale`` is ``ptune``."""

import sys

from ptune_scale.run.main import main

sys.exit(main())
