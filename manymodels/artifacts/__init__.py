"""Models as bytes, segments of many of them, and exports."""
