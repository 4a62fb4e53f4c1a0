"""A browser that drives the page of the real command."""

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
from scipy.spatial.transform import Rotation

from dvlt_ros.checkpoints import DEFAULT, EMBEDDED_WEIGHTS
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.export.scenes.splats import SH_0

PHOTOS = sorted(DEMO_SEQUENCE.glob("*.jpg"))[:3]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The page of the real command, with the embedded checkpoint."""
    pytest.importorskip("nicegui", reason="the extra `web` is not installed; pip install '.[web]'")
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
    visitor = browser.new_context(viewport={"width": 1000, "height": 700}, accept_downloads=True)
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
    page.wait_for_function("window.did_handshake")  # the page answers from now on
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

    of_points = canvas_colors(visit)
    visit.get_by_role("button", name="splats", exact=True).click()
    visit.wait_for_function("document.querySelector('.dvlt-viewer').dataset.splats > 0")
    assert canvas_colors(visit) != of_points
    with visit.expect_download() as download:
        visit.get_by_text("Gaussian splats, .ply").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    check_splats(visit, tmp_path / "3_photos_dvlt.splats.ply")
    visit.get_by_role("button", name="points", exact=True).click()
    visit.wait_for_function("document.querySelector('.dvlt-viewer').dataset.splats === '0'")
    assert canvas_colors(visit) == of_points


def check_splats(page, path):
    """What the page draws is what the file says, and the farthest first."""
    plyfile = pytest.importorskip("plyfile", reason="reads PLY files; pip install plyfile")
    vertices = plyfile.PlyData.read(path)["vertex"]
    assert int(page.locator(".dvlt-viewer").get_attribute("data-splats")) == len(vertices) > 100
    drawn = page.evaluate(
        """async () => {
          const { readSplats, farthestFirst } = await import("dvlt-splats");
          const file = document.querySelector('a[href$=".splats.ply"]').href;
          const splats = readSplats(await (await fetch(file)).arrayBuffer());
          const order = new Uint32Array(splats.count);
          farthestFirst(splats.centers, { x: 0, y: 0.6, z: 0.8 }, order);
          const lists = Object.entries({ ...splats, order }).filter(([name]) => name !== "count");
          return Object.fromEntries(lists.map(([name, values]) => [name, Array.from(values)]));
        }"""
    )

    def columns(prefix, names):
        return np.stack([vertices[f"{prefix}{name}"] for name in names], axis=1).astype(np.float64)

    centers = columns("", "xyz")
    np.testing.assert_array_equal(np.reshape(drawn["centers"], (-1, 3)), centers)
    rotations = Rotation.from_quat(columns("rot_", (1, 2, 3, 0))).as_matrix()
    axes = rotations * np.exp(columns("scale_", range(3)))[:, None]
    wanted = (axes @ axes.transpose(0, 2, 1))[:, (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)]
    size = np.abs(wanted).max(axis=1, keepdims=True)
    np.testing.assert_allclose(np.reshape(drawn["covariances"], (-1, 6)) / size, wanted / size, atol=1e-5)
    colors = np.column_stack([0.5 + SH_0 * columns("f_dc_", range(3)), 1 / (1 + np.exp(-columns("", ["opacity"])))])
    np.testing.assert_allclose(np.reshape(drawn["colors"], (-1, 4)), 255 * colors, atol=0.51)
    depths = centers[drawn["order"]] @ [0, 0.6, 0.8]
    assert sorted(drawn["order"]) == list(range(len(centers)))
    assert np.diff(depths).max() < 1e-4 * np.ptp(depths)


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


@pytest.mark.skipif(not EMBEDDED_WEIGHTS.is_dir(), reason="the embedded checkpoint is not here")
def test_a_click_right_after_typing_a_number_counts_and_the_scene_comes_into_sight(visit):
    visit.set_viewport_size({"width": 700, "height": 500})  # the scene is below the choices
    visit.locator("input[type=file]").set_input_files([str(path) for path in PHOTOS])
    visit.locator(".dvlt-thumbnail").nth(2).wait_for()
    visit.get_by_label("views at most").fill("2")
    visit.get_by_role("button", name="Reconstruct").click()
    visit.locator('.dvlt-viewer[data-state="ready"]').wait_for()
    visit.locator(".dvlt-caption").get_by_text(f"Déjà View {DEFAULT}", exact=False).wait_for()
    assert "2 views" in visit.locator(".dvlt-caption").inner_text()
    inside = "(() => { const box = document.querySelector('.dvlt-viewer').getBoundingClientRect();"
    visit.wait_for_function(f"{inside} return box.top < innerHeight / 2 && box.bottom > innerHeight / 2 }})()")
    figure = visit.locator('figure[data-layer="Depth"] img')
    figure.nth(1).wait_for()
    assert visit.locator(".dvlt-bar img").get_attribute("alt") == "turbo"
    visit.get_by_text("blue is near, red is far").wait_for()


def test_what_is_taken_and_every_checkpoint_are_named(visit):
    visit.get_by_text("JPEG, PNG or HEIC photos", exact=False).wait_for()
    visit.get_by_label("Model and checkpoint").click()
    visit.get_by_role("option", name=f"Déjà View {DEFAULT}").wait_for()
    visit.get_by_role("option", name="Déjà View nvidia/dvlt (non-commercial)").wait_for()


def test_a_heic_photo_is_taken(visit, tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="reads HEIC; pip install pillow-heif")
    image = cv2.cvtColor(cv2.imread(str(PHOTOS[0])), cv2.COLOR_BGR2RGB)
    heif.from_bytes("RGB", image.shape[1::-1], image.tobytes()).save(tmp_path / "IMG_1.HEIC")
    visit.locator("input[type=file]").set_input_files(str(tmp_path / "IMG_1.HEIC"))
    visit.locator(".dvlt-thumbnail").wait_for()
    visit.get_by_text("IMG_1: 1 images").wait_for()


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
