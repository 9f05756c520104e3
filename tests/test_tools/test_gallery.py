"""The gallery: which images, and what its captions count."""

import pytest
import torch
from conftest import load_tool


@pytest.fixture(scope='module')
def gallery():
    return load_tool('tools/analysis_tools/gallery.py')


def test_counts_objects_that_some_proposal_overlaps_by_half(gallery):
    truth = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30]])
    boxes = torch.tensor(
        [
            [0.0, 0, 10, 10],
            [0, 0, 10, 9],  # the same object again
            [20, 0, 30, 5],  # an IoU of exactly a half
            [0, 20, 10, 24.9],  # and of less
        ]
    )
    assert gallery.found(boxes, truth) == 2
    assert gallery.found(boxes[:0], truth) == 0


def test_takes_the_images_of_the_most_objects(gallery):
    class Dataset:
        numbers = (2, 5, 0, 5)

        def __len__(self):
            return len(self.numbers)

        def get_data_info(self, i):
            return dict(instances=[{}] * self.numbers[i])

    assert gallery.crowded(Dataset()) == [1, 3, 0, 2]


def test_the_committed_page_shows_the_committed_pictures(gallery):
    page = (gallery.ROOT / 'docs' / 'gallery.md').read_text()
    assert page.startswith(gallery.INTRODUCTION)
    pictures = list((gallery.ROOT / 'docs/images/gallery').iterdir())
    assert len(pictures) == sum(count for *_, count in gallery.PAIRS)
    assert all(f'(images/gallery/{path.name})' in page for path in pictures)
    assert sum(path.stat().st_size for path in pictures) < 1e6
