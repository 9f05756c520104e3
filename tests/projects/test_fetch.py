"""Files out of packages, with tools that stand for Debian's and pip's."""

import hashlib
import shutil
import zipfile

import fetch
import pytest
from fetch import fetch_from_debian, fetch_from_wheel

APT = """#!/bin/sh
echo "$@" >> {log}
[ "$2" = known ] || {{ echo "E: Unable to locate package $2"; exit 100; }}
touch known_1%3a2-3_all.deb
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/share/known/deep" "$3/usr/bin"
echo one > "$3/usr/share/known/one.png"
echo two > "$3/usr/share/known/deep/two.png"
echo no > "$3/usr/bin/no.png"
"""
PATTERNS = ['usr/share/known/**/*.png']


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Puts the tools on the path, and returns the file of their calls."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    log = tmp_path / 'log'
    scripts = {'apt-get': APT.format(log=log), 'dpkg-deb': DPKG}
    for name, script in scripts.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}:/usr/bin:/bin')
    return log


def files_of(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file()
    )


def test_extracts_what_is_asked_once(calls, tmp_path):
    folder = tmp_path / 'packages' / 'known'
    for _ in range(2):
        assert fetch_from_debian('known', PATTERNS, folder) == '1:2-3'
    assert files_of(tmp_path / 'packages') == [
        'known/usr/share/known/deep/two.png',
        'known/usr/share/known/one.png',
        'known/version.txt',
    ]
    assert calls.read_text() == 'download known\n'


@pytest.mark.parametrize('lost', ['version.txt', 'usr/share/known'])
def test_what_is_incomplete_is_fetched_again(calls, tmp_path, lost):
    folder = tmp_path / 'known'
    fetch_from_debian('known', PATTERNS, folder)
    whole = files_of(folder)
    (folder / lost).rename(tmp_path / 'lost')
    fetch_from_debian('known', PATTERNS, folder)
    assert files_of(folder) == whole
    assert len(calls.read_text().splitlines()) == 2


def test_an_unknown_package_comes_with_the_remedy(calls, tmp_path):
    with pytest.raises(RuntimeError, match=r'(?s)Unable to locate.*update'):
        fetch_from_debian('unknown', PATTERNS, tmp_path / 'packages' / 'x')
    assert not list((tmp_path / 'packages').iterdir())


def test_a_release_without_the_files_is_refused(calls, tmp_path):
    folder = tmp_path / 'packages' / 'known'
    with pytest.raises(RuntimeError, match=r'has no file usr/\*\.jpg'):
        fetch_from_debian('known', [*PATTERNS, 'usr/*.jpg'], folder)
    assert not list(folder.parent.iterdir())


def test_a_system_without_apt_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(RuntimeError, match='apt-get is not on this system'):
        fetch_from_debian('known', PATTERNS, tmp_path / 'known')


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """The hash of a wheel that pip would download, and pip's calls."""
    path = tmp_path / 'package-1-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('package/file.txt', 'content')
    calls = []

    def download(command, folder):
        calls.append(command[-1])
        shutil.copy(path, folder)

    monkeypatch.setattr(fetch, '_run', download)
    return hashlib.sha256(path.read_bytes()).hexdigest(), calls


def test_extracts_from_a_wheel_once(wheel, tmp_path):
    sha256, calls = wheel
    out = tmp_path / 'folder' / 'out.txt'
    for _ in range(2):
        fetch_from_wheel('package==1', sha256, {'package/file.txt': out})
    assert out.read_text() == 'content'
    assert calls == ['package==1']
    assert [path.name for path in out.parent.iterdir()] == ['out.txt']


def test_another_wheel_is_refused(wheel, tmp_path):
    out = tmp_path / 'out.txt'
    with pytest.raises(RuntimeError, match='expected 0000'):
        fetch_from_wheel('package==1', '0000', {'package/file.txt': out})
    assert not out.exists()


def test_a_failed_download_shows_what_pip_says(tmp_path):
    with pytest.raises(RuntimeError, match=r'(?s)pip download.*no/such'):
        fetch_from_wheel('no/such==1', '0', {'x': tmp_path / 'x'})
