"""Points through a window's frames: followed from neighbour to neighbour, matched where frames are far apart."""
