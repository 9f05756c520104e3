"""Load weights of KL-RPN or of an ordinary RPN into KL-RPN."""

import logging
from typing import List

import torch
from mmengine.logging import print_log


class KLRPNWeightsMixin:
    """Tells a head's weights from those of an RPNHead, and loads either.

    Both have the same names, and the same shapes unless ``num_stds`` is 4.
    Inherit it before :class:`RPNHead`.
    """

    def register_std_range(self, min_std: float, neg_std: float) -> None:
        """Save the range of stds that the logits stand for with the weights.

        Args:
            min_std (float): Smallest std, in encoded offsets.
            neg_std (float): The std of a logit of 0, in encoded offsets.
        """
        self.register_buffer(
            'std_range', torch.tensor([min_std, neg_std], dtype=torch.float32)
        )

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: List[str],
        *args,
    ) -> None:
        """Repeat one logit per anchor, as RPNHead has, for each std."""
        for name, own in self.rpn_cls.named_parameters():
            key = f'{prefix}rpn_cls.{name}'
            given = state_dict.get(key)
            if given is None or len(given) * self.num_stds != len(own):
                continue
            if self.num_stds > 1:
                state_dict[key] = given.repeat_interleave(self.num_stds, dim=0)
                print_log(
                    f'{key}: the {len(given)} logits of the checkpoint, one '
                    f'per anchor, are repeated to {len(own)}, one per std',
                    logger='current',
                )
        self._check_std_range(state_dict, prefix)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, *args
        )
        if f'{prefix}std_range' in missing_keys:
            missing_keys.remove(f'{prefix}std_range')

    def _check_std_range(self, state_dict: dict, prefix: str) -> None:
        """Log that weights are of another head or another range of stds."""
        place, key = prefix.rstrip('.') or 'rpn_head', f'{prefix}std_range'
        given = state_dict.get(key)
        if given is not None:
            own = self.std_range.tolist()
            state_dict[key] = self.std_range  # the config's stays
            # Weights may have been stored in half precision.
            close = torch.allclose(
                given.to(self.std_range), self.std_range, rtol=0.01
            )
            if close:
                return
            text = (
                f'{place}: the weights were trained with [min_std, neg_std] = '
                f'{given.tolist()}, but the config has {own}: scores and '
                'bbox_stds are read in another range'
            )
        elif f'{prefix}rpn_cls.weight' in state_dict:
            text = (
                f'{place}: the weights are those of an RPNHead, or of a '
                'KLRPNHead of an older version, for they have no std_range. '
                "An RPNHead's rank proposals as they did, but bbox_stds mean "
                'nothing until they are trained'
            )
        else:
            return
        print_log(text, logger='current', level=logging.WARNING)
