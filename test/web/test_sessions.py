"""What one visitor sends and gets: names of files, messages, and that nothing is left behind."""

from __future__ import annotations

import pytest
from wall import Wall

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import DataError, InputError
from dvlt_ros.mapping.inference.model_predictor import WindowPredictor
from dvlt_ros.web.model_host import ModelHost
from dvlt_ros.web.scene import ShowOptions
from dvlt_ros.web.session import Session

PHOTOS = sorted(DEMO_SEQUENCE.glob("*.jpg"))[:3]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "choose some images, a video or a bag"),
        ({"a.jpg": b"not a picture"}, r"a\.jpg: 13 bytes that are no image"),
        ({"walk.mp4": b"no video"}, r"walk\.mp4: not a readable video"),
        ({"a.mcap": b"no bag"}, r"a\.mcap"),
        ({"a.jpg": PHOTOS[0].read_bytes(), "walk.mp4": b""}, r"walk\.mp4: give either images, or one video"),
        ({"old.bag": b"#ROSBAG V2.0\n"}, "a bag of ROS 1"),
    ],
)
def test_bad_uploads_are_refused_by_name_and_cause(files, message, model_host):
    session = Session(model_host)
    paths = session.new_upload(list(files))
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    with pytest.raises(DataError, match=message) as refused:
        session.take(paths, 12)
    assert "upload" not in str(refused.value)
    assert session.photos is None
    session.close()
    assert not any(path.parent.exists() for path in paths)


HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "",
    ".bashrc",
    "a\0b.jpg",
    "C:\\a\\b.jpg",
    "é" * 300 + ".jpg",
    "1_a.jpg",
    "a.jpg",
    "a.jpg",
]


def test_uploads_stay_in_their_folder_whatever_a_browser_calls_them(model_host):
    session = Session(model_host)
    paths = session.new_upload(HOSTILE)
    for path in paths:
        path.write_bytes(b"x")  # takes every name
    (folder,) = {path.parent for path in paths}
    assert len(list(folder.iterdir())) == len(HOSTILE)
    assert {path.name for path in paths} >= {"passwd", "bashrc", "b.jpg", "a.jpg"}
    assert max(len(path.name.encode()) for path in paths) <= 255
    session.close()


def test_who_leaves_leaves_nothing_behind():
    """Neither what was there nor what a run that was under way still brings."""

    class Leaving(Wall):
        def predict(self, images, num_steps=None):
            if self.asked:
                session.close()
            return super().predict(images, num_steps)

    session = Session(ModelHost("cpu", load=lambda _: WindowPredictor(leaving)))
    leaving = Leaving()
    session.take(list(PHOTOS), 12)
    session.reconstruct("dvlt", 0, None)
    folder = session.file("ply").parent
    with pytest.raises(InputError, match="has left"):
        session.reconstruct("dvlt", 0, None)
    assert session.photos is None
    assert session.scene is None
    assert not folder.exists()


def test_a_scene_keeps_its_name_when_other_photos_come(model_host):
    session = Session(model_host)
    session.take(list(PHOTOS), 12)
    session.reconstruct("dvlt", 0, None)
    session.take_example(2)
    assert session.scene_name == "3_photos_dvlt"
    session.close()


def test_sliders_do_not_run_the_network_again(model_host, wall):
    session = Session(model_host)
    session.take(list(PHOTOS), 12)
    session.reconstruct("dvlt", 0, None)
    sizes = []
    for options in (ShowOptions(), ShowOptions(percentile=70), ShowOptions(max_points=1_000)):
        session.options = options
        sizes.append(session.file("ply").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert len(wall.asked) == 1
    session.close()
