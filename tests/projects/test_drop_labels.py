"""Objects left unlabelled, of a COCO file."""

import json

import drop_labels as tool
import pytest


def dataset(count, **annotation):
    return dict(
        images=[dict(id=1)],
        categories=[dict(id=7, name='fish'), dict(id=9, name='shark')],
        annotations=[
            dict(id=i, image_id=1, category_id=7, **annotation)
            for i in range(count)
        ],
    )


def test_the_share_is_kept_and_nothing_else_changes():
    full = dataset(4000)
    rest = tool.drop_labels(full, 0.3)
    # Four standard deviations of a binomial.
    assert len(rest['annotations']) == pytest.approx(1200, abs=116)
    assert all(kept in full['annotations'] for kept in rest['annotations'])
    assert rest['images'] == full['images']
    assert rest['categories'] == full['categories']
    assert len(full['annotations']) == 4000


def test_the_seed_alone_decides():
    full = dataset(100)
    assert tool.drop_labels(full, 0.5, seed=1) == tool.drop_labels(
        full, 0.5, seed=1
    )
    assert tool.drop_labels(full, 0.5, seed=1) != tool.drop_labels(
        full, 0.5, seed=2
    )
    assert tool.drop_labels(full, 1.0) == full


def test_what_more_labels_keep_holds_what_fewer_do():
    full = dataset(100)
    few, many = (
        {kept['id'] for kept in tool.drop_labels(full, keep)['annotations']}
        for keep in (0.3, 0.6)
    )
    assert few < many


def test_regions_to_ignore_stay():
    crowd = dataset(50, iscrowd=1)
    assert tool.drop_labels(crowd, 0.01) == crowd


def two_classes(count):
    """Every third object is a shark, every ninth a region of sharks."""
    full = dataset(count)
    for shark in full['annotations'][::3]:
        shark.update(category_id=9, iscrowd=int(shark['id'] % 9 == 0))
    return full


def test_whole_classes_are_left_unlabelled():
    full = two_classes(90)
    rest = tool.drop_labels(full, without=['shark'])
    assert [kept['id'] for kept in rest['annotations']] == [
        i for i in range(90) if i % 3
    ]
    assert rest['categories'] == full['categories']
    # The others keep the labels that they have with every class.
    half = tool.drop_labels(full, 0.5)['annotations']
    both = tool.drop_labels(full, 0.5, ['shark'])['annotations']
    assert both == [kept for kept in half if kept['category_id'] == 7]


def test_unknown_classes_are_refused():
    message = '--without names cod, but the classes are fish, shark'
    with pytest.raises(ValueError, match=message):
        tool.drop_labels(dataset(3), without=['cod', 'shark'])
    with pytest.raises(ValueError, match=r'none of 3 objects: .* fewer class'):
        tool.drop_labels(dataset(3), without=['fish'])


@pytest.mark.parametrize('keep', [0.0, -0.5, 1.5, float('nan')])
def test_a_share_out_of_range_is_refused(keep):
    with pytest.raises(ValueError, match=r'--keep must be in \(0, 1\]'):
        tool.drop_labels(dataset(3), keep)


def test_nothing_left_is_refused():
    with pytest.raises(ValueError, match='leaves none of 3 objects'):
        tool.drop_labels(dataset(3), 1e-6)
    with pytest.raises(ValueError, match='leaves none of 0 objects'):
        tool.drop_labels(dict(images=[], categories=[]), 0.5)


def test_from_file_to_file(tmp_path, monkeypatch, capsys):
    source, out = tmp_path / 'train.json', tmp_path / 'half.json'
    source.write_text(json.dumps(two_classes(100)))
    argv = ['drop_labels.py', str(source), str(out), '--keep', '0.5']
    monkeypatch.setattr('sys.argv', [*argv, '--without', 'shark'])
    tool.main()
    expected = tool.drop_labels(two_classes(100), 0.5, ['shark'])
    assert json.loads(out.read_text()) == expected
    count = len(expected['annotations'])
    assert f'{count} of 100 objects' in capsys.readouterr().out


def test_the_labels_that_are_read_are_not_overwritten(tmp_path, monkeypatch):
    source = tmp_path / 'all.json'
    source.write_text(json.dumps(dataset(20)))
    words = ['drop_labels.py', str(source), str(source), '--keep', '0.5']
    monkeypatch.setattr('sys.argv', words)
    with pytest.raises(SystemExit, match=f'{source} would overwrite'):
        tool.main()
    assert json.loads(source.read_text()) == dataset(20)
