"""The page and its files: what is chosen and shown, many inputs offline, and a browser that drives it all."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.backends import model_card
from dvlt_ros.backends.protocol import MultiViewPrediction
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import ConfigError, DataError, InputError
from dvlt_ros.geometry import transform_points, unproject
from dvlt_ros.web import __main__ as command
from dvlt_ros.web.offline import SOURCE, Job, claim_folder, run_job
from dvlt_ros.web.photos import evenly, read_photos
from dvlt_ros.web.pictures import confidence_overlays, data_url, depth_overlays, thumbnail
from dvlt_ros.web.residence import Residence
from dvlt_ros.web.scene import Scene, ShowOptions, reconstruct, reference_first
from dvlt_ros.web.session import Session

PHOTOS = sorted(DEMO_SEQUENCE.glob("*.jpg"))[:3]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Wall:
    """A model that sees a wall two units away, from cameras 0.07 apart in the order it gets them."""

    card = model_card("dvlt")
    device = torch.device("cpu")
    image_size, min_steps, max_steps = 56, 2, 8

    def __init__(self):
        self.asked = []

    def predict(self, images, num_steps=None):
        self.asked.append((images, num_steps))
        count, _, height, width = images.shape
        depth = torch.full((count, height, width), 2.0)
        intrinsics = torch.tensor([[50.0, 0, width / 2], [0, 50.0, height / 2], [0, 0, 1]]).expand(count, 3, 3)
        poses = torch.eye(4).repeat(count, 1, 1)
        poses[:, 0, 3] = 0.07 * torch.arange(count)
        confidence = 1 + torch.rand(count, height, width, generator=torch.Generator().manual_seed(0))
        return MultiViewPrediction(
            depth, confidence, intrinsics, poses, transform_points(poses, unproject(depth, intrinsics))
        )


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def residence(wall):
    return Residence(torch.device("cpu"), load=lambda *_: wall)


@pytest.fixture(scope="module")
def scene():
    return reconstruct(Wall(), read_photos(PHOTOS, 3))


# What is chosen


@given(count=st.integers(1, 500), at_most=st.integers(1, 60))
def test_views_are_spread_evenly_with_both_ends(count, at_most):
    found = evenly(count, at_most)
    assert len(found) == min(count, at_most)
    assert found[0] == 0
    assert at_most == 1 or found[-1] == count - 1
    if len(found) > 1:
        assert np.ptp(np.diff(found)) <= 1


def test_photos_are_in_the_order_that_people_count_in(tmp_path):
    for name, path in zip(("10.jpg", "9.jpg", "2.jpg"), PHOTOS, strict=True):
        shutil.copy(path, tmp_path / name)
    photos = read_photos(list(tmp_path.iterdir()), 12)
    assert photos.titles == ("2.jpg", "9.jpg", "10.jpg")
    assert photos.images[0].shape == (192, 256, 3)


def test_a_video_and_a_folder_give_evenly_so_many(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for value in range(21):
        writer.write(np.full((48, 64, 3), 10 * value, np.uint8))
    writer.release()
    video = read_photos([tmp_path / "walk.avi"], 5)
    assert video.titles == ("0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s")
    assert [round(float(image.mean()) / 50) for image in video.images] == [0, 1, 2, 3, 4]
    assert video.total == 21
    assert len(read_photos([DEMO_SEQUENCE], 7)) == 7


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
def test_bad_uploads_are_refused_by_name_and_cause(files, message, residence):
    session = Session(residence)
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


def test_uploads_stay_in_their_folder_whatever_a_browser_calls_them(residence):
    session = Session(residence)
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

    session = Session(Residence(torch.device("cpu"), load=lambda *_: leaving))
    leaving = Leaving()
    session.take(list(PHOTOS), 12)
    session.reconstruct("dvlt", 0, None)
    folder = session.file("ply").parent
    with pytest.raises(InputError, match="has left"):
        session.reconstruct("dvlt", 0, None)
    assert session.photos is None
    assert session.scene is None
    assert not folder.exists()


def test_a_scene_keeps_its_name_when_other_photos_come(residence):
    session = Session(residence)
    session.take(list(PHOTOS), 12)
    session.reconstruct("dvlt", 0, None)
    session.take_example(2)
    assert session.scene_name == "3_photos_dvlt"
    session.close()


# What is shown


@settings(max_examples=25, deadline=None)
@given(
    max_points=st.integers(1_000, 8_000), percentile=st.floats(0, 100), more=st.integers(0, 2_000),
    lower=st.floats(0, 1),
)  # fmt: skip
def test_a_larger_choice_keeps_the_points_of_a_smaller_one(scene, max_points, percentile, more, lower):
    small = scene.select(ShowOptions(max_points=max_points, percentile=percentile))
    large = scene.select(ShowOptions(max_points=max_points + more, percentile=percentile))
    all_of_them = scene.select(ShowOptions(max_points=2_000_000, percentile=percentile * lower))
    assert 0 < len(small.points) <= max_points
    assert np.array_equal(large.points[: len(small.points)], small.points)
    rows = {row.tobytes() for row in all_of_them.points}
    assert all(row.tobytes() in rows for row in small.points)
    assert small.confidence.min() >= np.percentile(scene.confidence[scene.usable], percentile) - 1e-6


def test_points_have_the_colours_of_their_pixels(scene):
    chosen = scene.select(ShowOptions(max_points=1_000))
    first = zip(scene.points[0].reshape(-1, 3), scene.images[0].reshape(-1, 3), strict=True)
    places = {point.tobytes(): color for point, color in first}
    found = {point.tobytes(): color for point, color in zip(chosen.points, chosen.colors, strict=True)}
    known = [(places[place], color) for place, color in found.items() if place in places]
    assert len(known) > 100
    assert all(np.array_equal(wanted, color) for wanted, color in known)


def test_what_the_network_has_not_seen_is_not_shown(scene):
    usable = scene.usable.copy()
    usable[1] = False
    hidden = Scene(**(vars_of(scene) | {"usable": usable}))
    chosen = hidden.select(ShowOptions(percentile=0, max_points=2_000_000))
    assert len(chosen.points) == usable.sum()
    with pytest.raises(InputError, match="no depth in any of 3 views"):
        Scene(**(vars_of(scene) | {"usable": np.zeros_like(usable)}))


def vars_of(scene):
    return {name: getattr(scene, name) for name in Scene.__dataclass_fields__}


def test_frusta_grow_with_the_scene_and_with_their_slider(scene):
    larger = Scene(**(vars_of(scene) | {"points": 3 * scene.points, "world_from_cam": scaled(scene.world_from_cam, 3)}))
    assert larger.extent == pytest.approx(3 * scene.extent, rel=1e-5)
    assert scene.frustum_size(ShowOptions(frustum_percent=2)) == pytest.approx(0.02 * scene.extent)
    assert scene.frustum_size(ShowOptions(frustum_percent=0)) == 0


def scaled(poses, factor):
    poses = poses.copy()
    poses[:, :3, 3] *= factor
    return poses


@pytest.mark.parametrize(
    "wrong", [{"max_points": 10}, {"percentile": -1.0}, {"percentile": 101.0}, {"frustum_percent": 6.0}]
)
def test_sliders_beyond_their_ends_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be from"):
        ShowOptions(**wrong)


@pytest.mark.parametrize("reference", range(3))
def test_the_reference_goes_first_and_everything_comes_back_in_its_order(reference, wall):
    photos = read_photos(PHOTOS, 3)
    found = reconstruct(wall, photos, reference, 4)
    (images, steps), order = wall.asked[-1], reference_first(3, reference)
    assert steps == 4
    for place, index in enumerate(order):
        assert np.abs(255 * images[place].permute(1, 2, 0).numpy() - found.images[index]).max() <= 0.5
        assert found.world_from_cam[index, 0, 3] == pytest.approx(0.07 * place)
    assert np.array_equal(found.world_from_cam[reference], np.eye(4))
    with pytest.raises(InputError, match="one of 3 views, got 3"):
        reconstruct(wall, photos, 3)


def test_overlays_are_the_photo_where_nothing_is_known(scene):
    depth = scene.depth.copy()
    depth[:, :5] = np.nan
    partial = Scene(**(vars_of(scene) | {"depth": depth}))
    overlay = depth_overlays(partial)[0]
    assert overlay.shape == (*scene.size, 3)
    assert np.array_equal(overlay[:5], scene.images[0][:5])
    assert (overlay[5:] != scene.images[0][5:]).any()
    assert len(confidence_overlays(scene)) == 3
    assert thumbnail(np.zeros((100, 400, 3), np.uint8), 40).shape == (10, 40, 3)
    assert data_url(overlay).startswith("data:image/jpeg;base64,/9j/")


def test_sliders_do_not_run_the_network_again(residence, wall):
    session = Session(residence)
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


# Many inputs, many models, no page


def make_inputs(root):
    for name in ("a/room", "b/room"):
        folder = root / name
        folder.mkdir(parents=True)
        for path in PHOTOS[:2]:
            shutil.copy(path, folder)
    return root / "a/room", root / "b/room"


def test_offline_writes_what_is_missing_and_only_that(tmp_path, residence, wall):
    pytest.importorskip("rerun", reason="the extra `rerun` is not installed; pip install 'dvlt_ros[rerun]'")
    inputs = make_inputs(tmp_path)
    job = Job(inputs, ("dvlt",), tmp_path / "out", ShowOptions(), max_views=2)
    assert run_job(job, residence, lambda _: None) == []
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("dvlt.*")}
    assert written == {f"{folder}/dvlt.{kind}" for folder in ("room", "room_2") for kind in ("glb", "ply", "rrd")}
    (tmp_path / "out/room/dvlt.ply").unlink()
    before = (tmp_path / "out/room/dvlt.glb").stat().st_mtime_ns
    assert run_job(job, residence, lambda _: None) == []
    assert (tmp_path / "out/room/dvlt.ply").exists()
    assert (tmp_path / "out/room/dvlt.glb").stat().st_mtime_ns == before
    assert len(wall.asked) == 3
    assert not list((tmp_path / "out").rglob(".*"))


def test_one_model_at_a_time_and_failures_at_the_end(tmp_path):
    alive, most = [], []

    def load(name, weights, device):
        most.append(len(alive))
        if name == "pi3":
            raise ConfigError("model pi3 needs pi3; install it with:  pip install pi3")
        return Wall()

    inputs = (*make_inputs(tmp_path), tmp_path / "not there")
    job = Job(inputs, ("pi3", "dvlt"), tmp_path / "out", ShowOptions(), max_views=2)
    failures = run_job(job, Residence(torch.device("cpu"), load=load), lambda _: None)
    assert len(failures) == 3
    assert "not there: no such file or folder" in failures[0]
    assert sum("pip install pi3" in failure for failure in failures) == 2
    assert (tmp_path / "out/room_2/dvlt.glb").exists()


def test_the_model_before_has_left_when_the_next_one_loads():
    import weakref

    loaded: list[weakref.ref] = []

    def load(name, weights, device):
        assert all(reference() is None for reference in loaded)
        model = Wall()
        loaded.append(weakref.ref(model))
        return model

    residence = Residence(torch.device("cpu"), load=load)
    for name in ("dvlt", "vggt", "dvlt"):
        residence.reconstruct(name, read_photos(PHOTOS, 1))
    assert len(loaded) == 3


def test_equal_names_keep_their_folders_from_one_run_to_the_next(tmp_path):
    first, second = make_inputs(tmp_path)
    assert claim_folder(tmp_path / "out", second).name == "room"
    assert claim_folder(tmp_path / "out", first).name == "room_2"
    assert claim_folder(tmp_path / "out", second).name == "room"
    assert (tmp_path / "out/room" / SOURCE).read_text() == f"{second}\n"


def test_the_command_ends_with_what_failed(tmp_path):
    missing = tmp_path / "nothing"
    with pytest.raises(SystemExit, match="nothing: no such file or folder") as ended:  # words are status 1
        command.main(["--offline", "--input", str(missing), "--output-root", str(tmp_path), "--device", "cpu"])
    assert str(ended.value).startswith("1 failed:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--offline"], "needs --input"), (["--offline", "--input", "x", "--models", "vgt"], "model must be one of")],
)
def test_what_cannot_be_done_is_refused_before_anything_is_loaded(arguments, message):
    with pytest.raises(ConfigError, match=message):
        command.job(command.parse(arguments))


# In the browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The page of the real command, with the embedded checkpoint."""
    pytest.importorskip("nicegui", reason="the extra `web` is not installed; pip install 'dvlt_ros[web]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("web") / "log.txt"
    environment = dict(os.environ)
    environment.pop("PYTEST_CURRENT_TEST", None)  # changes NiceGUI
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "dvlt_ros.web", "--no-open", "--port", str(port), "--device", "cpu"],
            stdout=output, stderr=output, env=environment,
        )  # fmt: skip
    yield server, port, log
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def address(server, browser):
    """Where the server listens. The browser starts while it loads."""
    process, port, log = server
    deadline_s = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline_s, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"http://127.0.0.1:{port}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright drives the browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    software_3d = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=software_3d)
        yield browser
        browser.close()


@pytest.fixture
def visit(address, browser):
    """A visitor of their own in headless Chromium, who may talk to the server only."""
    visitor = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    page = visitor.new_page()
    page.set_default_timeout(120_000)
    outside: list[str] = []
    errors: list[str] = []

    def look(request):
        if not request.url.startswith((address, "data:", "blob:", address.replace("http", "ws"))):
            outside.append(request.url)

    page.on("request", look)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    yield page
    visitor.close()
    assert outside == []
    assert errors == []


def canvas_colors(page) -> int:
    """How many colours the 3D view shows, without the words over it."""
    picture = page.evaluate("document.querySelector('.dvlt-viewer canvas').toDataURL('image/png').split(',')[1]")
    image = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
    return len(np.unique(image.reshape(-1, 3), axis=0))


@pytest.mark.skipif(not EMBEDDED_WEIGHTS.is_dir(), reason="the embedded checkpoint is not here")
def test_photos_become_a_scene_that_can_be_taken_away(visit, tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="opens glTF files again; pip install trimesh")
    visit.locator(".dvlt-viewer canvas").wait_for()
    assert canvas_colors(visit) == 1  # the background
    visit.locator("input[type=file]").set_input_files([str(path) for path in PHOTOS])
    visit.locator(".dvlt-thumbnail").nth(2).click()
    visit.locator(".dvlt-thumbnail").nth(2).get_by_text("reference").wait_for()
    visit.get_by_role("button", name="Reconstruct").click()
    viewer = visit.locator('.dvlt-viewer[data-state="ready"]')
    viewer.wait_for()
    visit.locator('figure[data-layer="Depth"] img').nth(2).wait_for()
    assert canvas_colors(visit) > 500
    shown = int(viewer.get_attribute("data-points"))

    box = visit.get_by_role("slider", name="Leave out the least certain").bounding_box()
    visit.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    visit.wait_for_function("n => Number(document.querySelector('.dvlt-viewer').dataset.points) < n", arg=shown)

    visit.get_by_role("button", name="Confidence").click()
    visit.locator('figure[data-layer="Confidence"] img').first.wait_for()
    for kind, begins in (("glb", b"glTF"), ("ply", b"ply\n"), ("rrd", b"RRF")):
        with visit.expect_download() as download:
            visit.get_by_text(f".{kind}", exact=False).first.click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.name == f"3_photos_dvlt.{kind}"
        assert path.read_bytes().startswith(begins)
    fewer = int(visit.locator(".dvlt-viewer").get_attribute("data-points"))
    assert len(trimesh.load(tmp_path / "3_photos_dvlt.glb").geometry["points"].vertices) == fewer < shown
    records = (tmp_path / "3_photos_dvlt.ply").read_bytes().split(b"end_header\n", 1)[1]
    assert len(records) == 19 * fewer


def test_a_bad_upload_gets_a_message_that_says_what_is_wrong(visit, tmp_path):
    broken = Path(tmp_path / "holiday.jpg")
    broken.write_bytes(b"this was a picture once")
    visit.locator("input[type=file]").set_input_files(str(broken))
    visit.get_by_text("holiday.jpg: 23 bytes that are no image").wait_for()
    assert visit.get_by_role("button", name="Reconstruct").is_disabled()
    visit.locator("input[type=file]").set_input_files(str(PHOTOS[0]))
    visit.locator(".dvlt-thumbnail").wait_for()
    visit.locator(".q-notification").wait_for(state="detached")  # what was wrong is so no longer
    visit.locator(".q-uploader__file").wait_for(state="detached")  # and the field is free for more


def test_the_example_is_one_click_away(visit):
    visit.get_by_role("button", name="Try the example").click()
    visit.locator(".dvlt-thumbnail").nth(11).wait_for()
    assert visit.get_by_role("button", name="Reconstruct").is_enabled()


@pytest.mark.skipif(not EMBEDDED_WEIGHTS.is_dir(), reason="the embedded checkpoint is not here")
def test_nothing_else_can_be_begun_while_a_scene_is_made(visit):
    visit.get_by_role("button", name="Try the example").click()
    visit.locator(".dvlt-thumbnail").nth(11).wait_for()
    visit.get_by_role("button", name="Reconstruct").click()
    find = "[...document.querySelectorAll('button')].find(b => b.innerText.includes(name))"
    begin = f"['Try the example', 'Reconstruct'].map(name => {find})"
    visit.wait_for_function(f"document.querySelector('.dvlt-busy').offsetParent && {begin}.every(b => b.disabled)")
    visit.wait_for_function(f"!document.querySelector('.dvlt-busy').offsetParent && {begin}.every(b => !b.disabled)")
    assert visit.locator(".dvlt-viewer").get_attribute("data-state") in ("loading", "ready")
