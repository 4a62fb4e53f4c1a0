"""What tests of batches share."""

import pytest
from frozen_runs import DESCRIBED

from dvlt_ros.training.optimisation.parameters import freeze


@pytest.fixture
def network(make_model):
    model = make_model(**DESCRIBED)
    freeze(model, "all_but_encoder")
    return model
