"""A model and data for runs of the protocol."""

import json

BROKEN = ("a-hidden-frame", "b-missing-depth", "c-wrong-unit", "d-empty", "e-bug")
ORDER = (*BROKEN, "f-good", "g-good")


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)
