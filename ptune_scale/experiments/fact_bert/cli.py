"""The command line of ``launchers/fact_bert.py``."""

import time
from collections.abc import Sequence

from ptune_scale.experiments.fact_bert.config import FactBertConfig
from ptune_scale.parser import Parser
from ptune_scale.run.alone import run_alone

_DESCRIPTION = """Teach a small BERT facts, about a minute on one CPU thread: a frozen masked model
to P-tune where none can be downloaded. It shows what prompts elicit of memorised facts, and on
facts held back that they do not answer by themselves; not what a pretrained model knows."""
_EXAMPLES = """  %(prog)s --output_dir out
  %(prog)s --data_dir LAMA --output_dir out
  python launchers/lama.py --model out/model --data_dir out/facts       # other taught facts
  python launchers/lama.py --model out/model --data_dir out/untaught    # facts it never read
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_alone("fact_bert", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser("fact_bert", _DESCRIPTION, _EXAMPLES)
    parser.add_flags(FactBertConfig)
    config = FactBertConfig(**vars(parser.parse_args(arguments)))
    import transformers

    from ptune_scale.experiments.fact_bert.make import make_fact_bert

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    started = time.perf_counter()
    made = make_fact_bert(config)
    relations = made.record["relations"]
    print(
        f"taught {sum(len(r['taught']) for r in relations)} facts of {len(relations)} relations "
        f"in {time.perf_counter() - started:.0f} s; asked as it was taught, it knows "
        f"{100 * made.record['p_at_1_as_taught']:.1f} %\n"
        f"{len(made.record['left_out'])} relations were left out: see facts.json for what and why\n"
        f"next: python launchers/lama.py --model {made.model} --data_dir {made.facts}\n"
        f"control: python launchers/lama.py --model {made.model} --data_dir {made.untaught}"
    )
    return 0
