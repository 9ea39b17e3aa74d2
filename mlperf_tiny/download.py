"""The official archives of Speech Commands: looked for, downloaded, checked and unpacked."""

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlperf_tiny.feature_cache import cache_folder
from mlperf_tiny.task import DataError

Progress = Callable[[int, int], None]

_CHUNK = 1 << 20
_TIMEOUT_S = 30
_ATTEMPTS = 4  # connections in a row that bring nothing new


@dataclass(frozen=True)
class Archive:
    """A publisher's .tar.gz: where it is, its size in bytes and SHA-256, the folder that it is unpacked to."""

    url: str
    size: int
    sha256: str
    folder: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


# Sizes and checksums as TensorFlow Datasets records them (url_checksums/speech_commands.txt). The publisher's host
# download.tensorflow.org is this bucket; this name serves it by https.
SPEECH_COMMANDS = (
    Archive(
        "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        2_428_923_189,
        "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        "speech_commands_v0.02",
    ),
    Archive(
        "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz",
        112_563_277,
        "cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
        "speech_commands_test_set_v0.02",
    ),
)

HINT = (
    "Expected in one folder: "
    + " and ".join(f"{archive.folder}/ (unpacked from {archive.url})" for archive in SPEECH_COMMANDS)
    + "."
)


def _silent(count: int) -> None:
    """Report nothing."""


def usual_places() -> tuple[Path, ...]:
    """Return the folders where data is looked for: `$TRECX_DATA`, `data` here, `data` in the user's cache folder."""
    given = os.environ.get("TRECX_DATA", "")
    return (*([Path(given)] if given else []), Path("data"), cache_folder() / "data")


def find(locate: Callable[[Path], object], hint: str) -> Path:
    """Return the first of the usual places where `locate` misses nothing, that is, raises no `DataError`.

    Raises `DataError` with what is missing in each of them.
    """
    problems: list[str] = []
    for place in usual_places():
        try:
            locate(place.absolute())
            return place
        except DataError as error:
            problems += error.problems
    raise DataError(problems, hint)


def obtain(
    archives: Sequence[Archive] = SPEECH_COMMANDS,
    places: Sequence[Path] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return a folder that holds every archive unpacked.

    The first place that has them all is taken as it is. Otherwise what is missing is unpacked, from an archive lying in
    one of the places or from a download, into the place that has most, or the last one. `progress` counts bytes.
    Raises `DataError`; a download that broke off goes on where it stopped.
    """
    places = usual_places() if places is None else places
    home = max(reversed(places), key=lambda place: sum((place / archive.folder).is_dir() for archive in archives))
    missing = [archive for archive in archives if not (home / archive.folder).is_dir()]
    # Every byte counts twice: once downloaded or checked, once unpacked.
    total = 2 * sum(archive.size for archive in missing)
    for k, archive in enumerate(missing):
        step = _steps(progress, 2 * sum(earlier.size for earlier in missing[:k]), total)
        try:
            home.mkdir(parents=True, exist_ok=True)
            lying = _lying(archive, places, step)
            path = lying or download(archive, home, step)
            unpack(path, home / archive.folder, _steps(step, archive.size))
            if not lying:
                path.unlink()  # large, and its contents are there now; a file of the user's stays
        except OSError as error:
            problem = f"{error.filename or home}: {error.strerror or error}."
            raise DataError(problem, _how(missing, home)) from None
        except DataError as error:
            raise DataError(error.problems, _how(missing, home)) from None
    return home


def download(archive: Archive, folder: Path, step: Callable[[int], object] = _silent) -> Path:
    """Return the path of a downloaded archive whose size and SHA-256 are right.

    The bytes gather in `<name>.part`, which a later call continues. Raises `DataError`.
    """
    part = folder / f"{archive.name}.part"
    have = most = _size(part)
    idle = 0
    while have < archive.size:
        reason = _continue(archive, part, have, step)
        have = _size(part)
        idle = 0 if have > most else idle + 1
        most = max(most, have)
        if have < archive.size and (reason.final or idle == _ATTEMPTS):
            kept = f" {have:,} of {archive.size:,} bytes are kept and the next run goes on from there." if have else ""
            raise DataError(f"{archive.url}: {reason.text}.{kept}")
    found = _sha256(part, _silent)
    if found != archive.sha256:
        part.unlink()
        raise DataError(f"{archive.url}: the SHA-256 is {found}, expected {archive.sha256}; the file was deleted.")
    path = folder / archive.name
    part.replace(path)
    return path


def unpack(path: Path, folder: Path, step: Callable[[int], object] = _silent) -> None:
    """Unpack a .tar.gz of plain files into a new folder, which appears when it is complete.

    Raises `DataError` for an archive with links, devices or paths that lead outside, before it is unpacked any
    further, and for a damaged one.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r|gz") as tar:
            for member in tar:
                # Written here and not by tarfile: filter="data" is missing from Python 3.11.0 to 3.11.3.
                _write(tar, member, temporary, path)
                step(raw.tell())
        temporary.mkdir(exist_ok=True)
        temporary.replace(folder)
    except (tarfile.TarError, EOFError, ValueError, ArithmeticError) as error:
        raise DataError(f"{path}: a damaged archive ({error}).") from None
    except OSError as error:
        raise DataError(f"{error.filename or path}: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass(frozen=True)
class _Reason:
    """Why a connection ended; a final one is not tried again."""

    text: str
    final: bool


def _continue(archive: Archive, part: Path, have: int, step: Callable[[int], object]) -> _Reason:
    """Append to the part what one connection brings."""
    request = urllib.request.Request(archive.url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
            continues = reply.status == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            with part.open("ab" if continues else "wb") as file:
                have = have if continues else 0
                # One byte more than expected is enough to know that the file is another one.
                while data := reply.read(min(_CHUNK, archive.size + 1 - have)):
                    file.write(data)
                    have += len(data)
                    step(have)
        return _Reason("the connection was closed early", final=False)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the server's file: begin again
            part.unlink(missing_ok=True)
        return _Reason(f"the server answered {error.code} {error.reason}", final=error.code in (401, 403, 404, 410))
    except urllib.error.URLError as error:
        return _Reason(f"not reachable ({getattr(error.reason, 'strerror', None) or error.reason})", final=True)
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        return _Reason(f"the connection broke ({error or type(error).__name__})", final=False)


def _steps(progress: Callable[..., object] | None, before: int, *total: int) -> Callable[[int], object]:
    """Return what reports a count of bytes on top of those before it."""
    return (lambda count: progress(before + count, *total)) if progress else _silent


def _lying(archive: Archive, places: Sequence[Path], step: Callable[[int], object]) -> Path | None:
    """Return the archive in one of the places; raises `DataError` for a file of that name with other contents."""
    for place in places:
        path = place / archive.name
        if path.is_file():
            size = path.stat().st_size
            if size != archive.size:
                raise DataError(f"{path}: {size:,} bytes, expected {archive.size:,}; delete or complete it.")
            if _sha256(path, step) != archive.sha256:
                raise DataError(f"{path}: the SHA-256 is not {archive.sha256}; delete it.")
            return path
    return None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    """Write one member below the folder; raises `DataError` for anything but plain files and folders inside it."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or set(member.name) & set("\\:\0"):
        raise DataError(f"{archive}: {member.name!r} leads outside the archive's folder.")
    target = folder.joinpath(*name.parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise DataError(f"{archive}: {member.name!r} is a link or a device, not a plain file.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)


def _size(path: Path) -> int:
    """Return the size of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path, step: Callable[[int], object]) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            done += len(data)
            step(done)
    return digest.hexdigest()


def _how(archives: Sequence[Archive], folder: Path) -> str:
    """Return what to fetch, from where, and where to put it."""
    lines = [f"  {archive.url} ({archive.size:,} bytes, SHA-256 {archive.sha256})" for archive in archives]
    return "\n".join(
        [
            "Without a network, fetch on another machine:",
            *lines,
            f"and put the files, as they are, into {folder.absolute()} or into the folder that TRECX_DATA names.",
        ]
    )
