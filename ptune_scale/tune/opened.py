"""A tuned prompt that a command was given: opened, and laid out over the command's ranks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptune_scale.backbone import Backbone
from ptune_scale.parallel import Degrees, TextLimit, parallelize
from ptune_scale.plan.choose import Work, open_in_layout
from ptune_scale.run.config import ModelConfig, ParallelConfig, PromptConfig, ServedConfig
from ptune_scale.run.site import Site
from ptune_scale.run.speed import Planned, choose_speed
from ptune_scale.tune.config import UseConfig
from ptune_scale.use.export import PromptExport
from ptune_scale.use.prompt import TunedPrompt

_LONG_ROW = 256
"""Tokens, roughly: a layout that is not given is chosen by it."""


@dataclass(frozen=True)
class OpenedPrompt:
    """An exported prompt with its model.

    Attributes:
        degrees: the layout that was chosen.
        backbone: opened; none of its weights is loaded.
    """

    export: PromptExport
    degrees: Degrees
    backbone: Backbone

    def lay_out(
        self,
        use: UseConfig,
        parallel: ParallelConfig,
        site: Site,
        planned: Callable[[], Planned] | None,
        texts_beside: Path,
    ) -> TunedPrompt:
        """The prompt in the layout of a site, ready to be asked on all of its ranks.

        Args:
            planned: what is to be computed; None where that is not known before.
            texts_beside: where files of kept texts go.
        """
        if use.speed == "auto" and planned is not None:
            choose_speed(self.backbone, site.mesh, planned)
        function = parallelize(
            self.backbone,
            site.mesh,
            deepspeed_config=parallel.deepspeed_json,
            texts=TextLimit(use.text_cache, texts_beside),
            while_waiting=site.stop.check,
        )
        prompt = TunedPrompt(
            self.export,
            self.backbone,
            function,
            batch_size=use.batch_size,
            batch_tokens=use.batch_tokens,
        )
        prompt.asker.after_batch = lambda rows: site.stop.check()
        return prompt


def open_prompt(
    directory: str, use: UseConfig, parallel: ParallelConfig, served: ServedConfig
) -> OpenedPrompt:
    """Read a prompt and open its model.

    Raises:
        UserError: one cannot be read, or they do not belong together.
    """
    export = PromptExport.load(Path(directory))
    model = ModelConfig(
        model=use.model or export.model,
        dtype=use.dtype,
        speed=use.speed,
        weight_bits=export.weight_bits,
    )
    work = Work(rows=use.batch_size, length=_LONG_ROW, tasks=len(export.tasks), trains=False)
    no_encoder = PromptConfig(encoder="none")
    degrees, backbone = open_in_layout(model, parallel, no_encoder, work, served=served)
    export.check_backbone(backbone)
    return OpenedPrompt(export, degrees, backbone)
