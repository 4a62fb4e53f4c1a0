import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the demo draws with matplotlib")
pytest.importorskip("cv2", reason="the demo reads photos with OpenCV")

from dvlt_ros.demo import __main__ as demo
from dvlt_ros.model import Dvlt


@pytest.fixture
def weights(make_model, tmp_path):
    make_model(image_size=56).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_the_bundled_room_becomes_points_cameras_and_a_page(weights, tmp_path, capsys):
    demo.main(["--weights", str(weights), "--output", str(tmp_path / "out"), "--device", "cpu"])
    header, _, body = (tmp_path / "out/points.ply").read_bytes().partition(b"end_header\n")
    count = int(header.split(b"element vertex ")[1].split()[0])
    vertices = np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    pixels = 8 * 42 * 56
    assert len(vertices) == count
    assert 0.75 * pixels < count <= 0.85 * pixels
    assert np.isfinite(vertices["xyz"]).all()
    assert vertices["rgb"].std() > 10
    assert np.loadtxt(tmp_path / "out/cameras.txt").shape == (8, 8)
    assert (tmp_path / "out/page.png").stat().st_size > 50_000
    assert f"{count} points" in capsys.readouterr().out


def test_photos_of_the_user_and_errors_that_name_them(weights, tmp_path):
    photo = demo.BUNDLED_IMAGES / "00.jpg"
    arguments = ["--weights", str(weights), "--output", str(tmp_path / "out"), "--device", "cpu", "--images"]
    demo.main([*arguments, str(photo)])
    assert (tmp_path / "out/page.png").is_file()
    with pytest.raises(SystemExit, match=r"missing\.jpg: not a readable image"):
        demo.main([*arguments, "missing.jpg"])


def test_the_embedded_checkpoint_is_small_and_loads():
    model = Dvlt.from_pretrained(demo.EMBEDDED_WEIGHTS)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 7_500_000
    assert (demo.EMBEDDED_WEIGHTS / "model.safetensors").stat().st_size <= 15_000_000
