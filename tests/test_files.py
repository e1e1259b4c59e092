"""Files of a run: whole, and for the eyes of the user who made them."""

from __future__ import annotations

import stat

from toolkit.files import make_folder, write_whole


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_new_files_and_folders_are_the_users_alone(tmp_path):
    """A folder that is there and a file that is replaced keep their modes."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "a" / "b"
    make_folder(folder)
    make_folder(folder)
    assert [mode(tmp_path), mode(folder.parent), mode(folder)] == [0o755, 0o700, 0o700]
    path = folder / "summary.json"
    write_whole(path, lambda temporary: temporary.write_text("1"))
    assert mode(path) == 0o600
    path.chmod(0o664)
    write_whole(path, lambda temporary: temporary.write_text("2"))
    assert (mode(path), path.read_text(), len([*folder.iterdir()])) == (0o664, "2", 1)
