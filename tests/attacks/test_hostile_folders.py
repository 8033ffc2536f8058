"""Special files, hostile names and hostile folders: refused without waiting, listed without following."""

from __future__ import annotations

import os
import runpy
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from medpodium.scoring.kinds.segmentation.matching import match_files
from medpodium.scoring.masks import inflate
from medpodium.scoring.masks.codes import MaskCode, MaskError
from medpodium.scoring.masks.inflate import ReadLimits, open_regular
from medpodium.scoring.masks.reader import read_mask

files = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("maskfiles.py"))))
nifti, packed, voxels, refused = files.nifti, files.packed, files.voxels, files.refused
GZ, NII = files.GZ, files.NII
posix = pytest.mark.usefixtures("posix")


@posix
def test_special_files_are_refused_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # socket paths are short
    (tmp_path / "true.nii.gz").write_bytes(packed(nifti()))
    os.mkfifo("fifo.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "link.nii.gz").symlink_to("true.nii.gz")
    (tmp_path / "away.nii.gz").symlink_to("/dev/zero")
    (tmp_path / "loop.nii.gz").symlink_to("loop.nii.gz")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.nii.gz")
        refused(Path("socket.nii.gz"), MaskCode.FILE_SOCKET, "socket")
    refused(tmp_path / "fifo.nii.gz", MaskCode.FILE_FIFO, "FIFO")
    refused(tmp_path / "folder.nii.gz", MaskCode.FILE_DIRECTORY, "folder")
    refused(tmp_path / "missing.nii.gz", MaskCode.FILE_MISSING, "no such file")
    for name in ("link", "away", "loop"):
        refused(tmp_path / f"{name}.nii.gz", MaskCode.FILE_SYMLINK, "symbolic link")
    with pytest.raises(MaskError) as caught, open_regular(Path("/dev/zero")):
        pass
    assert caught.value.findings[0].code is MaskCode.FILE_DEVICE
    assert read_mask(tmp_path / "link.nii.gz", limits=ReadLimits(follow_links=True)).array.shape == (4, 5, 6)
    with pytest.raises(MaskError) as caught:
        read_mask(tmp_path / "away.nii.gz", limits=ReadLimits(follow_links=True))
    assert caught.value.findings[0].code is MaskCode.FILE_DEVICE


@posix
def test_a_file_swapped_for_a_fifo_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and opening, the file becomes something else: neither waited for nor read."""
    true_open = os.open

    def swapping(kind: Callable[[Path], None]) -> Callable[..., int]:
        def swap(path: Path, flags: int) -> int:
            path.unlink()
            kind(path)
            return true_open(path, flags)

        return swap

    for kind, code in (
        (os.mkfifo, MaskCode.FILE_FIFO),
        (lambda path: path.write_bytes(packed(nifti())), MaskCode.FILE_REPLACED),
        (lambda path: path.symlink_to("/etc/passwd"), MaskCode.FILE_UNREADABLE),
    ):
        path = tmp_path / GZ
        path.unlink(missing_ok=True)
        path.write_bytes(packed(nifti()))
        held = path.open("rb")  # keeps the inode from being reused
        monkeypatch.setattr(inflate.os, "open", swapping(kind))
        with pytest.raises(MaskError) as caught:
            read_mask(path)
        monkeypatch.undo()
        held.close()
        assert caught.value.findings[0].code is code


@posix
def test_unreadable_names_and_modes(tmp_path: Path) -> None:
    refused(tmp_path / ("x" * 300 + ".nii.gz"), MaskCode.FILE_UNREADABLE, "cannot be looked up")
    with pytest.raises(MaskError) as caught:
        read_mask(tmp_path / "a\0b.nii.gz")
    assert caught.value.findings[0].code is MaskCode.FILE_UNREADABLE
    if os.geteuid() != 0:
        path = tmp_path / GZ
        path.write_bytes(packed(nifti()))
        path.chmod(0)
        refused(path, MaskCode.FILE_UNREADABLE, "cannot be opened")


@posix
def test_a_sparse_terabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / NII
    with path.open("wb") as file:
        file.write(nifti())
        try:
            file.truncate(1 << 40)
        except OSError:
            file.truncate(5 << 30)
    refused(path, MaskCode.FILE_TOO_LARGE, "the limit is 4294967296")


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path, require: Callable[[bool, str], None]) -> None:
    path = tmp_path / "case\x1b[2J\nok.nii.gz"
    try:
        path.write_bytes(b"")
    except OSError:
        require(False, "a file system that takes control characters in names")
    with pytest.raises(MaskError) as caught:
        read_mask(path)
    text = str(caught.value.findings[0])
    assert "case\\x1b[2J\\nok" in text
    assert text.isprintable()


@posix
def test_a_hostile_folder_is_listed_without_following_it(tmp_path: Path, require: Callable[[bool, str], None]) -> None:
    folder = tmp_path / "predictions of a team, ünïcode"
    folder.mkdir()
    content = packed(nifti(voxels("u1", 1)))
    names = [
        "a.nii.gz", "A.nii.gz",  # by case
        "caf\u00e9.nii.gz", "cafe\u0301.nii.gz",  # by Unicode form
        "b.nii", "C.nii.gz", "d.nii.gz", "bad\x07bell.nii.gz", "stray.csv", ".DS_Store",
    ]  # fmt: skip
    for name in names:
        (folder / name).write_bytes(content)
    require(len(list(folder.iterdir())) == len(names), "a file system that tells names apart by case and Unicode form")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "e.nii.gz")
    with open(os.fsencode(folder) + b"/\xff\xfe.nii.gz", "wb") as file:  # noqa: PTH123
        file.write(content)
    with files.Bounded():
        paths, findings = match_files(folder, "{case}.nii.gz", ["a", "caf\u00e9", "b", "c", "d", "e", "f"])
    assert paths == {"d": folder / "d.nii.gz", "e": folder / "e.nii.gz"}
    found = {(finding.code, Path(finding.where).name): finding for finding in findings}
    name = folder.name
    assert {code for code, _ in found} == {
        MaskCode.NAME_DUPLICATE_CASE, MaskCode.NAME_DUPLICATE_UNICODE, MaskCode.NAME_OTHER_EXTENSION,
        MaskCode.CASE_MISSING, MaskCode.FILE_SYMLINK, MaskCode.FILE_EXTRA, MaskCode.NAME_CONTROL_CHARACTER,
        MaskCode.NAME_NOT_UNICODE,
    }  # fmt: skip
    assert "'A.nii.gz' and 'a.nii.gz'" in found[MaskCode.NAME_DUPLICATE_CASE, name].cause
    assert "\\u0301" in found[MaskCode.NAME_DUPLICATE_UNICODE, name].cause
    assert "'b.nii'" in found[MaskCode.NAME_OTHER_EXTENSION, "b.nii.gz"].cause
    assert "rename it to 'c.nii.gz'" in found[MaskCode.CASE_MISSING, "c.nii.gz"].fix
    assert (MaskCode.CASE_MISSING, "f.nii.gz") in found
    assert (MaskCode.FILE_EXTRA, "stray.csv") in found
    assert (MaskCode.FILE_EXTRA, ".DS_Store") not in found
    assert all(str(finding).isprintable() for finding in findings)
    refused(paths["e"], MaskCode.FILE_FIFO, "FIFO")
    assert read_mask(paths["d"]).array.any()


@posix
def test_only_the_organizer_s_own_folders_may_hold_links(tmp_path: Path) -> None:
    """Data-management tools keep references as links; a submission's links could point at the references."""
    store, folder = tmp_path / "store", tmp_path / "linked"
    (store / "a").mkdir(parents=True)
    folder.mkdir()
    (store / "a" / "mask.nii.gz").write_bytes(packed(nifti(voxels("u1", 1))))
    (folder / "a").symlink_to(store / "a")
    (folder / "up").symlink_to(folder)
    paths, findings = match_files(folder, "{case}/mask.nii.gz", ["a"])
    assert paths == {}
    assert {finding.code for finding in findings} == {MaskCode.FILE_SYMLINK, MaskCode.CASE_MISSING}
    paths, _ = match_files(folder, "{case}/mask.nii.gz", ["a"], limits=inflate.OWN_FILES)
    assert read_mask(paths["a"], limits=inflate.OWN_FILES).array.any()
