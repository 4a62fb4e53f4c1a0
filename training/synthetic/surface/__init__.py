"""How surfaces look: materials, palettes, textures, photographs and light."""
