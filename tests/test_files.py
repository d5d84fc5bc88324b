"""Files are either whole or not there."""

import os
from pathlib import Path

import pytest

from minicnn import files
from minicnn.files import atomic_folder, atomic_write, locked, remove_leftovers


class TroubleError(Exception):
    """What goes wrong in the middle of a write."""


def write_half(target: Path, error: type[BaseException]) -> None:
    with atomic_write(target) as temporary:
        temporary.write_text("ha")
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_the_old_file_stays_as_it_was_until_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [TroubleError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_half_written(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error):
        write_half(target, error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_exception_before_anything_is_written_is_not_hidden_by_another(tmp_path: Path) -> None:
    with pytest.raises(TroubleError), atomic_write(tmp_path / "a.txt"):
        raise TroubleError
    assert names(tmp_path) == []


def test_a_rename_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "a.txt"
    target.write_text("old")
    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OSError, match="No space"), atomic_write(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(OSError, match="No space") as full, atomic_write(target):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError) as nothing, atomic_write(target):
        pass
    with pytest.raises(FileNotFoundError) as other, atomic_write(target):
        (tmp_path / "other.txt").read_bytes()
    names = [error.value.filename for error in (full, nothing, other)]
    assert names == [str(target), str(target), str(tmp_path / "other.txt")]


def test_a_block_that_writes_nothing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_the_file_is_on_disk_before_it_gets_its_name_and_the_name_before_the_block_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    replace, fsync = os.replace, os.fsync

    def seen_replace(source: Path, target: Path) -> None:
        events.append(("rename", Path(target).name))
        replace(source, target)

    def seen_fsync(descriptor: int) -> None:
        is_folder = os.path.samestat(os.fstat(descriptor), tmp_path.stat())
        events.append(("fsync", "the folder" if is_folder else "the file"))
        fsync(descriptor)

    monkeypatch.setattr(files.os, "replace", seen_replace)
    monkeypatch.setattr(files.os, "fsync", seen_fsync)
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert events == []
    assert events == [("fsync", "the file"), ("rename", "a.txt"), ("fsync", "the folder")]


@pytest.mark.parametrize("path", ["a.txt", "./a.txt", "inside/a.txt"])
def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path)
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert (tmp_path / path).read_text() == "new"


def test_the_temporary_file_is_in_the_same_folder_so_that_a_rename_is_enough(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), atomic_write(tmp_path / "nowhere" / "a.txt") as temporary:
        temporary.write_text("new")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode


def test_leftovers_of_killed_programs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        left = temporary
    own = ["a.txt", ".hidden", ".hidden.tmp", "b.1.tmp"]
    for path in [left, *(tmp_path / name for name in own)]:
        path.write_text("half")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(own)


# Locks


def test_a_folder_is_locked_until_the_block_ends(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(BlockingIOError), locked(tmp_path):
            pass
        assert names(tmp_path) == []
    with locked(tmp_path):
        pass


def test_where_a_file_system_knows_no_locks_everybody_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    with locked(tmp_path), locked(tmp_path):
        pass


# Folders


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "above" / "new") as building:
        (building / "a.txt").write_text("new")
        assert names(tmp_path / "above") == [building.name]
    assert names(tmp_path / "above") == ["new"]
    assert names(tmp_path / "above" / "new") == ["a.txt"]


def test_a_full_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old.txt").touch()
    with atomic_folder(tmp_path / "a") as building:
        (building / "new.txt").touch()
        assert names(tmp_path / "a") == ["old.txt"]
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["new.txt"]


def test_there_is_no_moment_without_the_old_folder_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the folder was moved away")

    (tmp_path / "a").mkdir()
    monkeypatch.setattr(files.os, "replace", refuse)
    with atomic_folder(tmp_path / "a") as building:
        (building / "new.txt").touch()
    assert names(tmp_path / "a") == ["new.txt"]


def test_where_folders_cannot_be_exchanged_the_old_one_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: None)
    for content in ("old.txt", "new.txt"):
        with atomic_folder(tmp_path / "a") as building:
            (building / content).touch()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["new.txt"]


def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old.txt").touch()
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "a") as building:
        (building / "deep" / "new.txt").touch()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["old.txt"]
