"""A page in the browser: photos, a video or a bag in, a 3D scene out.

Only server, page, panels and viewer know the toolkit.
"""
