"""The gallery: which images, and what its captions count."""

import sys
from types import SimpleNamespace

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


def test_draws_below_the_mark_of_the_page(gallery, tmp_path, monkeypatch):
    page = tmp_path / 'gallery.md'
    page.write_text(f'# Mine\n\n{gallery.MARK}\nold')
    loader = dict(test_dataloader=SimpleNamespace(dataset={}))
    model = SimpleNamespace(cfg=SimpleNamespace(**loader))
    monkeypatch.setattr(gallery, 'load_detector', lambda *_: model)
    monkeypatch.setattr(gallery.DATASETS, 'build', lambda _: [{}] * 9)
    monkeypatch.setattr(gallery, 'crowded', lambda _: [7, 8, 6, 5])
    monkeypatch.setattr(gallery, 'draw', lambda *_: 'Seen.')
    words = ['gallery.py', '--docs', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', words)
    for _ in range(2):  # the second time nothing changes
        gallery.main()
        text = page.read_text()
        assert text.startswith(f'# Mine\n\n{gallery.MARK}\n## A feature')
        assert 'old' not in text
        assert text.count('![Seen.](images/gallery/') == 4


def test_the_committed_page_shows_the_committed_pictures(gallery):
    page = (gallery.ROOT / 'docs' / 'gallery.md').read_text()
    page = page.partition(gallery.MARK)[2]
    pictures = list((gallery.ROOT / 'docs/images/gallery').iterdir())
    assert len(pictures) == sum(count for *_, count in gallery.PAIRS)
    assert all(f'(images/gallery/{path.name})' in page for path in pictures)
    assert sum(path.stat().st_size for path in pictures) < 1e6
