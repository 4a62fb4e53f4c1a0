"""Learning curves: the logged values, smoothed without a shift, and one picture."""

import numpy as np
import pytest

pytest.importorskip("tensorboard", reason="needs the training extra: pip install '.[training]'")

from learning_curve import main, smooth
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def test_means_are_of_what_is_around_and_a_constant_stays_one():
    np.testing.assert_allclose(smooth(np.full(25, 3.0)), 3.0)
    np.testing.assert_allclose(smooth(np.array([1.0, 2.0, 6.0])), [1.5, 3.0, 4.0])


def test_a_run_is_drawn_and_its_first_and_last_values_are_said(tmp_path, capsys):
    writer = EventFileWriter(str(tmp_path / "run" / "logs"))
    for step, value in enumerate([0.5, 0.25, 0.125]):
        values = [Summary.Value(tag=tag, simple_value=value) for tag in ("validation/abs_rel", "train/other")]
        writer.add_event(Event(step=100 * step, summary=Summary(value=values)))
    writer.close()
    main([str(tmp_path / "run"), "--output", str(tmp_path / "curve.png")])
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "validation/abs_rel 0.5000 at update 0, 0.1250 at 200" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"has none of never; it has validation/abs_rel, train/other"):
        main([str(tmp_path / "run"), "--scalars", "never"])
    with pytest.raises(SystemExit, match="no logs of TensorBoard here"):
        main([str(tmp_path)])
