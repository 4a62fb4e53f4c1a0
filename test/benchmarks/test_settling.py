"""What stopping saves and costs, on a network that knows nothing: the lines, and that no steps are lost."""

import torch
from settling import compare, outcome

from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows


def test_a_threshold_of_nothing_takes_all_steps_and_one_of_everything_one(make_model):
    network = make_model()
    windows = [sample_windows([0], SyntheticConfig(views=2, height=28, width=42, augment=None, shadows=False))]
    for settled, steps in ((0.0, 4), (1e9, 1)):
        found = outcome(network, windows, lambda begun, s=settled: network.run_until_settled(begun, 4, s))
        assert found.steps == [steps]
    lines = compare(network, windows, 1e9)
    assert lines[2].split()[:4] == ["settled", "at", "1000000000.0000", "1.00"]
    assert lines[-1].startswith("full pass of 1 against all steps: auc@30")
    assert torch.is_inference_mode_enabled() is False
