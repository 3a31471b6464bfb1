"""Platforms, each as a local server that really builds and runs what it is sent."""
