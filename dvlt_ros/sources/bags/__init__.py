"""The files of bags, and the images in them."""
