import hashlib
import os

import pytest

from trecx import files
from trecx.errors import TrecxError


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "chosen.json"
    files.write_json(path, {"limit": 1})
    full = r"chosen\.json cannot be written: No space left"
    with pytest.raises(TrecxError, match=full), files.whole(path) as partial:
        partial.write_text("half")
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyboardInterrupt), files.whole(path) as partial:
        partial.write_text("half")
        assert path.read_text() == '{\n  "limit": 1\n}\n'
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to(path.with_name("another"))])
def test_what_lies_where_it_is_written_is_not_written_into(tmp_path, plant):
    (tmp_path / "another").write_text("of somebody")
    with files.whole(tmp_path / "m.npz") as partial:
        partial.touch()
    plant(partial)
    files.write_bytes(tmp_path / "m.npz", b"new")
    assert (tmp_path / "m.npz").read_bytes() == b"new" and (tmp_path / "another").read_text() == "of somebody"


def test_the_hash_is_of_the_whole_content(tmp_path):
    content = bytes(range(256)) * 5000
    files.write_bytes(tmp_path / "m", content)
    assert files.sha256(tmp_path / "m") == hashlib.sha256(content).hexdigest()
