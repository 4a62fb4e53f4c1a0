"""From configure to cleanup: the parts of the node, its stream, its services and its status."""
