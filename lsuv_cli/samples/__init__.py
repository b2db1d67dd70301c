"""Samples: files of images and arrays, turned into one batch of feeds."""
