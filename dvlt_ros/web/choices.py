"""What a visitor can choose from: models that are installed, each with its checkpoints.

A choice is a text: the model's name, and behind an @ the weights, where they are not the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..backends import DEFAULT_MODEL, ModelCard, checkpoint_title, is_installed, model_card, model_names


def parts(choice: str) -> tuple[str, str]:
    """(model, weights); weights are empty for the model's own."""
    name, _, weights = choice.partition("@")
    return name, weights


def card_of(choice: str) -> ModelCard:
    """Raises ConfigError: no such model."""
    return model_card(parts(choice)[0])


def title_of(choice: str) -> str:
    """Model and checkpoint, as every surface names them."""
    return checkpoint_title(*parts(choice))


def choices(own_weights: Sequence[str] = ()) -> dict[str, str]:
    """Every choice with its title; ``own_weights`` are checkpoints of Déjà View beside the published ones."""
    found: dict[str, str] = {}
    for name in filter(is_installed, model_names()):
        card = model_card(name)
        own = own_weights if name == DEFAULT_MODEL else ()
        for weights in ("", *(known.source for known in card.weights[1:]), *own):
            choice = f"{name}@{weights}" if weights else name
            known = card.known_weights(weights or card.default_weights.source)
            remark = "" if known is None or known.allows_commercial_use else " (non-commercial)"
            found[choice] = f"{title_of(choice)}{remark}"
    return found
