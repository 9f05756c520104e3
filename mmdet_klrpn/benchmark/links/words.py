"""What each link is called, means, and how its figures are printed."""

from typing import NamedTuple, Optional

from ..quantities import DASH


class Link(NamedTuple):
    """A link between proposals and detections.

    Attributes:
        name (str): Key of its figures.
        title (str): Heading of its table.
        meaning (str): What its figures are.
        scale (float): Of a printed figure.
        digits (int): Behind its point.
    """

    name: str
    title: str
    meaning: str
    scale: float = 100
    digits: int = 1

    def show(self, value: Optional[float], sign: str = '') -> str:
        """A figure as it is printed; a dash if there is none."""
        if value is None:
            return DASH
        return f'{value * self.scale:{sign}.{self.digits}f}'


DEFINITIONS = """Figures of a detector are means over its seeds. A difference
is the mean over the seeds that both detectors have; in brackets the 95%
interval of Student's t of the differences paired by seed, in bold if it
excludes 0. With so many differences, one in twenty would exclude 0 by chance.

The size of an object is the square root of its box's area, in pixels of the
image; Q1 to Q4 are the quarters of the test objects by size, whose edges hold
for training objects too. A proposal is on the object of which it has the
highest IoU, if that is 0.5 or more. Crowds are no objects. The proposals are
those that the detector gives its second stage."""

LINKS = (
    Link(
        'recall',
        '1. Recall of the proposals',
        'AR@n in points: the share of objects that the n best proposals of '
        'their image recall, matched as COCO does whatever the class, a mean '
        'over IoU 0.5 to 0.95. Of all objects it is the usual AR; the mean of '
        'classes weights objects as AP does.',
    ),
    Link(
        'rank',
        "2. Rank of an object's first proposal",
        'Median over objects of the rank of the best proposal with such an '
        'IoU with the object, 1 being the best of the image; objects that no '
        'proposal finds are ranked last, and a dash is where they are half '
        'or more.',
        scale=1,
    ),
    Link(
        'missed',
        'Objects that no proposal finds',
        'Share, in %, of objects of which no proposal has such an IoU.',
    ),
    Link(
        'claims',
        '3. What the best proposals are on',
        'Of the best 100 proposals of an image, a mean over images, how many '
        'are the first on their object, how many are on an object that a '
        'better proposal is on already, and how many are on none.',
        scale=1,
    ),
    Link(
        'duplicates',
        'Duplicates on an object',
        'Of the same proposals, a mean over objects: how many more than one '
        'are on an object.',
        scale=1,
        digits=2,
    ),
    Link(
        'precision',
        '4. Average precision, with one part made perfect',
        'AP in points, after NMS and for as many detections as the detector '
        'makes. *Oracle classification*: each proposal whose refined box has '
        'an IoU of 0.5 or more with an object is detected as of its class, '
        'with the IoU as its score; no other is. *Oracle boxes*: the refined '
        'box of each proposal that has itself an IoU of 0.5 or more with an '
        "object is replaced by the object's box; scores are the detector's. "
        "*Oracle proposals*: the objects' boxes are the proposals, and the "
        'second stage does the rest. *AP by objects* is the mean of the '
        "classes' APs by their numbers of objects; of a size quarter, objects "
        'and detections of other sizes are ignored as in AP S, M and L.',
    ),
    Link(
        'objectness',
        "5. Average precision with the proposals' scores",
        'AP of the same weights if the score of a detection is the '
        "second stage's times a power of its proposal's score, what "
        '`ObjectnessRoIHead` does, made of all proposals or of the best 100 '
        "or 10. A power of 0 leaves the second stage's score alone.",
    ),
    Link(
        'samples',
        '6. What trains the RoI head',
        'Training images seen without augmentation by the trained detector, '
        "with train_cfg's number of proposals, its assigner and its sampler. "
        'Of the proposals assigned to an object the sampler draws some, and '
        "adds the objects' own boxes before, where it is told to. Means over "
        'images.',
        scale=1,
    ),
    Link(
        'overlap',
        'IoU of positive proposals',
        'In points, with the object that they are assigned to; without the '
        'added boxes.',
    ),
    Link(
        'shares',
        'Shares of classes and sizes among positives',
        'In %: of the objects, of the positives, and of those positives that '
        'are proposals.',
    ),
    Link(
        'untaught',
        'Objects that no positive proposal is of',
        'In %: the RoI head learns them from their own boxes alone, if at '
        'all.',
    ),
)
