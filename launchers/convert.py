"""Convert a fairseq Megatron checkpoint to safetensors or back; see ``--help``."""

import sys

from ptune_scale.run.main import run

if __name__ == "__main__":
    sys.exit(run("convert"))
