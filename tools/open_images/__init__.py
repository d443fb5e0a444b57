"""Open Images: its official files, and `python -m tools.open_images download` to fetch a part of them."""
