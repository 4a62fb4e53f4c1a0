"""Videos: at the container's own times, upright, of what is really in the file and of nothing else."""

from __future__ import annotations

import shutil
import struct

import numpy as np
import pytest
from pictures import write_camera_info
from videos import RATE_HZ, retimed, turned, write_video

from dvlt_ros.errors import DataError
from dvlt_ros.sources import open_source
from dvlt_ros.sources.calibration import read_camera_info

HEIGHT, WIDTH = 48, 64
STEP_NS = 10**9 // RATE_HZ


def frames(count: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> list[np.ndarray]:
    """Frame ``i`` has the brightness 10 i + 20."""
    return [np.full((*size, 3), 10 * index + 20, np.uint8) for index in range(count)]


def brightness(source) -> list[int]:
    return [round((float(image.image.mean()) - 20) / 10) for image in source]


TIMES_MS = {
    "slower in the dark": [*range(0, 400, 40), *range(400, 1400, 100)],
    "a pause": [0, 40, 80, 5000, 5040, 5080],
    "faster": [0, 500, 1000, 1040, 1080, 1120],
    "uneven": [0, 33, 100, 133, 250, 266, 300],
}


@pytest.mark.parametrize("name", TIMES_MS)
def test_frames_come_at_the_times_of_the_file(tmp_path, name):
    times_ms = TIMES_MS[name]
    video = retimed(write_video(tmp_path / "walk.mp4", frames(len(times_ms))), times_ms)
    source = open_source(video)
    stamps_ns = np.array([image.stamp_ns for image in source])
    np.testing.assert_allclose(stamps_ns * 1e-6, times_ms, atol=1.0)
    assert brightness(source) == list(range(len(times_ms)))
    assert source.refusals.count == 0


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "mp4v"), ("avi", "MJPG"), ("mkv", "MJPG"), ("mov", "mp4v")])
def test_videos_of_even_rate(tmp_path, suffix, codec):
    source = open_source(write_video(tmp_path / f"walk.{suffix}", frames(12), codec))
    stamps_ns = [image.stamp_ns for image in source]
    np.testing.assert_allclose(stamps_ns, STEP_NS * np.arange(12), atol=2e6)
    assert len(source) == 12


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_turn_that_the_file_asks_for(tmp_path, quarters):
    shown = frames(3)
    for frame in shown:
        frame[:16, :16] = 250  # the upper left corner
    video = turned(write_video(tmp_path / "walk.mp4", shown), quarters)
    image = next(iter(open_source(video))).image
    expected = np.rot90(shown[0], -quarters)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 12


@pytest.mark.parametrize(
    "name",
    [
        "2024-05-01T12:30:00.mp4",
        "http:walk.mp4",
        "concat:a|b.mp4",
        "img_%03d.mp4",
        "0001.mp4",
        "pipe:0",
        "wörk",
        "a%03d.png",
        "w\udcfflk.mp4",
        "-i.mp4",
        "a\nb.mp4",
    ],
)
def test_a_name_is_only_a_name(tmp_path, monkeypatch, name):
    """Also a relative one: FFmpeg takes what is before a colon for a protocol, OpenCV digits for a series."""
    shutil.copy(write_video(tmp_path / "walk.mp4", frames(4)), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, name):
        assert brightness(open_source(path)) == [0, 1, 2, 3]


def other_files(folder) -> str:
    """The name of a video that somebody wants to see through another file."""
    return str(write_video(folder / "secret.mp4", frames(3)))


PLAY_LISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{}\n#EXT-X-ENDLIST\n",
    "list.mp4": "ffconcat version 1.0\nfile '{}'\n",
    "walk.avi": "#EXTM3U\n{}\n",
    "list.mpd": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{}</BaseURL></MPD>",
    "list.pls": "[playlist]\nFile1={}\n",
    "plain.txt": "{}\n",
    "list.sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\na={}\n",
}


@pytest.mark.parametrize("name", PLAY_LISTS)
def test_play_lists_show_no_other_files(tmp_path, name):
    (tmp_path / name).write_text(PLAY_LISTS[name].format(other_files(tmp_path)))
    with pytest.raises(DataError, match=rf"{name}: (a play list|not a readable video)"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("claim", [2**31 - 1, 10**6, 10_000, 9])
def test_a_count_in_the_header_is_a_claim(tmp_path, claim):
    """Of an AVI: in its main header and in that of its stream."""
    video = write_video(tmp_path / "walk.avi", frames(8), "MJPG")
    data = bytearray(video.read_bytes())
    struct.pack_into("<I", data, data.find(b"avih") + 8 + 16, claim)
    struct.pack_into("<I", data, data.find(b"strh") + 8 + 32, claim)
    video.write_bytes(data)
    source = open_source(video)
    assert brightness(source) == list(range(8))
    assert source.refusals.count == len(source) - 8 or len(source) == 8
    if source.refusals.count:
        assert f"{claim - 8} that the file announces are missing" in source.refusals.first


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize(("suffix", "codec"), [("avi", "MJPG"), ("mkv", "MJPG"), ("mp4", "mp4v")])
def test_a_part_of_a_video(tmp_path, share, suffix, codec):
    noise = np.random.default_rng(0).integers(0, 255, (20, 96, 128, 3), dtype=np.uint8)
    video = write_video(tmp_path / f"walk.{suffix}", list(noise), codec)
    data = video.read_bytes()
    video.write_bytes(data[: int(share * len(data))])
    try:
        source = open_source(video)
        readable, problem = len(list(source)), ""
    except DataError as error:
        readable, problem = 0, str(error)
    assert readable or problem.startswith(f"{video}: ")  # an MP4's index is at its end
    assert readable <= 20
    assert suffix != "avi" or readable + source.refusals.count == 20


def test_a_single_frame(tmp_path):
    images = list(open_source(write_video(tmp_path / "one.avi", frames(1), "MJPG"), rate_hz=4.0))
    assert [image.stamp_ns for image in images] == [0]


def test_a_video_gets_its_lens_from_a_file_of_images_of_its_size(tmp_path):
    video = write_video(tmp_path / "walk.mp4", frames(3))
    write_camera_info(tmp_path, image_width=WIDTH, image_height=HEIGHT)
    known = read_camera_info(tmp_path / "camera_info.yaml")
    given = open_source(video, camera_info=tmp_path / "camera_info.yaml")
    assert [image.lens for image in given] == [known] * 3
    assert all(image.lens is None for image in open_source(video))  # what lies beside a video is not its own
    write_camera_info(tmp_path, image_width=2 * WIDTH, image_height=HEIGHT)
    with pytest.raises(DataError, match=r"camera_info\.yaml: of images of 128 x 48 pixels, the first .* 64 x 48"):
        open_source(video, camera_info=tmp_path / "camera_info.yaml")
