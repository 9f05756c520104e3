"""Draw proposals while a detector trains."""

import os
from typing import Dict, Sequence, Set

from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_klrpn.apis import propose, rpn_head
from mmdet_klrpn.utils.output_files import distinct_names
from mmdet_klrpn.visualization import draw_overview, render, seen_image


@HOOKS.register_module()
class ProposalVisualizationHook(Hook):
    """Draw the proposals of the first validation images, and their stds.

    Each picture goes to every backend of the runner's visualizer, as
    ``proposals_<name of the image>`` at the runner's iteration, so that the
    same images can be followed through a training. If two images have the same
    name, more of the path is added; an image without a path is named by its
    id. The image is drawn as the network gets it. The first rank runs backbone
    and RPN a second time on these images.

    Args:
        interval (int): Draw at the first of every ``interval`` validations. 0
            or less: never. Defaults to 1.
        num_images (int): Number of images to draw, the first ones. Defaults to
            4.
        top (int): How many proposals to draw. Defaults to 30.
    """

    def __init__(
        self,
        interval: int = 1,
        num_images: int = 4,
        top: int = 30,
    ) -> None:
        self.interval = interval
        self.num_images = num_images
        self.top = top
        self._validations = 0
        self._left = 0
        self._names: Dict[str, str] = {}
        self._drawn: Set[str] = set()  # in this validation

    def before_run(self, runner: Runner) -> None:
        """Refuse a model without proposals before it is trained.

        Raises:
            ValueError: If its model has no region proposal head.
        """
        if self.interval > 0:
            rpn_head(runner.model)

    def before_val_epoch(self, runner: Runner) -> None:
        """Decide whether images of this validation are drawn."""
        # Count validations, not epochs: they may come at iterations.
        due = self.interval > 0 and self._validations % self.interval == 0
        self._left = self.num_images if due else 0
        self._validations += 1
        self._drawn = set()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Draw the images of a batch until ``num_images`` are drawn."""
        if self._left > 0:
            self._draw(runner, data_batch)

    @master_only
    def _draw(self, runner: Runner, data_batch: dict) -> None:
        batch = {key: data_batch[key][: self._left] for key in data_batch}
        stages = propose(runner.model, batch)
        self._left -= len(stages)
        for inputs, sample, stage in zip(
            batch['inputs'], batch['data_samples'], stages
        ):
            image = seen_image(inputs, sample)
            truth = None
            if 'bboxes' in sample.get('gt_instances', ()):
                truth = get_box_tensor(sample.gt_instances.bboxes).cpu()
            name = type(stage.head).__name__
            figure = draw_overview(image, [(name, stage)], self.top, truth)
            runner.visualizer.add_image(
                f'proposals_{self._name(sample)}',
                render(figure),
                step=runner.iter,
            )

    def _name(self, sample: DetDataSample) -> str:
        """Name of an image, the same in every validation."""
        key = sample.get('img_path') or sample.get('img_id', 'image')
        key = os.path.abspath(str(key))
        if key in self._drawn:  # data sets may show a file more than once
            key = f'{key}_{len(self._drawn)}'
        self._drawn.add(key)
        if key not in self._names:
            self._names[key] = distinct_names([*self._names, key])[-1]
        return self._names[key]
