"""First weights of a network that starts without a pretrained encoder."""

import pytest
import torch

from dvlt_ros.errors import ConfigError
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.training.config import Start
from dvlt_ros.training.optimisation.start import position_waves, start_weights


def changed(model, start):
    """Names of the parameters that `start_weights` touched."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    start_weights(model, start)
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


def test_the_published_start_is_left_alone(make_model):
    assert changed(make_model(), Start()) == set()


def test_each_field_changes_what_it_names(make_model):
    assert changed(make_model(), Start(tokens=0.02)) == {"camera_token", "register_token"}
    assert changed(make_model(), Start(positions="waves")) == {"patch_embed_encoder.pos_embed"}
    gammas = changed(make_model(), Start(layer_scale=0.2))
    assert gammas
    assert all(name.startswith("recurrent_blocks.") and name.endswith("gamma") for name in gammas)


def test_waves_tell_the_patches_of_a_small_image_apart(make_model):
    model = make_model()
    start_weights(model, Start(positions="waves"))
    grid = 6, 8
    embedding = model.patch_embed_encoder.position_embedding(*(PATCH_SIZE * n for n in grid))[0, 1:]
    distance = torch.cdist(embedding, embedding)
    distance.fill_diagonal_(torch.inf)
    assert distance.min() > 0.2 * embedding.norm(dim=-1).mean()
    assert position_waves(30).shape[-1] == 30  # widths that four does not divide


def test_alike_tokens_attend_to_each_other(make_model):
    model = make_model()
    start_weights(model, Start(alike_attends=True))
    attention = model.recurrent_blocks[0].global_attn.attn
    tokens = torch.randn(1, 6, model.config.embed_dim, generator=torch.Generator().manual_seed(0))
    q, k, _ = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (attention.q_norm(q) @ attention.k_norm(k).transpose(-1, -2)).softmax(-1)
    assert (weights.argmax(-1) == torch.arange(6)).all()


@pytest.mark.parametrize("field", ["layer_scale", "tokens"])
def test_a_start_of_nothing_is_refused(field):
    with pytest.raises(ConfigError, match=f"model.start.{field} must be above 0"):
        Start(**{field: 0.0})
