"""Names of outputs that are called after their inputs."""

import os

import pytest

from mmdet_klrpn.utils import check_output, distinct_names


@pytest.mark.parametrize(
    ('paths', 'names'),
    [
        (['a/1.jpg', 'a/2.jpg'], ['1', '2']),
        (['a/1.jpg', 'b/1.png', 'b/2.jpg'], ['1.jpg', '1.png', '2']),
        (['a/1.jpg', 'b/1.jpg'], ['a_1.jpg', 'b_1.jpg']),
        (['x/a/1.jpg', 'y/a/1.jpg'], ['x_a_1.jpg', 'y_a_1.jpg']),
        (['a/1.jpg', './a/1.jpg', 'b/../a/1.jpg'], ['1', '1', '1']),
        # The stem of the one is the name of the other.
        (['1.jpg', '1.jpg.png'], ['1', '1.jpg.png']),
        (['s3://one/1.jpg', 's3://two/1.jpg'], ['one_1.jpg', 'two_1.jpg']),
        (['17', '18'], ['17', '18']),
        (['v1.2.jpg', 'größe 图.jpg'], ['v1.2', 'größe_图']),
        ([], []),
    ],
)
def test_a_name_is_as_much_of_the_path_as_it_takes(paths, names):
    assert distinct_names(paths) == names


def test_no_two_files_have_one_name():
    long = 'x' * 300
    stems = ['a b', 'a_b', 'a%b', 'a?b', 'a%sb', long, f'0{long}', '日' * 200]
    stems += ['caf\udce9', 'café', 'cafe\u0301', '.', '...', '-', 'a\\b']
    folders = ['x', 'y', 'x y', 'x_y', 'x/y', 'y/x', long, f'0{long}', '/']
    suffixes = ['', '.jpg', '.png', '.jpg.png', '.a b']
    paths = [
        os.path.join(folder, stem + suffix)
        for folder in folders
        for stem in stems
        for suffix in suffixes
    ]
    files = {os.path.abspath(path) for path in paths}
    names = distinct_names(paths)
    assert len(set(names)) == len(files)
    # Those that were there before keep theirs when the rest is named alike.
    assert distinct_names(paths) == names
    for name in names:
        assert len(f'proposals_{name}_1000000000.png'.encode()) <= 255
        assert not set(name) & set('/ %?\\')


def test_a_name_can_be_a_file(tmp_path):
    names = distinct_names(['日' * 300, 'a/%s.jpg', 'caf\udce9'])
    for name in names:
        (tmp_path / f'proposals_{name}_1000000000.png').touch()
    assert len(list(tmp_path.iterdir())) == 3


def test_an_output_that_is_read_is_refused(tmp_path):
    source, other = tmp_path / 'source.json', tmp_path / 'other.json'
    source.touch()
    other.touch()
    link = tmp_path / 'link.json'
    link.symlink_to(source)
    (tmp_path / 'folder').mkdir()
    for out in (source, link, tmp_path / 'folder' / '..' / 'source.json'):
        with pytest.raises(
            ValueError, match=r'would overwrite .*source\.json'
        ):
            check_output(out, other, None, str(source))
    check_output(other, source)
    check_output(tmp_path / 'new.json', source)
    check_output(source, 'mask-rcnn_r50_fpn_1x_coco.py', None)
