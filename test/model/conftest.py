"""Networks, images and checkpoints that several files of this folder share."""

import pytest
import torch


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 4, 3, 28, 42, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def checkpoint(model, tmp_path):
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"
