"""The report of probes: what is settled, what is said and drawn, and the command's refusals."""

import json

import pytest
import torch

from dvlt_ros.training.probes.command import main
from dvlt_ros.training.probes.report import sentences
from dvlt_ros.training.probes.settling import learn_threshold, smallest_steps, stops
from dvlt_ros.training.probes.study import Findings, _from_middle
from dvlt_ros.training.probes.taps import PATTERNS


def test_the_threshold_stops_where_the_error_is_settled():
    updates = torch.tensor([[0.9, 0.5, 0.2, 0.1], [0.8, 0.4, 0.2, 0.1]])
    errors = torch.tensor([[0.9, 0.5, 0.3, 0.3], [0.8, 0.4, 0.3, 0.3]])
    threshold = learn_threshold(updates, errors)
    assert threshold == pytest.approx(0.2)
    assert stops(updates, threshold).flatten().tolist() == [2, 2]
    assert learn_threshold(updates, errors * torch.nan) is None


def test_a_window_is_settled_from_the_step_after_which_no_error_is_worse():
    errors = torch.tensor([[0.5, 0.3, 0.3], [0.3, 0.5, 0.3], [0.3, 0.3, 0.3], [0.9, 0.6, 0.3], [torch.nan, 0.3, 0.3]])
    assert smallest_steps(errors).tolist() == [2, 3, 1, 3]


def test_a_full_pass_is_judged_by_what_its_metric_means():
    rise = {"value": 0.02, "low": 0.01, "high": 0.03}
    curves = {"rel_l2": [rise], "auc@30": [rise, {}, {"value": 0.02, "low": -0.01, "high": 0.03}]}
    movement = {"cosine": [0.1, 1.0], "update": [0.9, 0.1]}
    probe = [[{"rel_l2": 0.5}]]
    found = Findings({"titles": ["0"], "probe": probe, "movement": movement, "full_minus_stopped": curves})
    worse, better, neither = (line for line in sentences(found) if "full pass" in line)
    assert "1 steps is worse than" in worse
    assert "1 steps is better than" in better
    assert "3 steps is not different from" in neither


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ([0.60, 0.62], [0.40, 0.41], "falls from 0.6100 to 0.4050, beyond the spread of 2 seeds (0.0200)."),
        ([0.60, 0.62], [0.60, 0.61], "falls from 0.6100 to 0.6050, within the spread of 2 seeds (0.0200)."),
        ([0.40, 0.41], [0.60, 0.62], "does not fall, it goes from 0.4050 to 0.6100, beyond the spread of 2"),
        ([0.60], [0.40], "falls from 0.6000 to 0.4000, of one seed, whose spread is not known."),
    ],
)
def test_the_fall_is_told_with_the_spread_of_seeds(first, last, said):
    movement = {"cosine": [0.1, 1.0], "update": [0.9, 0.1]}
    probe = [[{"rel_l2": error} for error in errors] for errors in (first, last)]
    found = Findings({"titles": ["0", "1"], "probe": probe, "movement": movement})
    assert said in sentences(found)[0]


def test_the_queried_patch_is_near_the_middle_in_rows_and_columns():
    distance = _from_middle((3, 5))
    assert distance.argmin() == 7
    assert distance[5] > distance[2]  # the left end of the middle row is farther than the top of the middle column
    assert distance.max() < 1  # no nearness outweighs one more view


@pytest.fixture(scope="module")
def reported(tmp_path_factory, network, windows, monkeypatch_module):
    """A report of a tiny network on tiny windows."""
    folder = tmp_path_factory.mktemp("probes")
    network.save_pretrained(folder / "checkpoint")
    monkeypatch_module.setattr("dvlt_ros.training.probes.command.load_windows", lambda *_: (windows[:2], windows[2:]))
    main([str(folder / "checkpoint"), "--output", str(folder), "--updates", "3", "--device", "cpu"])
    return folder


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_one_page_has_every_picture(reported):
    page = (reported / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    assert "http" not in page


def test_figures_of_every_layer_and_control_are_kept(reported):
    figures = json.loads((reported / "figures.json").read_text())
    assert figures["titles"] == ["0", "1 frame_attn", "1", "2 frame_attn", "2", "3 frame_attn", "3"]
    assert [len(seeds) for seeds in figures["probe"]] == [3, 1, 3, 1, 3, 1, 3]
    assert set(figures["controls"]) == {"mean point map", "views of two scenes", "untrained loop"}
    assert len(figures["lens"]) == len(figures["transfer"]) == 4
    assert len(figures["full"]) == 3
    assert max(map(int, figures["beyond"])) == 12
    assert len(figures["settled_steps"]) == figures["windows"][1]
    for name in ("norm", "top_share"):  # a pass of the trained K is the same one in both
        assert figures["beyond"]["3"][name] == pytest.approx(figures["movement"][name][-1], rel=0.2)


def test_probes_of_before_are_used_again(reported, monkeypatch):
    monkeypatch.setattr("dvlt_ros.training.probes.command.all_figures", lambda *_: {})
    arguments = [str(reported / "checkpoint"), "--device", "cpu", "--output", str(reported / "again")]
    main([*arguments, "--probes", str(reported / "probes.safetensors")])
    first, again = (json.loads((p / "figures.json").read_text()) for p in (reported, reported / "again"))
    assert again["transfer"] == first["transfer"]
    with pytest.raises(SystemExit, match="probes of K = 3, not of K = 2"):
        main([*arguments, "--probes", str(reported / "probes.safetensors"), "--steps", "2"])
    with pytest.raises(SystemExit, match=r"the probes are of layers 0, 1 frame_attn, 1, .*, not 0, 1, 2, 3"):
        main([*arguments, "--probes", str(reported / "probes.safetensors"), "--taps", PATTERNS["dvlt"][1]])


def test_the_command_refuses_in_one_line(reported):
    with pytest.raises(SystemExit, match=r"report\.html/none: cannot be written: Not a directory"):
        main([str(reported / "checkpoint"), "--device", "cpu", "--output", str(reported / "report.html" / "none")])
    arguments = [str(reported / "checkpoint"), "--device", "cpu", "--output", str(reported / "none")]
    with pytest.raises(SystemExit, match="no module nowhere to tap") as refused:
        main([*arguments, "--taps", "nowhere"])
    assert "\n" not in str(refused.value)
    with pytest.raises(SystemExit, match="another checkpoint"):
        main(
            ["embedded", "--device", "cpu", "--output", str(reported), "--probes", str(reported / "probes.safetensors")]
        )
