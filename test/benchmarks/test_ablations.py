"""The paper's ablations and the dry run of ScanNet++: what is written, and that every row comes out."""

import json

import ablations
import numpy as np
import overfit
import pytest
import scannetpp_dry_run as dry_run

from dvlt_ros.model import Dvlt
from dvlt_ros.training.data.readers.scannetpp import open_sequence, sequences
from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows


def test_every_variant_of_the_tables_is_another_network():
    models = {}
    for variant in ablations.variants(3):
        config = overfit.configuration(["model.config.num_steps=3", *variant.overrides], ablations.RECIPE)
        models[variant.name] = config.model.dvlt
    assert [m.recurrence_mode for m in models.values()] == ["none", "no_depthscale", "no_sout", "gated", "gated"]
    assert [m.depth_head_type for m in models.values()] == ["linear"] * 4 + ["conv"]
    assert all(m.min_steps == m.num_steps == 3 for m in models.values())
    counts = [sum(p.numel() for p in Dvlt(m).parameters()) for m in models.values()]
    assert counts[1] < counts[2] < counts[3] < counts[0]
    assert list(ablations.PAPER) == list(models)[:4]


def test_the_method_is_compared_window_by_window():
    method = {"new": [{"abs_rel": 0.1, "rel_l2": 0.2}, {"abs_rel": 0.2, "rel_l2": 0.2, "auc@30": 0.5}]}
    other = {"new": [{"abs_rel": 0.2, "rel_l2": 0.2, "auc@30": 0.1}, {"abs_rel": 0.3, "rel_l2": 0.2, "auc@30": 0.2}]}
    changes = ablations.against(method, other)
    assert changes["new abs_rel"].value == pytest.approx(-0.1)
    assert changes["new rel_l2"].value == 0
    assert changes["new auc@30"].value == pytest.approx(0.3)  # of the one window in which both have it


def test_a_generated_scene_comes_back_as_it_was_written(tmp_path):
    views = sample_windows([1], SyntheticConfig(views=3, height=56, width=84, augment=None))
    dry_run.write_scene(tmp_path / dry_run.UNDISTORTED / "0a", views)
    (tmp_path / "nvs_sem_val.txt").write_text("0a\n")
    assert sequences(tmp_path) == ["0a"]
    scene = open_sequence(tmp_path, "0a")
    assert len(scene) == 3
    np.testing.assert_allclose(scene.world_from_cam, views.world_from_cam[0].numpy(), atol=1e-5)
    depth = scene.frame(1).depth
    valid = views.valid[0, 1].numpy()
    np.testing.assert_allclose(depth[valid], views.depth[0, 1].numpy()[valid], rtol=1e-3)


def test_the_dry_run_ends_with_a_row_per_scene(tmp_path, monkeypatch):
    monkeypatch.setattr(dry_run, "SIZE", (56, 84))
    with pytest.raises(SystemExit) as ended:
        dry_run.main(["--scenes", "1", "--views", "2", "--output", str(tmp_path), "--steps", "2", "--device", "cpu"])
    assert ended.value.code == 0
    (metrics,) = tmp_path.rglob("metrics.json")
    assert set(json.loads(metrics.read_text())["per_sequence"]) == {"0000000000"}
