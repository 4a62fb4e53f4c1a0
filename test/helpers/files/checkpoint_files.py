"""Checkpoints on disk, changed by hand."""

from safetensors.torch import load_file, save_file


def rewrite(checkpoint, change):
    tensors = load_file(checkpoint / "model.safetensors")
    change(tensors)
    save_file(tensors, checkpoint / "model.safetensors")
