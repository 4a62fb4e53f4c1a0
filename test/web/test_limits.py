"""What strangers send cannot stop the page: limits of bytes, pixels, time and memory, its own browsers only."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import time
import zlib

import bags
import cv2
import numpy as np
import pytest

from dvlt_ros.errors import DataError, InputError
from dvlt_ros.web.model_host import MAX_WAITING, ModelHost
from dvlt_ros.web.offline import claim_folder
from dvlt_ros.web.session import Session
from dvlt_ros.web.visitors.reader import Limits, Reader


def photo(height: int = 300, width: int = 400) -> bytes:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", cv2.resize(small, (width, height)))[1].tobytes()


def flat_png(height: int, width: int) -> bytes:
    """A few bytes for many pixels."""
    rows = zlib.compress(bytes(height * (1 + width)), 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


# Reading


@pytest.fixture
def folder(tmp_path):
    for index in range(3):
        (tmp_path / f"{index}.jpg").write_bytes(photo())
    return tmp_path


def test_photos_come_as_they_are_through_the_process(folder):
    photos = Reader().read(sorted(folder.iterdir()), 2)
    assert (photos.titles, photos.total) == (("0.jpg", "2.jpg"), 3)
    expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(photo(), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(photos.images[0], expected)


@pytest.mark.parametrize("size", [(3000, 4000), (8000, 6000), (2000, 400)])
def test_images_are_kept_no_larger_than_a_network_takes(tmp_path, size):
    (tmp_path / "big.png").write_bytes(flat_png(*size))
    (image,) = Reader().read([tmp_path / "big.png"], 1).images
    assert max(image.shape) == Limits().longest_edge
    assert image.shape[0] / image.shape[1] == pytest.approx(size[0] / size[1], rel=0.01)


@pytest.mark.parametrize(
    ("limits", "cause"),
    [
        (Limits(seconds=0.05), "took more than 0 s"),
        (Limits(memory_bytes=500 * 2**20), "memory"),
        (Limits(memory_bytes=10 * 2**20), "memory"),
    ],
)
def test_what_takes_too_much_is_ended(folder, limits, cause):
    (folder / "big.png").write_bytes(flat_png(10_000, 12_000))
    with pytest.raises(DataError, match=cause):
        Reader(limits).read([folder / "big.png"], 3)
    assert len(Reader().read([folder / "0.jpg"], 3)) == 1  # others go on


@pytest.mark.parametrize("count", [1, 2, 3])
def test_so_many_read_at_once_and_the_next_is_told(folder, count):
    slots = threading.Semaphore(count)
    for _ in range(count):
        slots.acquire()
    with pytest.raises(DataError, match="others are reading their photos"):
        Reader(slots=slots).read(sorted(folder.iterdir()), 3)
    slots.release()
    assert len(Reader(slots=slots).read(sorted(folder.iterdir()), 3)) == 3
    assert slots.acquire(blocking=False)  # it has been given back


def test_who_leaves_ends_what_is_read(tmp_path):
    """A pipe that nobody writes to: without its end this would last for ever."""
    records = [("/image", bags.image(10**8 * (i + 1), np.zeros((48, 64, 3), np.uint8))) for i in range(3)]
    bag = next(path for path in bags.write(tmp_path / "bag", records).iterdir() if path.suffix == ".mcap")
    reader, outcome = Reader(), []

    def read():
        try:
            outcome.append(reader.read([bag] * 1, 3))
        except DataError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    while reader._process is None and thread.is_alive():
        time.sleep(0.001)
    reader.close()
    thread.join(30)
    assert not thread.is_alive()
    assert outcome == ["whoever asked for this has left"]
    with pytest.raises(DataError, match="has left"):
        reader.read([bag], 3)


# Sessions


@pytest.fixture
def model_host():
    return ModelHost("cpu", load=lambda _: None)


def test_a_closed_session_takes_nothing(model_host, folder):
    session = Session(model_host)
    session.close()
    for act in (
        lambda: session.take(sorted(folder.iterdir()), 3),
        lambda: session.take_example(3),
        lambda: session.new_upload(["a.jpg"]),
    ):
        with pytest.raises((InputError, DataError), match="has left"):
            act()
    assert session.photos is None
    assert not session._folder.exists()


def test_photos_that_come_after_the_visitor_has_left_are_not_kept(model_host, folder):
    class Slow(Reader):
        def read(self, paths, max_views):
            photos = super().read(paths, max_views)
            session.close()
            session._folder.mkdir()  # as an upload does that goes on
            return photos

    session = Session(model_host, Slow())
    with pytest.raises(InputError, match="has left"):
        session.take(sorted(folder.iterdir()), 3)
    assert session.photos is None
    assert not session._folder.exists()


def test_only_so_many_wait_for_the_device(folder):
    started, go_on = threading.Semaphore(0), threading.Event()

    def load(*_):
        started.release()
        assert go_on.wait(60)
        raise InputError("enough")

    model_host = ModelHost("cpu", load=load)
    photos = Reader().read(sorted(folder.iterdir()), 1)
    refusals = []

    def reconstruct():
        try:
            model_host.reconstruct("dvlt", photos)
        except InputError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=reconstruct) for _ in range(1 + MAX_WAITING)]
    for thread in threads:
        thread.start()
    assert started.acquire(timeout=60)
    deadline = time.monotonic() + 60
    while model_host._places._value and time.monotonic() < deadline:
        time.sleep(0.001)
    assert model_host.is_busy
    reconstruct()  # one too many: told at once
    assert refusals == [f"{MAX_WAITING} others wait for the device: please try again in a moment"]
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(refusals) == 2 + MAX_WAITING
    assert not model_host.is_busy


# Files


@pytest.mark.parametrize("name", ["room_\udcff", "ro\udc80om", "räum"])
def test_folders_of_names_that_are_no_utf8(tmp_path, name):
    (tmp_path / "in" / name).mkdir(parents=True)
    first = claim_folder(tmp_path / "out", tmp_path / "in" / name)
    assert claim_folder(tmp_path / "out", tmp_path / "in" / name) == first
    (tmp_path / "other" / name).mkdir(parents=True)
    assert claim_folder(tmp_path / "out", tmp_path / "other" / name) != first


def test_the_command_goes_on_behind_a_path_that_is_no_utf8(tmp_path):
    import subprocess

    (tmp_path / "x\udcff").mkdir()
    command = [sys.executable, "-m", "dvlt_ros.web", "--offline", "--device", "cpu", "--output-root", tmp_path / "out"]
    done = subprocess.run(
        [*command, "--input", os.fsencode(tmp_path / "x\udcff"), tmp_path / "nothing"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "2 failed:" in done.stderr
    assert "nothing: no such file or folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_twelve_pictures_of_a_few_bytes_stay_small(tmp_path):
    for index in range(12):
        (tmp_path / f"{index}.png").write_bytes(flat_png(3000, 4500))
    assert (tmp_path / "0.png").stat().st_size < 2**16
    photos = Reader().read(sorted(tmp_path.iterdir()), 12)
    assert sum(image.nbytes for image in photos.images) < 12 * 3 * Limits().longest_edge ** 2
    kept = io.BytesIO()
    np.savez(kept, *photos.images)
    assert len(kept.getvalue()) < 2**26
