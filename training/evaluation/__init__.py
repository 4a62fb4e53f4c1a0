"""How good a network is: figures, pictures, curves and recordings of its predictions."""
