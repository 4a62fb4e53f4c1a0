"""What benchmarks need before they can be read: depth in the colour image's camera, made of the published files."""
