"""What a training step sees: scenes rendered or read from recordings, drawn by seed."""
