"""Paths that are no source are refused by name, and the package starts without the libraries of sources."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from pictures import make_video, save

from dvlt_ros.errors import InputError
from dvlt_ros.sources import open_source


def test_what_is_no_source_is_refused_by_name(tmp_path):
    make_video(tmp_path / "clip.avi")
    save(tmp_path / "photos" / "0.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for name in ("broken/0.png", "clip.mp4", "notes.txt", "old.bag", "run.mcap", "run.db3"):
        (tmp_path / name).write_bytes(b"#ROSBAG V2.0\n" if name == "old.bag" else b"nothing of the kind")
    for name, message in {
        "nowhere": "no such file or folder",
        "empty": "no images",
        ".": "folders in it: broken, empty, photos",
        "broken": "none of 1 images can be used; .*0.png",
        "clip.mp4": "not a readable video or bag",
        "notes.txt": "not a readable video or bag",
        "old.bag": "a bag of ROS 1",
        "run.mcap": "not a readable bag",
        "run.db3": "not a readable bag",
        "photos/0.png": "a single image",
    }.items():
        if name == ".":
            shutil.copytree(tmp_path, tmp_path.parent / "copy", ignore=lambda _, names: [n for n in names if "." in n])
        with pytest.raises(InputError, match=message) as error:
            open_source(tmp_path.parent / "copy" if name == "." else tmp_path / name)
        assert name.strip(".") in str(error.value)
    with pytest.raises(InputError, match="rate_hz must be above 0"):
        open_source(tmp_path / "photos", rate_hz=0.0)


def test_the_package_starts_without_opencv_and_rosbags():
    code = "import sys\nfor name in ('cv2', 'rosbags'): sys.modules[name] = None\nimport dvlt_ros"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys; import dvlt_ros.sources; assert not {'rosbags', 'torch', 'rclpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


TAR = bytes(257) + b"ustar" + bytes(300)


@pytest.mark.parametrize("name", ["walk", "walk.mp4", "walk.mcap"])
@pytest.mark.parametrize(
    ("head", "advice"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull` brings it"), (TAR, "unpack it first"),
        (b"Rar!\x1a\x07\x01\0", "unpack it first"), (b"\x04\x22\x4d\x18" + bytes(9), "unpack it first"),
        (b"\x1f\x8b\x08" + bytes(9), "unpack it first"), (b"#ROSBAG V2.0\n", "`rosbags-convert` makes one of ROS 2"),
    ],
    ids=["LFS", "tar", "rar", "lz4", "gzip", "ROS 1"],
)  # fmt: skip
def test_what_stands_in_its_place_is_named_with_what_helps(tmp_path, name, head, advice):
    (tmp_path / name).write_bytes(head)
    with pytest.raises(InputError, match=advice):
        open_source(tmp_path / name)
