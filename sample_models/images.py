"""Make small real images to run the sample models on, from pictures that ship in packages.

    python sample_models/images.py                # into images/ beside this script
    python sample_models/images.py --out FOLDER

photos/   square cuttings of photographs, a subfolder for each, as JPEG:
          china, flower: scikit-learn (CC BY 2.0, danielbuechele and vultilion on flickr);
          astronaut, rocket, hubble_deep_field: NASA, public domain; chelsea: CC0, Stefan van der
          Walt; coffee: CC0, Rachel Michetti; all five from scikit-image's wheel.
digits/   handwritten digits, 28x28 grey PNG, a subfolder for each digit: the UCI optical
          recognition test set as scikit-learn ships it (CC BY 4.0, Alpaydin & Kaynak 1998),
          enlarged from 8x8.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image

SCIKIT_IMAGE_PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "rocket.jpg",
)
CUTTINGS_PER_PHOTO = 32
PHOTO_SIZE = 256
DIGITS = 300
DIGIT_SIZE = 28


def photographs() -> dict[str, Image.Image]:
    """The photographs by name, in RGB."""
    sklearn_photos = sklearn.datasets.load_sample_images()
    photos = {
        Path(name).stem: Image.fromarray(pixels)
        for name, pixels in zip(sklearn_photos.filenames, sklearn_photos.images, strict=True)
    }
    folder = Path(skimage.__file__).parent / "data"
    for name in SCIKIT_IMAGE_PHOTOS:
        photos[Path(name).stem] = Image.open(folder / name).convert("RGB")
    return photos


def write_photos(folder: Path) -> int:
    """Cut squares of different sizes out of each photograph; return how many."""
    rng = np.random.default_rng(0)
    count = 0
    for name, photo in sorted(photographs().items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(CUTTINGS_PER_PHOTO):
            side = int(rng.integers(96, min(photo.size)))
            left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
            cutting = photo.crop((left, top, left + side, top + side))
            cutting = cutting.resize((PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.BICUBIC)
            cutting.save(folder / name / f"{name}_{index:02}.jpg", quality=92)
            count += 1
    return count


def write_digits(folder: Path) -> int:
    """Write handwritten digits; return how many."""
    digits = sklearn.datasets.load_digits()
    for index in range(DIGITS):
        pixels: NDArray[np.float64] = digits.images[index] * (255 / 16)
        label = folder / str(digits.target[index])
        label.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(pixels.astype(np.uint8))
        picture = picture.resize((DIGIT_SIZE, DIGIT_SIZE), Image.Resampling.BICUBIC)
        picture.save(label / f"{index:04}.png")
    return DIGITS


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both sets."""
    parser = argparse.ArgumentParser(description="Make the sample images.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    folder = parser.parse_args(arguments).out
    print(f"{folder}/photos  {write_photos(folder / 'photos')} pictures", file=sys.stderr)
    print(f"{folder}/digits  {write_digits(folder / 'digits')} pictures", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
