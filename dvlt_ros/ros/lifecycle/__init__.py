"""From configure to cleanup: what the node is made of, its stream, its services and its status."""
