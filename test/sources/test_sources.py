"""Folders, videos and bags give the same images, stamps and lenses that went into them."""

from __future__ import annotations

import shutil
import subprocess
import sys

import bags
import cv2
import numpy as np
import pytest
import yaml

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import InputError
from dvlt_ros.lens import Lens
from dvlt_ros.sources import open_source

HEIGHT, WIDTH = 48, 64
START_NS = 1_700_000_000_123_456_789
IMAGE, INFO = "/camera/image_raw", "/camera/camera_info"


def picture(index: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Noise, so that no two pictures are alike, (H, W, 3) RGB."""
    return np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path, index: int = 0, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(picture(index, **options), cv2.COLOR_RGB2BGR))


def write_camera_info(folder, **changes) -> None:
    content = yaml.safe_load((DEMO_SEQUENCE / "camera_info.yaml").read_text())
    content |= {"image_width": WIDTH, "image_height": HEIGHT} | changes
    (folder / "camera_info.yaml").write_text(yaml.safe_dump(content))


def check(source, indices, stamps_ns) -> None:
    """Two rounds, both complete."""
    for _ in range(2):
        images = list(source)
        assert [image.stamp_ns for image in images] == list(stamps_ns)
        for image, index in zip(images, indices, strict=True):
            np.testing.assert_array_equal(image.image, picture(index))


# Folders


def test_a_folder_is_sorted_as_people_count(tmp_path):
    names = ["frame2", "frame10", "frame1"]
    for index, name in enumerate(names):
        save(tmp_path / f"{name}.png", index)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.png").touch()
    source = open_source(tmp_path, rate_hz=4.0)
    assert len(source) == 3
    check(source, [2, 0, 1], [250_000_000, 500_000_000, 750_000_000])
    first = next(iter(source))
    assert (first.frame_id, first.lens) == ("camera_optical_frame", None)


@pytest.mark.parametrize(
    ("names", "stamps_ns"),
    [
        (["1305031102.2", "1305031102.1753", "999999999.9"], [1305031102_200000000, 1305031102_175300000, 999999999_9]),
        (["1403636579763555584", "1403636579763555583"], [1403636579763555584, 1403636579763555583]),
    ],
)
def test_names_can_be_times(tmp_path, names, stamps_ns):
    stamps_ns = [stamp * 10**8 if stamp < 10**12 else stamp for stamp in stamps_ns]
    for index, name in enumerate(names):
        save(tmp_path / f"{name}.png", index)
    order = np.argsort(stamps_ns)
    check(open_source(tmp_path), order, np.array(stamps_ns)[order])


def test_a_listing_tells_times_and_files(tmp_path):
    for index in range(3):
        save(tmp_path / "rgb" / f"{index}.png", index)
    (tmp_path / "rgb.txt").write_text("# time file\n\n12.25 rgb/1.png\n12.000000001 rgb/0.png\n13 rgb/gone.png\n")
    source = open_source(tmp_path)
    check(source, [0, 1], [12_000_000_001, 12_250_000_000])
    assert len(source) == 3
    assert "gone.png: cannot be read: No such file" in source.refusals.first


@pytest.mark.parametrize("text", ["now rgb/0.png\n", "1.0\n", "", "0.0 a.png\n", "nan a.png\n"])
def test_bad_listings_are_refused(tmp_path, text):
    (tmp_path / "rgb.txt").write_text(text)
    with pytest.raises(InputError, match=r"rgb\.txt"):
        open_source(tmp_path)


@pytest.mark.parametrize("above", [False, True])
def test_a_calibration_file_describes_the_lens(tmp_path, above):
    save(tmp_path / "images" / "0.png")
    d = [-0.2, 0.05, 0.001, 0.002, 0.0]
    write_camera_info(tmp_path if above else tmp_path / "images", distortion_coefficients={"data": d})
    lens = next(iter(open_source(tmp_path / "images"))).lens
    k = yaml.safe_load((DEMO_SEQUENCE / "camera_info.yaml").read_text())["camera_matrix"]["data"]
    assert lens == Lens(k[0], k[4], k[2] + 0.5, k[5] + 0.5, (HEIGHT, WIDTH), "plumb_bob", tuple(d))


def test_given_intrinsics_win_over_recorded_ones(tmp_path):
    save(tmp_path / "0.png")
    save(tmp_path / "1.png", size=(10, 20))
    write_camera_info(tmp_path, image_width=999)
    source = open_source(tmp_path, intrinsics=(60.0, 61.0, 31.5, 23.5))
    assert [image.lens for image in source] == [Lens(60.0, 61.0, 32.0, 24.0, (HEIGHT, WIDTH))]
    assert "it is 20 x 10, the camera of the given intrinsics has 64 x 48" in source.refusals.first
    with pytest.raises(InputError, match="intrinsics must be finite and above 0"):
        open_source(tmp_path, intrinsics=(-1.0, 61.0, 31.5, 23.5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "not a camera calibration"),
        ("", "not a camera calibration"),
        ("camera_matrix: {data: [1, 2]}", "not a camera calibration"),
        ({"distortion_model": "kannala"}, "distortion model 'kannala'"),
        ({"image_width": 65}, "it is 64 x 48, the camera of .*camera_info.yaml has 65 x 48"),
    ],
)
def test_bad_calibration_files_are_refused(tmp_path, content, message):
    save(tmp_path / "0.png")
    if isinstance(content, str):
        (tmp_path / "camera_info.yaml").write_text(content)
    else:
        write_camera_info(tmp_path, **content)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path)


def test_bad_images_are_left_out_and_counted(tmp_path):
    for index in range(3):
        save(tmp_path / f"{index}.png", index)
    write_camera_info(tmp_path)
    save(tmp_path / "3.jpg")
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "0a.jpg").write_bytes(whole[:-10])  # cv2.imread makes the rest grey
    (tmp_path / "1a.png").touch()
    (tmp_path / "1b.png").write_bytes(b"this is no picture")
    save(tmp_path / "1c.png", size=(10, 20))
    (tmp_path / "3.jpg").unlink()
    source = open_source(tmp_path, rate_hz=1.0)
    check(source, [0, 1, 2], np.array([1, 3, 7]) * 10**9)
    assert (len(source), source.refusals.count) == (7, 4)
    assert source.refusals.first.endswith("0a.jpg: 4220 bytes that are only a part of a JPEG image")
    assert str(source.refusals).startswith(f"4 refused, e.g. {tmp_path}/0a.jpg")


# Videos


def write_video(path, frames):
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture
def video(tmp_path):
    frames = [np.full((HEIGHT, WIDTH, 3), (10 * index, 120, 10), np.uint8) for index in range(20)]
    return write_video(tmp_path / "clip.avi", frames)


def test_a_video_has_its_own_rate(video):
    source = open_source(video, rate_hz=1.0)
    images = list(source)
    assert len(source) == len(images) == 20
    assert source.refusals.count == 0
    assert [image.stamp_ns for image in images] == [40_000_000 * (index + 1) for index in range(20)]
    for index, image in enumerate(images):
        assert image.image.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_allclose(image.image.mean(axis=(0, 1)), [10 * index, 120, 10], atol=6)  # RGB


def test_a_truncated_video_gives_what_is_left_and_says_so(tmp_path):
    video = write_video(tmp_path / "clip.avi", [picture(index, (240, 320)) for index in range(20)])
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    source = open_source(video)
    readable = len(list(source))
    assert 2 < readable < 18
    assert source.refusals.count == 20 - readable
    assert f"frame {readable} of 20 cannot be read" in source.refusals.first


# Bags


@pytest.mark.parametrize("plugin", [bags.StoragePlugin.MCAP, bags.StoragePlugin.SQLITE3])
@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_a_bag_gives_images_with_stamps_frames_and_lenses(tmp_path, plugin, transport):
    stamps_ns = [START_NS + 50_000_000 * index for index in range(4)]
    records = []
    for index, stamp_ns in enumerate(stamps_ns):
        png = cv2.imencode(".png", cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))[1].tobytes()
        shown = bags.image(stamp_ns, picture(index)) if transport == "raw" else bags.compressed(stamp_ns, png, "png")
        records.append((IMAGE if transport == "raw" else f"{IMAGE}/compressed", shown))
        if index in (1, 2):
            records.insert(-1, (INFO, bags.camera_info(stamp_ns, fx=60.0 + index)))
    bag = bags.write(tmp_path / "bag", records, plugin)
    for path in (bag, next(bag.glob("*.mcap")) if plugin == bags.StoragePlugin.MCAP else bag):
        source = open_source(path)
        assert len(source) == 4
        check(source, range(4), stamps_ns)
        images = list(source)
        assert {image.frame_id for image in images} == {"cam"}
        assert [image.lens.fx for image in images] == [61.0, 61.0, 62.0, 62.0]  # each holds until the next
    assert source.camera_problem == ""


def test_rectified_topics_have_the_camera_of_p(tmp_path):
    p = np.array([50.0, 0, 31.5, 0, 0, 50, 23.5, 0, 0, 0, 1, 0])
    info = bags.camera_info(START_NS, d=np.full(5, 0.1), p=p)
    bag = bags.write(tmp_path / "bag", [(INFO, info), ("/camera/image_rect_color", bags.image(START_NS, picture(0)))])
    lens = next(iter(open_source(bag))).lens
    assert (lens.fx, lens.is_distorted) == (50.0, False)


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ({"k": np.zeros(9)}, "/camera/camera_info: camera_info is all zero"),
        ({"size": (480, 640)}, "/camera/camera_info: it is 64 x 48, the camera of camera_info has 640 x 480"),
    ],
)
def test_a_useless_camera_info_is_named_and_the_images_come_without(tmp_path, info, problem):
    records = [(INFO, bags.camera_info(START_NS, **info)), (IMAGE, bags.image(START_NS, picture(0)))]
    source = open_source(bags.write(tmp_path / "bag", records))
    assert [image.lens for image in source] == [None]
    assert problem in source.camera_problem


def test_bad_messages_are_left_out_and_counted(tmp_path):
    odd = bags.image(START_NS + 2, picture(0), encoding="nonsense")
    short = bags.image(START_NS + 3, picture(0))
    short.data = short.data[:100]
    records = [bags.image(START_NS, picture(0)), bags.image(0, picture(1)), odd, short, bags.image(1, picture(4))]
    source = open_source(bags.write(tmp_path / "bag", [(IMAGE, message) for message in records]))
    check(source, [0, 4], [START_NS, 1])  # a clock that was set back is not repaired
    assert source.refusals.count == 3
    assert "stamp is zero" in source.refusals.first


def test_a_damaged_bag_gives_what_is_before_the_damage(tmp_path):
    big = (240, 320)
    records = [(IMAGE, bags.image(START_NS + index, picture(index, big))) for index in range(12)]
    bag = bags.write(tmp_path / "bag", records)
    path = next(bag.glob("*.mcap"))
    data = bytearray(path.read_bytes())
    start = data.find(picture(7, big).tobytes()[:200]) - 100  # among them the length of the record
    data[start : start + 60] = bytes([255]) * 60
    path.write_bytes(data)
    source = open_source(bag)
    readable = len(list(source))
    assert 2 < readable < 12
    assert source.refusals.count == 12 - readable
    assert "damaged bag" in source.refusals.first


def test_several_cameras_are_listed_and_one_can_be_chosen(tmp_path):
    records = [("/left/image", bags.image(START_NS, picture(0))), ("/right/image", bags.image(START_NS, picture(1)))]
    bag = bags.write(tmp_path / "bag", records)
    with pytest.raises(InputError, match=r"several topics could be .*'/left/image', '/right/image'"):
        open_source(bag)
    check(open_source(bag, topic="/right/image"), [1], [START_NS])
    with pytest.raises(InputError, match="no messages on /up/image; topics:"):
        open_source(bag, topic="/up/image")


# What is no source


def test_what_is_no_source_is_refused_by_name(tmp_path, video):
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
        "clip.mp4": "not a readable video",
        "notes.txt": "not a readable video",
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
