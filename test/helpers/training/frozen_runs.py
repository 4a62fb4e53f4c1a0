"""Networks on kept features."""

SIZE = (42, 56)
DESCRIBED = {"match_taps": (1, 2), "match_channels": 8}
