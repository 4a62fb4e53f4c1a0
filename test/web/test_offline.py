"""The page's files without the page: many inputs, many models."""

from __future__ import annotations

import shutil

import pytest
from wall import Wall

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.inference.model_predictor import WindowPredictor
from dvlt_ros.web import __main__ as command
from dvlt_ros.web.model_host import ModelHost
from dvlt_ros.web.offline import SOURCE, Job, claim_folder, run_job
from dvlt_ros.web.photos import read_photos
from dvlt_ros.web.scene import ShowOptions

PHOTOS = sorted(DEMO_SEQUENCE.glob("*.jpg"))[:3]


def make_inputs(root):
    for name in ("a/room", "b/room"):
        folder = root / name
        folder.mkdir(parents=True)
        for path in PHOTOS[:2]:
            shutil.copy(path, folder)
    return root / "a/room", root / "b/room"


def test_offline_writes_what_is_missing_and_only_that(tmp_path, model_host, wall):
    pytest.importorskip("rerun", reason="the extra `rerun` is not installed; pip install '.[rerun]'")
    inputs = make_inputs(tmp_path)
    job = Job(inputs, ("dvlt",), tmp_path / "out", ShowOptions(), max_views=2)
    assert run_job(job, model_host, lambda _: None) == []
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("dvlt.*")}
    assert written == {f"{folder}/dvlt.{kind}" for folder in ("room", "room_2") for kind in ("glb", "ply", "rrd")}
    (tmp_path / "out/room/dvlt.ply").unlink()
    before = (tmp_path / "out/room/dvlt.glb").stat().st_mtime_ns
    assert run_job(job, model_host, lambda _: None) == []
    assert (tmp_path / "out/room/dvlt.ply").exists()
    assert (tmp_path / "out/room/dvlt.glb").stat().st_mtime_ns == before
    assert len(wall.asked) == 3
    assert not list((tmp_path / "out").rglob(".*"))


def test_one_model_at_a_time_and_failures_at_the_end(tmp_path):
    alive, most = [], []

    def load(config):
        most.append(len(alive))
        if config.name == "pi3":
            raise ConfigError("model pi3 needs pi3; install it with:  pip install pi3")
        return WindowPredictor(Wall())

    inputs = (*make_inputs(tmp_path), tmp_path / "not there")
    job = Job(inputs, ("pi3", "dvlt"), tmp_path / "out", ShowOptions(), max_views=2)
    failures = run_job(job, ModelHost("cpu", load=load), lambda _: None)
    assert len(failures) == 3
    assert "not there: no such file or folder" in failures[0]
    assert sum("pip install pi3" in failure for failure in failures) == 2
    assert (tmp_path / "out/room_2/dvlt.glb").exists()


def test_the_model_before_has_left_when_the_next_one_loads():
    import weakref

    loaded: list[weakref.ref] = []

    def load(config):
        assert all(reference() is None for reference in loaded)
        predictor = WindowPredictor(Wall())
        loaded.append(weakref.ref(predictor))
        return predictor

    model_host = ModelHost("cpu", load=load)
    for name in ("dvlt", "vggt", "dvlt"):
        model_host.reconstruct(name, read_photos(PHOTOS, 1))
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
