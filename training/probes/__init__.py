"""Probes: what each layer or step of a multi-view network already knows of the geometry."""
