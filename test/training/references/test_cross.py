"""Cross-reference attention: at the start M independent runs exactly, and no order of paths."""

from __future__ import annotations

import pytest
import torch

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.model.references import predict_paths
from dvlt_ros.training.config import Data, ModelSource, Shapes, TrainConfig, Validation
from dvlt_ros.training.references.cross import CrossReferenceDvlt
from dvlt_ros.training.train import train

TINY = {
    "embed_dim": 32, "num_heads": 2, "patch_embed": "vit14_reg", "encoder_depth": 1, "decoder_embed_dim": 32,
    "decoder_num_heads": 2, "decoder_depth": 1, "depth_head_type": "linear", "num_steps": 3, "min_steps": 2,
    "drop_path": 0.0, "image_size": 56,
}  # fmt: skip
PATHS = ("depth", "depth_confidence", "ray_directions", "ray_origins", "pose_encoding")


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = Dvlt(DvltConfig(**TINY)).eval()
    torch.nn.init.normal_(model.camera_token, std=1.0)
    return model


@pytest.fixture
def features(network):
    with torch.inference_mode():
        return network.encode(torch.rand(2, 4, 3, 42, 56))


def trained(network, references):
    """With outputs that are no longer zero."""
    model = CrossReferenceDvlt.on(network, references).eval()
    torch.nn.init.normal_(model.cross_reference.attn.proj.weight, std=0.5)
    torch.nn.init.normal_(model.cross_reference.mlp.fc2.weight, std=0.5)
    torch.nn.init.ones_(model.cross_reference.ls1.gamma)
    return model


@torch.inference_mode()
def test_at_the_start_every_path_is_an_independent_run(network, features):
    model = CrossReferenceDvlt.on(network, 3).eval()
    state = model.begin(features)
    assert torch.equal(model.run(state, 3).tokens, network.run(state, 3).tokens)  # not a bit is different
    for path, alone in zip(model.paths(features, 3), predict_paths(network, features, 3, [0, 1, 2]), strict=True):
        for name in PATHS:
            torch.testing.assert_close(getattr(path, name), getattr(alone, name))


@torch.inference_mode()
def test_one_reference_skips_the_sub_block(network, features):
    (path,) = trained(network, 1).paths(features, 3)
    assert torch.equal(path.points, network(features, 3).points)


@torch.inference_mode()
def test_permuted_paths_permute_the_outputs(network, features):
    model = trained(network, 3)
    one, two = model.paths(features, 3, [0, 1, 3]), model.paths(features, 3, [3, 0, 1])
    for a, b in ((0, 1), (1, 2), (2, 0)):
        torch.testing.assert_close(one[a].points, two[b].points, rtol=1e-4, atol=1e-5)
    alone = predict_paths(network, features, 3, [0])[0]
    assert not torch.allclose(one[0].points, alone.points, rtol=1e-3)  # they do look at each other


def test_more_references_than_views_is_one_clear_line(network, features):
    with pytest.raises(InputError, match=r"^references must be from 1 to the number of views, 4, got 5$"):
        CrossReferenceDvlt.on(network, 5)(features)


def test_another_number_of_references_is_refused(network, features):
    with pytest.raises(InputError, match="this network has 3 references, got 2"):
        CrossReferenceDvlt.on(network, 3).paths(features, 3, [0, 1])


def test_what_cannot_train_is_refused():
    with pytest.raises(ConfigError, match=r"needs model\.references above 1, got 1"):
        TrainConfig(trainable="cross_references")
    with pytest.raises(ConfigError, match=r"shapes\.views must be at least model\.references, got 2 and 3"):
        TrainConfig(model=ModelSource(references=3))


def test_training_changes_the_sub_block_alone_and_its_checkpoint_can_be_read(tmp_path, network):
    network.save_pretrained(tmp_path / "start")
    config = TrainConfig(
        model=ModelSource(checkpoint=str(tmp_path / "start"), references=2),
        trainable="cross_references", total_steps=2, log_with="none", precision="no", output=str(tmp_path / "run"),
        shapes=Shapes(image_size=56, aspect=(0.75, 0.75), views=(2, 2), images_per_step=2, tokens_per_step=None),
        data=Data(synthetic_windows=1), validation=Validation(windows=1, views=3, height=42, width=56),
    )  # fmt: skip
    model = train(config)
    read = CrossReferenceDvlt.read(tmp_path / "run" / "last", 2)
    for name, value in read.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
        if not name.startswith("cross_reference."):
            assert torch.equal(value, network.state_dict()[name]), name
    assert read.cross_reference.mlp.fc2.weight.abs().max() > 0
