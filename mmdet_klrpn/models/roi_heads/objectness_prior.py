"""What a proposal's score says of its class, before its features are seen."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

# Scores nearer to 0 or 1 than this are taken as it.
_EPS = 1e-3
_CHANNELS = 32


class ObjectnessPrior(BaseModule):
    r"""Adds a learned function of the proposals' scores to classes' logits.

    If what a region looks like and the score s of its proposal were
    independent, given its class c, Bayes' rule would make the probability
    of the class

    .. math:: P(c \mid x, s) \propto e^{z_c(x)}\, e^{g_c(s)},

    the softmax of the sum of the bbox head's logits z and those of the prior
    g. Of s it sees the logit; a hidden layer of 32 units learns the rest, as
    what a first stage is sure of is another's doubt. Its output starts at 0:
    a detector that is given one predicts what it did.

    Args:
        num_classes (int): Classes C, without the background.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            init_cfg=[
                dict(type='Kaiming', override=dict(name='hidden')),
                dict(type='Constant', val=0, override=dict(name='output')),
            ]
        )
        self.hidden = nn.Linear(1, _CHANNELS)
        self.output = nn.Linear(_CHANNELS, num_classes + 1)

    def forward(self, cls_score: Tensor, objectness: Tensor) -> Tensor:
        """Add the prior.

        Args:
            cls_score (Tensor): (n, C + 1) logits, the last of the background.
            objectness (Tensor): (n, ) in [0, 1].

        Returns:
            Tensor: (n, C + 1) logits, in float32.
        """
        given = torch.logit(objectness.to(self.hidden.weight), _EPS)
        prior = self.output(self.hidden(given[:, None]).relu())
        # In half precision what is added would round away.
        return cls_score.float() + prior.float()
