"""What is varied. Each section is a module with two functions.

``run(bench, result)`` measures and fills ``result`` as it goes, so that what is finished remains if
it is interrupted; ``table(result)`` shows it in Markdown.

main.py        all sides in one setting
ablations.py   ours with parts switched off or exchanged
batch.py       facts per step
length.py      tokens per fact
relations.py   relations in one job; apart.py: the same relations in a job each
superglue.py   long texts, with prompts behind them and around them
ranks.py       processes
cuda.py        main on a GPU
"""

from types import ModuleType

from ptune_scale.bench.sections import (
    ablations,
    apart,
    batch,
    cuda,
    length,
    main,
    ranks,
    relations,
    superglue,
)

SECTIONS: dict[str, ModuleType] = {
    "main": main,
    "ablations": ablations,
    "batch": batch,
    "length": length,
    "relations": relations,
    "apart": apart,
    "superglue": superglue,
    "ranks": ranks,
    "cuda": cuda,
}

__all__ = ["SECTIONS"]
