"""A runner that says what is wrong with its checkpoint."""

from pathlib import Path
from typing import Dict, List, Union

from mmdet.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmdet_klrpn.apis.checkpoint_heads import (
    LoadedHead,
    watch_heads,
    wrong_heads,
)
from mmdet_klrpn.apis.head_places import check_head_places
from mmdet_klrpn.datasets.training_classes import check_training_classes
from mmdet_klrpn.models import KLRPNHead

from .checkpoint_file import newest_sound, what_is_wrong

# Entries of a checkpoint that mmengine reads to resume.
_OF_A_TRAINING = ('meta', 'epoch', 'iter', 'message_hub')


@RUNNERS.register_module()
class CheckpointRunner(Runner):
    """Runner that names checkpoints that are broken or of another model.

    It also names training classes that no annotation has, and a KLRPNHead in
    the place of another head.

    Otherwise it behaves as mmengine's Runner. The tools of this package use
    it; for mmdet's own commands, set ``runner_type = 'CheckpointRunner'`` in
    the config.
    """

    def build_model(self, model: Union[nn.Module, dict]) -> nn.Module:
        """Build the model, after checking the place of each KLRPNHead.

        Raises:
            ValueError: If one is not a detector's RPN head.
        """
        check_head_places(model)
        return super().build_model(model)

    def build_train_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Build the training loop, and check that each class has annotations.

        Raises:
            ValueError: If no annotation file has a class of the training set.
        """
        try:
            loop = super().build_train_loop(loop)
        except ValueError:  # such as of mmengine where no image has an object
            if isinstance(self._train_dataloader, dict):
                check_training_classes(self._train_dataloader['dataset'])
            raise
        check_training_classes(loop.dataloader.dataset)
        return loop

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        """Load weights, as in mmengine.

        Raises:
            RuntimeError: If the file is not a checkpoint, or none of its
                weights fits; to resume, if not all fit; to test, if it has an
                ordinary RPN where this model has KL-RPN, or vice versa.
        """
        before = _versions(self.model)
        try:
            with watch_heads(self.model) as loaded:
                checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        except Exception as error:
            reason = what_is_wrong(filename)
            if reason is None:
                raise
            raise RuntimeError(
                f'{self._described(filename)} {reason}: '
                f'{self._remedy(filename)}'
            ) from error
        after = _versions(self.model)
        kept = [name for name in before if after[name] == before[name]]
        if kept:
            self._report(filename, checkpoint, kept, len(before))
        self._report_heads(filename, checkpoint, loaded)
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resume a training, as in mmengine.

        Raises:
            RuntimeError: As :meth:`load_checkpoint`, or if the checkpoint
                holds only weights.
        """
        try:
            super().resume(filename, *args, **kwargs)
        except KeyError as error:
            if error.args[0] not in _OF_A_TRAINING:
                raise
            raise RuntimeError(
                f'{filename} has no {error}, for it holds weights but no '
                'training to go on with: start from it by '
                f'--cfg-options load_from={filename}, without --resume'
            ) from error

    def _described(self, filename: str) -> str:
        """Name the file, and what named it if not the user."""
        if self._resume and self._load_from is None:
            source = Path(self.work_dir) / 'last_checkpoint'
            return f'{filename or "nothing"}, which {source} names,'
        return filename

    def _remedy(self, filename: str) -> str:
        if not self._resume:
            return 'give the path of a whole checkpoint, or fetch it again'
        folder = Path(filename).parent
        if self._load_from is None:
            folder = Path(self.work_dir)  # it may have been moved
        older = newest_sound(folder, filename)
        if older is None:
            return f'{folder} has no other: train anew, without --resume'
        return f'go on from the newest that is whole, by --resume {older}'

    def _report(
        self, filename: str, checkpoint: dict, kept: List[str], total: int
    ) -> None:
        """Raise or warn about parameters that were ``kept``, not loaded."""
        model = type(self.model).__name__
        if len(kept) == total:
            found = list(checkpoint.get('state_dict', checkpoint))
            raise RuntimeError(
                f'{filename} holds another model: of its {len(found)} entries '
                f'({_some(found)}) none fits the {total} parameters of this '
                f'{model} ({_some(kept)}). Give the config it was trained '
                'with; weights of a backbone alone go into '
                'model.backbone.init_cfg=dict(type="Pretrained", '
                'checkpoint=...)'
            )
        text = (
            f'{filename} fits this {model} in part: {len(kept)} of its {total}'
            f' parameters are not in it, or of another shape ({_some(kept)})'
        )
        if self._resume:
            raise RuntimeError(
                f'{text}: resume with the config of that training, or start '
                f'from its weights by load_from, without --resume'
            )
        self.logger.warning(
            f'{text}. They keep their initial values, as fine-tuning for '
            'other classes wants it; to test, give the config it was trained '
            'with'
        )

    def _report_heads(
        self, filename: str, checkpoint: dict, loaded: List[LoadedHead]
    ) -> None:
        """Raise in a test, warn in training, about another head's weights."""
        loops = (self._val_loop, self._test_loop)
        tests = any(isinstance(loop, BaseLoop) for loop in loops)
        trains = isinstance(self._train_loop, BaseLoop)
        for head, reason in wrong_heads(loaded, checkpoint):
            if tests and not trains:
                raise RuntimeError(f'{filename}: {reason}')
            if not isinstance(head, KLRPNHead):  # which has said so itself
                self.logger.warning(f'{filename}: {reason}')


def _versions(model: nn.Module) -> Dict[str, int]:
    """Count writes to each parameter, which shows what was loaded.

    Names do not show it: some modules rename or reshape weights.
    """
    return {name: x._version for name, x in model.named_parameters()}


def _some(names: List[str]) -> str:
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
