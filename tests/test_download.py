"""Archives: found, downloaded from a local server, resumed, checked, unpacked, refused."""

import hashlib
import io
import socket
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlperf_tiny import download, keyword_data
from mlperf_tiny.download import Archive, obtain, unpack
from mlperf_tiny.task import DataError


def tarball(*members, mode="w:gz"):
    """A .tar.gz of (name, content) or of ready `TarInfo`s."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return stream.getvalue()


GOOD = tarball(("./yes/a.wav", bytes(range(256)) * 40), ("./validation_list.txt", b"yes/a.wav\n"))


class Server:
    """Serves one body; `cuts` are the lengths after which the next connections break off."""

    def __init__(self):
        self.body, self.cuts, self.ranges, self.status, self.resumes = GOOD, [], [], 200, True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get("Range")
                outer.ranges.append(asked)
                if outer.status != 200:
                    self.send_error(outer.status)
                    return
                start = int(asked[6:-1]) if asked and outer.resumes else 0
                if start >= len(outer.body):
                    self.send_error(416)
                    return
                rest = outer.body[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(rest)))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(outer.body) - 1}/{len(outer.body)}")
                self.end_headers()
                self.wfile.write(rest[: outer.cuts.pop(0)] if outer.cuts else rest)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def archive(self, body=GOOD, **changes):
        fields = {
            "url": f"http://127.0.0.1:{self.http.server_port}/speech.tar.gz",
            "size": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "folder": "speech",
        }
        return Archive(**(fields | changes))


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_an_archive_is_downloaded_checked_and_unpacked(server, tmp_path):
    steps = []
    home = obtain([server.archive()], [tmp_path], lambda done, total: steps.append((done, total)))
    assert home == tmp_path
    assert (tmp_path / "speech" / "yes" / "a.wav").read_bytes() == bytes(range(256)) * 40
    assert [path.name for path in tmp_path.iterdir()] == ["speech"]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1] == (2 * len(GOOD), 2 * len(GOOD))


def test_a_broken_connection_is_continued(server, tmp_path):
    server.cuts = [100, 50]
    obtain([server.archive()], [tmp_path])
    assert server.ranges == [None, "bytes=100-", "bytes=150-"]
    assert (tmp_path / "speech" / "validation_list.txt").read_bytes() == b"yes/a.wav\n"


def test_a_part_of_an_earlier_run_is_continued(server, tmp_path):
    (tmp_path / "speech.tar.gz.part").write_bytes(GOOD[:77])
    obtain([server.archive()], [tmp_path])
    assert server.ranges == ["bytes=77-"]
    assert (tmp_path / "speech" / "yes").is_dir()


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path):
    server.resumes = False
    (tmp_path / "speech.tar.gz.part").write_bytes(b"other bytes")
    obtain([server.archive()], [tmp_path])
    assert (tmp_path / "speech" / "yes").is_dir()


def test_a_connection_that_brings_nothing_is_given_up_and_what_came_is_kept(server, tmp_path):
    server.cuts = [60, 0, 0, 0, 0, 0, 0]
    with pytest.raises(DataError, match=r"60 of .* bytes are kept"):
        obtain([server.archive()], [tmp_path])
    assert (tmp_path / "speech.tar.gz.part").read_bytes() == GOOD[:60]
    assert len(server.ranges) == 5


def test_a_wrong_checksum_is_refused_and_the_file_deleted(server, tmp_path):
    with pytest.raises(DataError, match="SHA-256"):
        obtain([server.archive(sha256="0" * 64)], [tmp_path])
    assert list(tmp_path.iterdir()) == []


def test_a_file_longer_than_expected_is_refused(server, tmp_path):
    server.body = GOOD + b"more" * 1000
    with pytest.raises(DataError, match="SHA-256"):
        obtain([server.archive()], [tmp_path])
    assert list(tmp_path.iterdir()) == []


def test_a_part_longer_than_the_servers_file_is_thrown_away(server, tmp_path):
    server.body = GOOD[:50]
    (tmp_path / "speech.tar.gz.part").write_bytes(GOOD[:80])
    with pytest.raises(DataError, match="50 of"):
        obtain([server.archive()], [tmp_path])
    assert (tmp_path / "speech.tar.gz.part").read_bytes() == GOOD[:50]


@pytest.mark.parametrize("status", [404, 500])
def test_a_servers_refusal_is_reported(server, tmp_path, status):
    server.status = status
    with pytest.raises(DataError, match=f"answered {status}"):
        obtain([server.archive()], [tmp_path])


def test_offline_says_what_to_fetch_from_where_and_where_to_put_it(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    archive = Archive(f"http://127.0.0.1:{port}/speech.tar.gz", 1_234, "ab" * 32, "speech")
    with pytest.raises(DataError) as error:
        obtain([archive], [tmp_path])
    assert len(error.value.problems) == 1
    assert all(
        part in error.value.hint for part in (archive.url, "1,234 bytes", "ab" * 32, str(tmp_path), "TRECX_DATA")
    )


def test_an_archive_lying_in_one_of_the_places_is_used_and_kept(tmp_path):
    (tmp_path / "given").mkdir()
    lying = tmp_path / "given" / "speech.tar.gz"
    lying.write_bytes(GOOD)
    archive = Archive("http://127.0.0.1:1/speech.tar.gz", len(GOOD), hashlib.sha256(GOOD).hexdigest(), "speech")
    assert obtain([archive], [tmp_path / "given", tmp_path / "cache"]) == tmp_path / "cache"
    assert (tmp_path / "cache" / "speech" / "yes").is_dir()
    assert lying.exists()


def test_a_lying_archive_with_other_contents_is_refused(tmp_path):
    (tmp_path / "speech.tar.gz").write_bytes(GOOD)
    archive = Archive("http://127.0.0.1:1/speech.tar.gz", len(GOOD), "0" * 64, "speech")
    with pytest.raises(DataError, match="delete it"):
        obtain([archive], [tmp_path])


def test_unpacked_folders_are_taken_as_they_are(tmp_path):
    (tmp_path / "data" / "speech").mkdir(parents=True)
    archive = Archive("http://127.0.0.1:1/speech.tar.gz", 1, "0" * 64, "speech")
    assert obtain([archive], [tmp_path / "given", tmp_path / "data", tmp_path / "cache"]) == tmp_path / "data"


def test_a_place_that_cannot_be_written_is_reported(server, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file"):
        obtain([server.archive()], [tmp_path / "file" / "data"])


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("member", "complaint"),
    [
        (("../escaped", b"x"), "leads outside"),
        (("yes/../../escaped", b"x"), "leads outside"),
        (("/escaped-from-archive", b"x"), "leads outside"),
        (("C:\\escaped", b"x"), "leads outside"),
        (special("link", tarfile.SYMTYPE, "/etc/passwd"), "link or a device"),
        (special("link", tarfile.LNKTYPE, "../escaped"), "link or a device"),
        (special("null", tarfile.CHRTYPE), "link or a device"),
        (special("pipe", tarfile.FIFOTYPE), "link or a device"),
    ],
)
def test_hostile_archives_leave_nothing(tmp_path, member, complaint):
    home = tmp_path / "home"
    home.mkdir()
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tarball(("yes/a.wav", b"fine"), member))
    with pytest.raises(DataError, match=complaint):
        unpack(path, home / "speech")
    assert list(home.iterdir()) == []
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.tar.gz", "home"]


@pytest.mark.parametrize(
    "data",
    [b"", b"no archive", GOOD[: len(GOOD) // 2], GOOD[:40], tarball(mode="w")[:300]],
    ids=["empty", "no archive", "half", "header", "half a plain tar"],
)
def test_damaged_archives_leave_nothing(tmp_path, data):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tar\.gz"):
        unpack(path, tmp_path / "speech")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


def test_usual_places_begin_with_the_named_one(monkeypatch, tmp_path):
    monkeypatch.setenv("TRECX_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = download.usual_places()
    assert places[0] == tmp_path
    assert places[-1] == tmp_path / "cache" / "trecx" / "data"


def test_fetch_takes_the_first_place_that_can_be_loaded(monkeypatch, tmp_path):
    from speech import write_corpus, write_test_set

    write_corpus(tmp_path / "speech_commands_v0.01")
    write_test_set(tmp_path / "speech_commands_test_set_v0.02")
    monkeypatch.setenv("TRECX_DATA", str(tmp_path))
    assert keyword_data.fetch() == tmp_path


def test_a_search_that_finds_nothing_names_every_place_and_what_it_lacks(monkeypatch, tmp_path):
    def locate(place):
        if place.name != "full":
            raise DataError([f"{place}: no {what}." for what in ("images", "labels")], "not this")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "usual_places", lambda: (Path("data"), tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        download.find(locate, "Expected: both.")
    places = (tmp_path / "data", tmp_path / "cache")
    assert list(caught.value.problems) == [f"{p}: no {what}." for p in places for what in ("images", "labels")]
    assert caught.value.hint == "Expected: both."
    monkeypatch.setattr(download, "usual_places", lambda: (Path("data"), Path("full"), tmp_path / "full"))
    assert download.find(locate, "") == Path("full")


def test_official_archives_are_those_of_the_publisher():
    assert [archive.folder for archive in download.SPEECH_COMMANDS] == [
        "speech_commands_v0.02",
        "speech_commands_test_set_v0.02",
    ]
    for archive in download.SPEECH_COMMANDS:
        assert archive.url.startswith("https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_")
        assert len(bytes.fromhex(archive.sha256)) == 32
